/**
 * A transport inside one process, over a network that is a function: it may deliver a parcel now, later, twice or
 * never. Used by tests and by the simulator; messages travel encoded, so the codec is exercised as well.
 */
import { decodeBatch, encodeBatch } from '../codec/message.ts';
import type { InstallSnapshot, Message, NodeId } from '../core/types.ts';
import type { Runtime, Transport } from '../ports.ts';
import type { SnapshotHandler } from './memory-snapshot.ts';
import { OutgoingSnapshot } from './memory-snapshot.ts';

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

/** One node's end of a `MemoryBus`. */
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
    if (this.#closed) throw new Error('Cannot send snapshot: the transport is closed');
    const way = { network: this.#bus.network, sender: this, find: () => this.#bus.find(message.to) };
    await new OutgoingSnapshot(message, chunks, way).run(signal);
  }

  receive(messages: readonly Message[]): void {
    if (!this.#closed) this.#messages(messages);
  }

  get snapshotHandler(): SnapshotHandler | undefined {
    return this.#closed ? undefined : this.#snapshot;
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

  /** A transport for the node; an earlier one of the same node is closed. */
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

  /** The node's transport, if it is there. */
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
