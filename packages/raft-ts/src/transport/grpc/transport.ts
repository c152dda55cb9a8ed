/**
 * Messages between nodes over gRPC streams. Each node opens, to each peer, one stream for what must not wait (votes,
 * heartbeats) and one for the rest, on two connections; the peer's streams carry the other direction.
 *
 * Promised: `send` never blocks and never holds more than a bounded number of bytes per peer; what does not fit is dropped
 * and reported. Never done: trusting a sender's word for its id when `authorize` says otherwise.
 */
import type {
  ChannelCredentials,
  ClientDuplexStream,
  ClientWritableStream,
  ServerDuplexStream,
  ServerReadableStream,
  ServiceError,
  sendUnaryData,
} from '@grpc/grpc-js';
import { Client, status as Code, Metadata } from '@grpc/grpc-js';
import { approximateSize, decodeBatch, encodeBatch } from '../../codec/message.ts';
import type { InstallSnapshot, Message, NodeId } from '../../core/types.ts';
import type { Runtime, Transport } from '../../ports.ts';
import { asBuffer, type Chunk, decodeChunk, encodeChunk, encodeCredit } from './frames.ts';
import { Lane } from './lane.ts';
import { checkRoute, metadataFor, raftDefinition } from './service.ts';

export type RaftCall = ServerDuplexStream<Buffer, Buffer> | ServerReadableStream<Buffer, Buffer>;

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
}

interface Peer {
  readonly address: string;
  readonly clients: readonly [urgent: Client, bulk: Client];
  readonly urgent: Lane;
  readonly bulk: Lane;
  readonly streams: Set<ClientWritableStream<Buffer>>;
}

type SnapshotHandler = (message: InstallSnapshot, chunks: AsyncIterable<Uint8Array>) => Promise<void>;

/** A frame closes when it reaches this; well below gRPC's default limit of 4 MiB. */
const frameBytes = 1 << 20;
const chunkBytes = 256 << 10;
const creditBytes = 64 << 10;

export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #calls = new Set<RaftCall>();
  #messages: (messages: readonly Message[]) => void = () => {};
  #unreachable: (id: NodeId) => void = () => {};
  #snapshot: SnapshotHandler | undefined;
  #credentials: ChannelCredentials;
  #closed = false;

  constructor(options: GrpcTransportOptions) {
    this.#options = options;
    this.#credentials = options.credentials;
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
    const { answered, call } = this.#openSnapshot(peer, message);
    const onAbort = () => call.cancel();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([writeChunks(call, message, chunks), answered]);
      await answered;
      signal.throwIfAborted();
    } catch (error) {
      call.cancel();
      throw error;
    } finally {
      peer.streams.delete(call);
      signal.removeEventListener('abort', onAbort);
    }
  }

  #openSnapshot(peer: Peer, message: InstallSnapshot) {
    const { path, requestSerialize, responseDeserialize } = raftDefinition.snapshot;
    const metadata = this.#metadata(message.to);
    let settle: (error: ServiceError | null) => void = () => {};
    const answered = new Promise<void>((resolve, reject) => {
      settle = (error) => (error === null ? resolve() : reject(error));
    });
    answered.catch(() => {});
    const call = peer.clients[1].makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadata, settle);
    peer.streams.add(call);
    return { answered, call };
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
    for (const call of this.#calls) call.emit('error', refusal(Code.UNAVAILABLE, 'raft node is closed'));
    this.#calls.clear();
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
    call.on('error', () => this.#calls.delete(call));
    const from = await this.#admit(call);
    if (typeof from !== 'number') return void call.emit('error', from);
    let owed = 0;
    call.on('data', (frame: Buffer) => {
      if (this.#closed) return;
      const messages = this.#decode(frame, from);
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
      this.#calls.delete(call);
      call.end();
    });
    call.on('cancelled', () => this.#calls.delete(call));
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
  async acceptSnapshot(call: ServerReadableStream<Buffer, Buffer>, answer: sendUnaryData<Buffer>): Promise<void> {
    call.on('error', () => this.#calls.delete(call));
    const from = await this.#admit(call);
    if (typeof from !== 'number') return answer(from, null);
    try {
      const chunks = incoming(call);
      const first = await chunks.next();
      const head = first.done === true ? undefined : first.value.head;
      if (head === undefined || head.from !== from || head.to !== this.#options.id) {
        return answer(refusal(Code.INVALID_ARGUMENT, 'malformed snapshot stream'), null);
      }
      if (this.#snapshot === undefined) throw new Error('nobody receives snapshots');
      await this.#snapshot(head, payloads(chunks));
      answer(null, Buffer.alloc(0));
    } catch (error) {
      answer(refusal(Code.ABORTED, error instanceof Error ? error.message : 'snapshot refused'), null);
    } finally {
      this.#calls.delete(call);
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
    this.#calls.add(call);
    return from;
  }
}

function isUrgent(message: Message): boolean {
  return message.type !== 'append' && message.type !== 'append-ack';
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

async function writeChunks(
  call: ClientWritableStream<Buffer>,
  head: InstallSnapshot,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  await write(call, { head, data: new Uint8Array(0), last: false });
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += chunkBytes) {
      await write(call, { head: undefined, data: chunk.subarray(at, at + chunkBytes), last: false });
    }
  }
  await write(call, { head: undefined, data: new Uint8Array(0), last: true });
  call.end();
}

/** Resolves when the stream can take more; the caller races it with the end of the call. */
function write(call: ClientWritableStream<Buffer>, chunk: Chunk): Promise<void> | undefined {
  if (call.write(encodeChunk(chunk))) return undefined;
  return new Promise((resolve) => call.once('drain', resolve));
}

/** Leaving early must not destroy the call: the answer still has to go out. */
async function* incoming(call: ServerReadableStream<Buffer, Buffer>): AsyncGenerator<Chunk, void> {
  for await (const frame of call.iterator({ destroyOnReturn: false })) yield decodeChunk(frame as Buffer);
}

/** A stream that ends without its last chunk was cut off: a cancelled call ends like a finished one. */
async function* payloads(chunks: AsyncGenerator<Chunk, void>): AsyncIterable<Uint8Array> {
  for await (const chunk of chunks) {
    if (chunk.data.length > 0) yield chunk.data;
    if (chunk.last) return;
  }
  throw new Error('Cannot receive snapshot: the stream was cut off');
}

function refusal(code: Code, message: string): ServiceError {
  return Object.assign(new Error(message), { code, details: message, metadata: new Metadata() });
}
