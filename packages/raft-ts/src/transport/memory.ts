/**
 * A transport inside one process, over a network that is a function: it may deliver a parcel now, later, twice or
 * never. Used by tests and by the simulator; messages travel encoded, so the codec is exercised as well.
 */
import { approximateSize, decodeBatch, encodeBatch } from '../codec/message.ts';
import type { InstallSnapshot, Message, NodeId } from '../core/types.ts';
import type { Runtime, Transport } from '../ports.ts';

/** What is on its way: `deliver` hands it to the receiver as it is at that moment; calling it again delivers it twice. */
export interface Parcel {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly kind: 'messages' | 'snapshot' | 'snapshot-ack';
  readonly bytes: number;
  readonly messages: readonly Message[];
  deliver(): void;
}

/** Decides the fate of a parcel. Returns false when the sender notices at once that the peer cannot be reached. */
export type Network = (parcel: Parcel) => boolean;

type SnapshotHandler = (message: InstallSnapshot, chunks: AsyncIterable<Uint8Array>) => Promise<void>;

export class MemoryTransport implements Transport {
  readonly id: NodeId;
  readonly #bus: MemoryBus;
  #peers: ReadonlyMap<NodeId, string> = new Map();
  #messages: (messages: readonly Message[]) => void = () => {};
  #unreachable: (id: NodeId) => void = () => {};
  #snapshot: SnapshotHandler = () => Promise.reject(new Error('nobody receives snapshots'));
  #closed = false;

  constructor(bus: MemoryBus, id: NodeId) {
    this.#bus = bus;
    this.id = id;
  }

  get peers(): ReadonlyMap<NodeId, string> {
    return this.#peers;
  }

  send(to: NodeId, batch: readonly Message[]): void {
    if (this.#closed || batch.length === 0) return;
    const encoded = encodeBatch(batch);
    const deliver = () => this.#bus.find(to)?.receive(decodeBatch(encoded));
    const parcel: Parcel = { from: this.id, to, kind: 'messages', bytes: encoded.length, messages: batch, deliver };
    if (!this.#bus.network(parcel)) this.#unreachable(to);
  }

  async sendSnapshot(message: InstallSnapshot, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const parts: Uint8Array[] = [];
    let bytes = approximateSize(message);
    for await (const chunk of chunks) {
      signal.throwIfAborted();
      parts.push(chunk);
      bytes += chunk.length;
    }
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      const answer = (error: unknown) => {
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      const parcel = this.#snapshotParcel(message, bytes, parts, answer);
      if (this.#closed || !this.#bus.network(parcel)) {
        answer(new Error(`Cannot send snapshot: node ${String(message.to)} is unreachable`));
      }
    });
  }

  #snapshotParcel(
    message: InstallSnapshot,
    bytes: number,
    parts: readonly Uint8Array[],
    answer: (error: unknown) => void,
  ): Parcel {
    const { from, to } = message;
    const acknowledge = (error: unknown) => {
      const deliver = () => answer(error);
      this.#bus.network({ from: to, to: from, kind: 'snapshot-ack', bytes: 64, messages: [], deliver });
    };
    const deliver = () => {
      this.#bus
        .find(to)
        ?.receiveSnapshot(message, parts)
        .then(() => acknowledge(undefined), acknowledge);
    };
    return { from, to, kind: 'snapshot', bytes, messages: [message], deliver };
  }

  receive(messages: readonly Message[]): void {
    if (!this.#closed) this.#messages(messages);
  }

  receiveSnapshot(message: InstallSnapshot, parts: readonly Uint8Array[]): Promise<void> {
    return this.#closed ? Promise.reject(new Error('closed')) : this.#snapshot(message, iterate(parts));
  }

  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    this.#peers = new Map(peers);
  }

  onMessages(handle: (messages: readonly Message[]) => void): void {
    this.#messages = handle;
  }

  onUnreachable(handle: (id: NodeId) => void): void {
    this.#unreachable = handle;
  }

  onSnapshot(handle: SnapshotHandler): void {
    this.#snapshot = handle;
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }
}

/** Nodes that can reach each other through `network`. A node's newest transport replaces its earlier one. */
export class MemoryBus {
  readonly network: Network;
  readonly #transports = new Map<NodeId, MemoryTransport>();

  constructor(network: Network) {
    this.network = network;
  }

  join(id: NodeId): MemoryTransport {
    void this.#transports.get(id)?.close();
    const transport = new MemoryTransport(this, id);
    this.#transports.set(id, transport);
    return transport;
  }

  /** The node is gone: what is on its way to it arrives nowhere. */
  leave(id: NodeId): void {
    void this.#transports.get(id)?.close();
    this.#transports.delete(id);
  }

  find(id: NodeId): MemoryTransport | undefined {
    return this.#transports.get(id);
  }
}

/** A perfect network: everything arrives in order, one turn of the event loop later. */
export function instantNetwork(runtime: Runtime): Network {
  return (parcel) => {
    runtime.defer(() => parcel.deliver());
    return true;
  };
}

async function* iterate(parts: readonly Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* parts;
}
