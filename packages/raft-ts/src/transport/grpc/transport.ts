/**
 * Messages between nodes over gRPC streams. Each node opens, to each peer, one stream for what must not wait (votes,
 * heartbeats) and one for the rest, on two connections; the peer's streams carry the other direction.
 *
 * Promised: `send` never blocks and never holds more than a bounded number of bytes per peer; what does not fit is dropped
 * and reported. Never done: trusting a sender's word for its id when `authorize` says otherwise.
 */
import type { ChannelCredentials, ClientDuplexStream, ServerDuplexStream, ServiceError } from '@grpc/grpc-js';
import { Client, status as Code, Metadata } from '@grpc/grpc-js';
import { approximateSize, decodeBatch, encodeBatch } from '../../codec/message.ts';
import type { InstallSnapshot, Message, NodeId } from '../../core/types.ts';
import type { IncomingSnapshot, Runtime, Transport } from '../../ports.ts';
import { Callers } from './callers.ts';
import { asBuffer, encodeCredit } from './frames.ts';
import { Lane } from './lane.ts';
import { checkRoute, metadataFor, raftDefinition } from './service.ts';
import type { SnapshotCall } from './snapshot.ts';
import { IncomingStream, sendSnapshot } from './snapshot.ts';

/** An incoming call, as `authorize` sees it. */
export type RaftCall = ServerDuplexStream<Buffer, Buffer>;

/** Times are in milliseconds, sizes in bytes. Whatever has a default may be left out. */
export interface GrpcTransportOptions {
  readonly id: NodeId;
  /** Calls of other clusters are refused. */
  readonly cluster: string;
  readonly runtime: Runtime;
  readonly credentials: ChannelCredentials;
  /** Whether the caller (its TLS identity) is the node it says it is. Throwing or false refuses the call. */
  readonly authorize?: (call: RaftCall, from: NodeId) => boolean | Promise<boolean>;
  /** For TLS names, proxies and the like; merged over the transport's own. */
  readonly channelOptions?: Readonly<Record<string, string | number>>;
  readonly bulkBytesMax?: number;
  readonly urgentBytesMax?: number;
  readonly reconnectMinMs?: number;
  readonly reconnectMaxMs?: number;
  /** A larger frame ends the stream that brought it; the host's server has a limit of its own, usually lower. */
  readonly frameBytesMax?: number;
  /** Streams that one peer may have open here; a new one ends the oldest. Peers need three at a time. */
  readonly callsPerPeerMax?: number;
  /** Nodes that may have streams open here at the same time; more are refused. */
  readonly callersMax?: number;
}

interface Peer {
  readonly address: string;
  readonly clients: readonly [urgent: Client, bulk: Client];
  readonly urgent: Lane;
  readonly bulk: Lane;
  readonly streams: Set<ClientDuplexStream<Buffer, Buffer>>;
}

type SnapshotHandler = (message: InstallSnapshot, chunks: IncomingSnapshot) => Promise<void>;

/** A frame closes when it reaches this; well below gRPC's default limit of 4 MiB. */
const frameBytes = 1 << 20;
const creditBytes = 64 << 10;

/**
 * Peer addresses are gRPC targets, such as `10.0.0.1:7001`. Its service must be added to a server, see `raftService`.
 */
