/**
 * Messages of one turn leave in one batch per peer. An append that carries nothing but a commit index waits a little for
 * a later one to the same peer that says as much and more: followers need the commit index soon, not at once, and such
 * messages would compete with the next proposal's.
 */
import type { Append, Message, NodeId } from '../core/types.ts';
import type { Runtime, Transport } from '../ports.ts';
import type { Metrics } from './metrics.ts';

export interface MailOptions {
  readonly runtime: Runtime;
  readonly transport: Transport;
  readonly metrics: Metrics;
  /** How long a mere commit index may wait; 0: not at all. */
  readonly commitDelayMs: number;
}

export class Mail {
  readonly #options: MailOptions;
  #outgoing = new Map<NodeId, Message[]>();
  /** Mere commit indexes, the newest per peer. */
  readonly #waiting = new Map<NodeId, Append>();
  #cancel: (() => void) | undefined;

  constructor(options: MailOptions) {
    this.#options = options;
  }

  post(message: Message): void {
    if (message.type === 'append') return this.#postAppend(message);
    this.#add(message);
  }

  /** Hands the turn's messages to the transport; says whether there were any. */
  flush(): boolean {
    if (this.#outgoing.size === 0) return false;
    const batches = this.#outgoing;
    this.#outgoing = new Map();
    const { transport, metrics } = this.#options;
    for (const [to, batch] of batches) {
      for (const { type } of batch) metrics.messagesOut[type] += 1;
      transport.send(to, batch);
    }
    return true;
  }

  /** Lets what waits go as well: something is about to happen after which a peer may not hear from us again. */
  flushAll(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    for (const message of this.#waiting.values()) this.#add(message);
    this.#waiting.clear();
    this.flush();
  }

  clear(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#waiting.clear();
    this.#outgoing.clear();
  }

  #postAppend(message: Append): void {
    const waiting = this.#waiting.get(message.to);
    if (waiting !== undefined) {
      this.#waiting.delete(message.to);
      if (!supersedes(message, waiting)) this.#add(waiting);
    }
    if (message.entries.length > 0 || this.#options.commitDelayMs === 0) return this.#add(message);
    this.#waiting.set(message.to, message);
    this.#cancel ??= this.#options.runtime.setTimer(this.#options.commitDelayMs, () => this.flushAll());
  }

  #add(message: Message): void {
    const batch = this.#outgoing.get(message.to);
    if (batch === undefined) this.#outgoing.set(message.to, [message]);
    else batch.push(message);
  }
}

/** Whoever accepts `later` knows all that `earlier` says, and its refusal tells the leader as much. */
function supersedes(later: Append, earlier: Append): boolean {
  const sameSender = later.term === earlier.term && later.epoch === earlier.epoch;
  return sameSender && later.commit >= earlier.commit && later.prev.index >= earlier.prev.index;
}
