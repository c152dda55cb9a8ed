/** Log lines between managers: the leader reads them from the agents, the manager that was asked passes them on. */
import type { Clock } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Duplex } from '../lib/stream.ts';
import type { LogLine } from '../model/assignment.ts';
import type { LogsMessage, LogsRequest } from '../rpc/port.ts';

/** Lines that may wait for a slow client before its stream is given up. */
const waitingLinesMax = 100_000;
const linesPerMessageMax = 1_000;

/** The asking side. Ends with the leader's error, if it ends with one. */
export async function* readLogs(
  stream: Duplex<LogsRequest, LogsMessage>,
  request: LogsRequest,
  signal: AbortSignal,
): AsyncIterable<LogLine> {
  const waiting: LogLine[] = [];
  let ended: { error: Error | undefined } | undefined;
  let wake = () => {};
  const end = (error: Error | undefined) => {
    ended ??= { error };
    wake();
  };
  stream.onMessage((message) => {
    if (message.kind === 'end') end(message.error === '' ? undefined : new ClusterError('unavailable', message.error));
    else if (waiting.length + message.lines.length > waitingLinesMax)
      end(new ClusterError('exhausted', 'log stream closed: the reader is too slow'));
    else waiting.push(...message.lines);
    wake();
  });
  stream.onClose(end);
  const abort = () => end(undefined);
  signal.addEventListener('abort', abort, { once: true });
  stream.send(request);
  try {
    while (!signal.aborted) {
      yield* waiting.splice(0);
      if (waiting.length > 0) continue;
      if (ended !== undefined) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (ended?.error !== undefined && !signal.aborted) throw ended.error;
  } finally {
    signal.removeEventListener('abort', abort);
    stream.close();
  }
}

/** The leader's side: one request, then lines until they end or the other end goes away. */
export function serveLogs(
  stream: Duplex<LogsMessage, LogsRequest>,
  clock: Clock,
  open: (request: LogsRequest, signal: AbortSignal) => AsyncIterable<LogLine>,
): void {
  const stop = new AbortController();
  let asked = false;
  stream.onClose(() => stop.abort());
  stream.onMessage((request) => {
    if (asked) return;
    asked = true;
    void pump(request);
  });

  /** Lines that came in one turn travel in one message. */
  let together: LogLine[] = [];
  function flush(): void {
    const lines = together;
    together = [];
    if (lines.length > 0 && !stream.send({ kind: 'lines', lines })) stop.abort();
  }

  async function pump(request: LogsRequest): Promise<void> {
    let error = '';
    try {
      for await (const line of open(request, stop.signal)) {
        if (together.push(line) === 1) clock.defer(flush);
        else if (together.length >= linesPerMessageMax) flush();
      }
    } catch (cause) {
      error = messageOf(cause);
    }
    flush();
    stream.send({ kind: 'end', error });
    stream.close();
  }
}