export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #calls: Callers<RaftCall>;
  #messages: (messages: readonly Message[]) => void = () => {};
  #unreachable: (id: NodeId) => void = () => {};
  #snapshot: SnapshotHandler | undefined;
  #credentials: ChannelCredentials;
  #closed = false;
  readonly #frameBytesMax: number;

  constructor(options: GrpcTransportOptions) {
    this.#options = options;
    this.#frameBytesMax = options.frameBytesMax ?? 64 << 20;
    this.#credentials = options.credentials;
    this.#calls = new Callers(options.callsPerPeerMax ?? 8, options.callersMax ?? 256);
  }

  send(to: NodeId, batch: readonly Message[]): void {
    const peer = this.#peers.get(to);
    if (peer === undefined || this.#closed) return this.#unreachable(to);
    const urgent = batch.filter(isUrgent);
    if (urgent.length > 0) peer.urgent.send(asBuffer(encodeBatch(urgent)));
    if (urgent.length === batch.length) return;
    for (const frame of frames(batch.filter((message) => !isUrgent(message)))) {
      peer.bulk.send(asBuffer(encodeBatch(frame)));
    }
  }

  async sendSnapshot(message: InstallSnapshot, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const peer = this.#peers.get(message.to);
    if (peer === undefined || this.#closed) {
      throw new Error(`Cannot send snapshot: node ${String(message.to)} is unreachable`);
    }
    signal.throwIfAborted();
    const { path, requestSerialize, responseDeserialize } = raftDefinition.snapshot;
    // On the connection for what can wait: heartbeats have their own.
    const call = peer.clients[1].makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      this.#metadata(message.to),
    );
    peer.streams.add(call);
    try {
      await sendSnapshot(call, message, chunks, signal);
    } finally {
      peer.streams.delete(call);
    }
  }

  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    if (this.#closed) return;
    for (const [id, peer] of this.#peers) {
      if (peers.get(id) === peer.address) continue;
      this.#peers.delete(id);
      closePeer(peer);
    }
    for (const [id, address] of peers) {
      if (id !== this.#options.id && !this.#peers.has(id)) this.#peers.set(id, this.#connect(id, address));
    }
  }

  /** Connects anew to every peer, as a node with a renewed certificate has to. */
  setCredentials(credentials: ChannelCredentials): void {
    this.#credentials = credentials;
    const addresses = new Map([...this.#peers].map(([id, { address }]) => [id, address]));
    this.setPeers(new Map());
    this.setPeers(addresses);
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

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const peer of this.#peers.values()) closePeer(peer);
    this.#peers.clear();
    for (const call of this.#calls.takeAll()) call.emit('error', refusal(Code.UNAVAILABLE, 'raft node is closed'));
  }

  // Outgoing.

  #metadata(to: NodeId) {
    return metadataFor({ cluster: this.#options.cluster, from: this.#options.id, to });
  }

  #connect(id: NodeId, address: string): Peer {
    const { runtime, channelOptions, bulkBytesMax = 32 << 20, urgentBytesMax = 1 << 20 } = this.#options;
    const { reconnectMinMs = 100, reconnectMaxMs = 1000 } = this.#options;
    const options = {
      'grpc.initial_reconnect_backoff_ms': reconnectMinMs,
      'grpc.min_reconnect_backoff_ms': reconnectMinMs,
      'grpc.max_reconnect_backoff_ms': reconnectMaxMs,
      // A peer that vanished without a word must be noticed before TCP does.
      'grpc.keepalive_time_ms': 2000,
      'grpc.keepalive_timeout_ms': 2000,
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      // A stream is never repeated, so nothing has to be kept for that.
      'grpc.enable_retries': 0,
      // Each client gets a connection of its own, so that a large append does not hold up a heartbeat.
      'grpc.use_local_subchannel_pool': 1,
      ...channelOptions,
    };
    const open = (client: Client, outstandingBytesMax: number): Lane =>
      new Lane({
        runtime,
        connect: () => this.#openMessages(client, id),
        unreachable: () => this.#unreachable(id),
        outstandingBytesMax,
        reconnectMinMs,
        reconnectMaxMs,
      });
    const urgent = new Client(address, this.#credentials, options);
    const bulk = new Client(address, this.#credentials, options);
    return {
      address,
      clients: [urgent, bulk],
      urgent: open(urgent, urgentBytesMax),
      bulk: open(bulk, bulkBytesMax),
      streams: new Set(),
    };
  }

  #openMessages(client: Client, to: NodeId): ClientDuplexStream<Buffer, Buffer> {
    const { path, requestSerialize, responseDeserialize } = raftDefinition.messages;
    return client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata(to));
  }

  // Incoming; called by the service.

  /** @internal */
  async acceptMessages(call: ServerDuplexStream<Buffer, Buffer>): Promise<void> {
    call.on('error', () => this.#calls.leave(call));
    const from = await this.#admit(call);
    if (typeof from !== 'number') return void call.emit('error', from);
    let owed = 0;
    call.on('data', (frame: Buffer) => {
      if (this.#closed) return;
      const messages = frame.length > this.#frameBytesMax ? undefined : this.#decode(frame, from);
      if (messages === undefined) {
        call.emit('error', refusal(Code.INVALID_ARGUMENT, 'malformed batch of raft messages'));
        return;
      }
      owed += frame.length;
      if (owed >= creditBytes) {
        call.write(encodeCredit(owed));
        owed = 0;
      }
      this.#messages(messages);
    });
    call.on('end', () => {
      this.#calls.leave(call);
      call.end();
    });
    call.on('cancelled', () => this.#calls.leave(call));
  }

  /** Only messages from the admitted sender to this node; undefined if the bytes are none. */
  #decode(frame: Buffer, from: NodeId): readonly Message[] | undefined {
    try {
      return decodeBatch(frame).filter((message) => message.from === from && message.to === this.#options.id);
    } catch {
      return undefined;
    }
  }

  /** @internal */
  async acceptSnapshot(call: SnapshotCall): Promise<void> {
    call.on('error', () => this.#calls.leave(call));
    const from = await this.#admit(call);
    if (typeof from !== 'number') return void call.emit('error', from);
    try {
      const stream = new IncomingStream(call);
      const head = await stream.head();
      if (head === undefined || head.from !== from || head.to !== this.#options.id) {
        throw refusal(Code.INVALID_ARGUMENT, 'malformed snapshot stream');
      }
      if (this.#snapshot === undefined) throw new Error('nobody receives snapshots');
      await this.#snapshot(head, stream);
      stream.done();
    } catch (error) {
      const why = error instanceof Error ? error.message : 'snapshot refused';
      call.emit('error', isRefusal(error) ? error : refusal(Code.ABORTED, why));
    } finally {
      this.#calls.leave(call);
    }
  }

  async #admit(call: RaftCall): Promise<NodeId | ServiceError> {
    if (this.#closed) return refusal(Code.UNAVAILABLE, 'raft node is closed');
    const from = checkRoute(call.metadata, this.#options);
    if (typeof from === 'string') return refusal(Code.FAILED_PRECONDITION, `raft call refused: ${from}`);
    let allowed = false;
    try {
      allowed = (await this.#options.authorize?.(call, from)) ?? true;
    } catch {
      allowed = false;
    }
    if (!allowed) {
      return refusal(Code.PERMISSION_DENIED, `raft call refused: caller is not node ${String(from)}`);
    }
    if (this.#closed) return refusal(Code.UNAVAILABLE, 'raft node is closed');
    if (!this.#calls.enter(from, call)) return refusal(Code.RESOURCE_EXHAUSTED, 'raft call refused: too many callers');
    for (const surplus of this.#calls.surplus(from)) {
      surplus.emit('error', refusal(Code.RESOURCE_EXHAUSTED, 'raft call ended: its caller has begun too many'));
    }
    return from;
  }
}

function isUrgent({ type }: Message): boolean {
  return type !== 'append' && type !== 'append-ack' && type !== 'forward';
}

/** Splits a batch so that each frame stays small, unless one message alone is larger. */
function* frames(batch: readonly Message[]): Iterable<readonly Message[]> {
  let frame: Message[] = [];
  let bytes = 0;
  for (const message of batch) {
    const size = approximateSize(message);
    if (frame.length > 0 && bytes + size > frameBytes) {
      yield frame;
      frame = [];
      bytes = 0;
    }
    frame.push(message);
    bytes += size;
  }
  if (frame.length > 0) yield frame;
}

function closePeer(peer: Peer): void {
  peer.urgent.close();
  peer.bulk.close();
  for (const stream of peer.streams) stream.cancel();
  for (const client of peer.clients) client.close();
}

function isRefusal(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'metadata' in error;
}

function refusal(code: Code, message: string): ServiceError {
  return Object.assign(new Error(message), { code, details: message, metadata: new Metadata() });
}
