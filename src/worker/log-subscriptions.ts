import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { type AgentMessage, type LogLine, type LogQuery, logMessageBytesMax, logWindow } from '../model/assignment.ts';
import type { Executor } from './executor/port.ts';
import { Gate } from './gate.ts';

export interface LogSubscriptionsOptions {
  readonly executor: Pick<Executor, 'logs'>;
  readonly clock: Clock;
  readonly send: (message: AgentMessage) => boolean;
}

/** Requests served at a time; more are refused. */
const subscriptionsMax = 200;
const lineBytesMax = logMessageBytesMax;

/** Answers the managers' requests for log lines, no faster than they are read. */
export class LogSubscriptions {
  readonly #options: LogSubscriptionsOptions;
  readonly #open = new Map<string, Subscription>();

  constructor(options: LogSubscriptionsOptions) {
    this.#options = options;
  }

  open(id: string, taskIds: readonly string[], query: LogQuery): void {
    if (this.#open.has(id)) return;
    if (this.#open.size >= subscriptionsMax) {
      this.#options.send({ kind: 'logEnd', subscription: id, error: 'too many log requests on the node' });
      return;
    }
    const subscription = new Subscription(id, this.#options);
    this.#open.set(id, subscription);
    void subscription.run(taskIds, query).then(() => {
      if (this.#open.get(id) === subscription) this.#open.delete(id);
    });
  }

  acknowledged(id: string, messages: number): void {
    this.#open.get(id)?.acknowledged(messages);
  }

  close(id: string): void {
    this.#open.get(id)?.stop();
    this.#open.delete(id);
  }

  closeAll(): void {
    for (const id of [...this.#open.keys()]) this.close(id);
  }
}

class Subscription {
  readonly #id: string;
  readonly #options: LogSubscriptionsOptions;
  readonly #stopping = new AbortController();
  readonly #gate = new Gate();
  #lines: LogLine[] = [];
  #bytes = 0;
  #unread = 0;
  #flushing = false;

  constructor(id: string, options: LogSubscriptionsOptions) {
    this.#id = id;
    this.#options = options;
  }

  stop(): void {
    this.#stopping.abort();
  }

  acknowledged(messages: number): void {
    this.#unread = Math.max(0, this.#unread - messages);
    this.#flushSoon();
    this.#gate.signal();
  }

  async run(taskIds: readonly string[], query: LogQuery): Promise<void> {
    const results = await Promise.allSettled(taskIds.map((taskId) => this.#read(taskId, query)));
    const { signal } = this.#stopping;
    try {
      await this.#gate.until(() => this.#flush(), signal);
    } catch {
      return; // closed by the reader
    }
    const failed = results.find((result) => result.status === 'rejected');
    this.#options.send({
      kind: 'logEnd',
      subscription: this.#id,
      error: failed === undefined ? '' : messageOf(failed.reason),
    });
  }

  async #read(taskId: string, query: LogQuery): Promise<void> {
    const { signal } = this.#stopping;
    for await (const line of this.#options.executor.logs(taskId, query, signal)) {
      const text = line.text.length > lineBytesMax ? line.text.slice(0, lineBytesMax) : line.text;
      const bytes = Buffer.byteLength(text) + 100;
      if (this.#bytes > 0 && this.#bytes + bytes > logMessageBytesMax)
        await this.#gate.until(() => this.#flush(), signal);
      this.#lines.push({ ...line, text });
      this.#bytes += bytes;
      this.#flushSoon();
    }
  }

  /** Lines of one turn make one message. */
  #flushSoon(): void {
    if (this.#flushing || this.#lines.length === 0) return;
    this.#flushing = true;
    this.#options.clock.defer(() => {
      this.#flushing = false;
      this.#flush();
      this.#gate.signal();
    });
  }

  /** True when nothing waits any more. */
  #flush(): boolean {
    if (this.#stopping.signal.aborted) return false;
    if (this.#lines.length === 0) return true;
    if (this.#unread >= logWindow) return false;
    this.#unread += 1;
    const lines = this.#lines;
    this.#lines = [];
    this.#bytes = 0;
    this.#options.send({ kind: 'log', subscription: this.#id, lines });
    return true;
  }
}
