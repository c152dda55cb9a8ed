/**
 * The server itself: one address, UDP and TCP. Who asks is told by the source address, which a container can not choose. Whatever comes
 * in, it neither crashes nor keeps anything that is not bounded.
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Cancel, Clock } from '../../../lib/clock.ts';
import type { Log } from '../../../lib/log.ts';
import type { Random } from '../../../lib/random.ts';
import type { Forwarder } from './forward.ts';
import {
  messageBytesMax,
  type Query,
  queryBytesMax,
  type Rcode,
  rcode,
  readQuery,
  withLength,
  writeRefusal,
  writeReply,
} from './message.ts';
import { resolve } from './resolve.ts';
import type { Zone } from './zone.ts';

export const tcpLimits = {
  connections: 512,
  perAsker: 32,
  /** Queries of one connection that wait for an answer; more are read when there is room. */
  pipelined: 16,
  idleMs: 10_000,
  /** Answers that the asker does not fetch. */
  unreadBytes: 256 * 1024,
} as const;

export interface ServerOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Order of addresses. */
  readonly random: Random;
  readonly forwarder: Forwarder;
  /** The zone of this moment. */
  readonly zone: () => Zone;
}

type Transport = 'udp' | 'tcp';

export class NameServer {
  readonly #options: ServerOptions;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Map<Socket, string>();
  #closed = false;

  private constructor(options: ServerOptions, family: 4 | 6) {
    this.#options = options;
    this.#udp = createSocket({ type: family === 4 ? 'udp4' : 'udp6' });
    this.#tcp = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#tcp.maxConnections = tcpLimits.connections;
  }

  /** Rejects with the system's error when the address can not be had. Port 0: any, the same for both. */
  static async listen(options: ServerOptions, address: string, port: number): Promise<NameServer> {
    const server = new NameServer(options, address.includes(':') ? 6 : 4);
    try {
      await server.#bind(address, port);
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  get port(): number {
    return this.#udp.address().port;
  }

  async #bind(address: string, port: number): Promise<void> {
    this.#udp.bind({ address, port });
    await once(this.#udp, 'listening');
    this.#tcp.listen({ host: address, port: this.port });
    await once(this.#tcp, 'listening');
    const onError = (error: Error) => this.#options.log.warn('a socket of the name server', { error });
    this.#udp.on('error', onError);
    this.#tcp.on('error', onError);
    this.#udp.on('message', (packet, from) => this.#onPacket(packet, from));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const socket of this.#connections.keys()) socket.destroy();
    await Promise.all([
      new Promise<void>((done) => {
        this.#udp.close(() => done());
      }),
      new Promise<void>((done) => {
        this.#tcp.close(() => done());
      }),
    ]);
  }

  #onPacket(packet: Buffer, from: RemoteInfo): void {
    const answer = this.#answer(packet, from.address, 'udp');
    if (answer === undefined) return;
    const send = (reply: Buffer | undefined) => {
      // An asker that is gone is no error of ours.
      if (reply !== undefined && !this.#closed) this.#udp.send(reply, from.port, from.address, () => {});
    };
    if (answer instanceof Promise) void answer.then(send);
    else send(answer);
  }

  /** Undefined: no answer at all. The promise never rejects. */
  #answer(packet: Buffer, source: string, transport: Transport): Buffer | Promise<Buffer> | undefined {
    const { random, zone } = this.#options;
    const query = readQuery(packet);
    if ('refuse' in query) return query.refuse === 'drop' ? undefined : writeRefusal(packet, query.refuse);
    const bytesMax = transport === 'udp' ? query.udpBytes : messageBytesMax;
    const asker = zone().asker(source);
    if (asker === undefined) return writeReply(query, { rcode: rcode.refused }, bytesMax);
    const reply = resolve(zone(), asker, query, random);
    if (reply !== 'forward') return writeReply(query, reply, bytesMax);
    if (asker.internal) return failed(query, rcode.failure);
    const { resolvers } = asker;
    const forwarded = this.#options.forwarder.forward({ asker: source, resolvers, packet, query, transport });
    return forwarded.then((answer) => answer ?? failed(query, rcode.failure));
  }

  #accept(socket: Socket): void {
    const source = socket.remoteAddress ?? '';
    const own = [...this.#connections.values()].filter((address) => address === source).length;
    if (own >= tcpLimits.perAsker) return void socket.destroy();
    this.#connections.set(socket, source);
    const stream = new Stream(socket, this.#options.clock, (packet) => this.#answer(packet, source, 'tcp'));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#connections.delete(socket);
      stream.end();
    });
  }
}

/** One TCP connection: messages with their lengths, answered in the order in which answers are there. */
class Stream {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #answer: (packet: Buffer) => Buffer | Promise<Buffer> | undefined;
  #received: Buffer = Buffer.alloc(0);
  #underWay = 0;
  /** The asker has said all; it may still wait for answers. */
  #ended = false;
  #cancelIdle: Cancel = () => {};

  constructor(socket: Socket, clock: Clock, answer: (packet: Buffer) => Buffer | Promise<Buffer> | undefined) {
    this.#socket = socket;
    this.#clock = clock;
    this.#answer = answer;
    this.#waitForMore();
    socket.on('data', (chunk) => {
      this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
      this.#read();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#endWhenDone();
    });
  }

  end(): void {
    this.#cancelIdle();
  }

  #read(): void {
    while (this.#underWay < tcpLimits.pipelined && this.#received.length >= 2) {
      const length = this.#received.readUInt16BE(0);
      if (length > queryBytesMax) return void this.#socket.destroy();
      if (this.#received.length < 2 + length) break;
      const packet = this.#received.subarray(2, 2 + length);
      this.#received = this.#received.subarray(2 + length);
      this.#take(packet);
      if (this.#socket.destroyed) return;
    }
    if (this.#underWay >= tcpLimits.pipelined) this.#socket.pause();
  }

  #take(packet: Buffer): void {
    const answer = this.#answer(packet);
    // Who sends what is not even worth an answer does not speak DNS.
    if (answer === undefined) return void this.#socket.destroy();
    this.#waitForMore();
    if (!(answer instanceof Promise)) return this.#send(answer);
    this.#underWay++;
    void answer.then((reply) => {
      this.#underWay--;
      this.#send(reply);
      if (this.#socket.destroyed) return;
      this.#waitForMore();
      this.#socket.resume();
      this.#read();
      if (this.#ended) this.#endWhenDone();
    });
  }

  #endWhenDone(): void {
    if (this.#underWay === 0 && !this.#socket.destroyed) this.#socket.end();
  }

  #send(reply: Buffer): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(withLength(reply));
    if (this.#socket.writableLength > tcpLimits.unreadBytes) this.#socket.destroy();
  }

  /** Closes a connection on which nothing is asked for a while. Half a message is nothing. */
  #waitForMore(): void {
    this.#cancelIdle();
    this.#cancelIdle = this.#clock.timer(tcpLimits.idleMs, () => {
      if (this.#underWay > 0) this.#waitForMore();
      else this.#socket.destroy();
    });
  }
}

function failed(query: Query, code: Rcode): Buffer {
  return writeReply(query, { rcode: code }, messageBytesMax);
}
