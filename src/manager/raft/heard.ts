/** A transport that remembers when each peer was last heard of. */
import type { Message, NodeId, Runtime, Transport } from 'raft-ts';

export class HeardTransport implements Transport {
  readonly #inner: Transport;
  readonly #runtime: Runtime;
  readonly #heardMs = new Map<NodeId, number>();

  constructor(inner: Transport, runtime: Runtime) {
    this.#inner = inner;
    this.#runtime = runtime;
  }

  /** Milliseconds since the last message; undefined when there was none. */
  silenceMs(id: NodeId): number | undefined {
    const heard = this.#heardMs.get(id);
    return heard === undefined ? undefined : this.#runtime.now() - heard;
  }

  send(to: NodeId, batch: readonly Message[]): void {
    this.#inner.send(to, batch);
  }

  sendSnapshot(...args: Parameters<Transport['sendSnapshot']>): Promise<void> {
    return this.#inner.sendSnapshot(...args);
  }

  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    for (const id of this.#heardMs.keys()) if (!peers.has(id)) this.#heardMs.delete(id);
    this.#inner.setPeers(peers);
  }

  onMessages(handle: (messages: readonly Message[]) => void): void {
    this.#inner.onMessages((messages) => {
      const now = this.#runtime.now();
      for (const { from } of messages) this.#heardMs.set(from, now);
      handle(messages);
    });
  }

  onUnreachable(handle: (id: NodeId) => void): void {
    this.#inner.onUnreachable(handle);
  }

  onSnapshot(handle: Parameters<Transport['onSnapshot']>[0]): void {
    this.#inner.onSnapshot((message, chunks) => {
      this.#heardMs.set(message.from, this.#runtime.now());
      return handle(message, chunks);
    });
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
