/**
 * Log lines between managers: the leader reads them from the agents, the manager that was asked passes them on. The leader sends a
 * window of messages and then waits until the reader has taken some: a slow reader holds the agents back and loses nothing.
 */
import type { Clock } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Duplex } from '../lib/stream.ts';
import type { LogLine } from '../model/assignment.ts';
import type { LogsAsk, LogsMessage, LogsRequest } from '../rpc/port.ts';

/** Messages on the way or unread; with the two bounds of a message this is all that either end holds. */
const windowMessages = 8;
const linesPerMessageMax = 1_000;
const charsPerMessageMax = 256 * 1024;

/** The asking side. Ends with the leader's error, if it ends with one. */
export async function* readLogs(
  stream: Duplex<LogsAsk, LogsMessage>,
  request: Omit<LogsRequest, 'window'>,
  signal: AbortSignal,
): AsyncIterable<LogLine> {
  const waiting: (readonly LogLine[])[] = [];
  let ended: { error: Error | undefined } | undefined;
  let wake = () => {};
  const end = (error: Error | undefined) => {
    ended ??= { error };
    wake();
  };
  stream.onMessage((message) => {
    if (message.kind === 'end') end(message.error === '' ? undefined : new ClusterError('unavailable', message.error));
    else if (waiting.length >= windowMessages)
      end(new ClusterError('exhausted', 'log stream closed: the leader sends more than was asked for'));
    else waiting.push(message.lines);
    wake();
  });
  stream.onClose(end);
  const abort = () => end(undefined);
  signal.addEventListener('abort', abort, { once: true });
  stream.send({ ...request, window: windowMessages });
  try {
    while (!signal.aborted) {
      const lines = waiting.shift();
      if (lines !== undefined) {
        for (const line of lines) {
          if (signal.aborted) break;
          yield line;
        }
        stream.send({ kind: 'taken', messages: 1 });
      } else if (ended !== undefined) {
        break;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    if (ended?.error !== undefined && !signal.aborted) throw ended.error;
  } finally {
    signal.removeEventListener('abort', abort);
    stream.close();
  }
}

/** The leader's side: one request, then lines until they end or the other end goes away. */
export function serveLogs(
  stream: Duplex<LogsMessage, LogsAsk>,
  clock: Clock,
  open: (request: LogsRequest, signal: AbortSignal) => AsyncIterable<LogLine>,
): void {
  const stop = new AbortController();
  let asked = false;
  /** Messages that may be sent before the reader takes one. */
  let credit = 0;
  let wake = () => {};
  stream.onClose(() => {
    stop.abort();
    wake();
  });
  stream.onMessage((message) => {
    if ('kind' in message) {
      credit = Math.min(credit + message.messages, windowMessages);
      return wake();
    }
    if (asked) return;
    asked = true;
    credit = Math.min(message.window, windowMessages);
    void pump(message);
  });

  /** Lines that came in one turn travel in one message. */
  let together: LogLine[] = [];
  let chars = 0;
  function flush(): void {
    if (together.length === 0 || credit === 0) return;
    const lines = together;
    together = [];
    chars = 0;
    credit -= 1;
    if (!stream.send({ kind: 'lines', lines })) stop.abort();
  }

  /** Sends what is here, as soon as the reader has room. */
  async function drain(): Promise<void> {
    while (together.length > 0 && !stop.signal.aborted) {
      flush();
      if (together.length > 0)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }

  async function pump(request: LogsRequest): Promise<void> {
    let error = '';
    try {
      for await (const line of open(request, stop.signal)) {
        chars += line.text.length;
        if (together.push(line) === 1 && credit > 0) clock.defer(flush);
        if (credit === 0 || together.length >= linesPerMessageMax || chars >= charsPerMessageMax) await drain();
      }
    } catch (cause) {
      error = messageOf(cause);
    }
    await drain();
    stream.send({ kind: 'end', error });
    stream.close();
  }
}
