/**
 * The names process, without its process: answers containers on the node's gateway address and takes orders on a socket. It keeps
 * answering with what it was told last when nobody orders any more; a new daemon takes over from an older one.
 */
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { type Cancel, type Clock, sleep } from '../../../lib/clock.ts';
import { messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import type { Random } from '../../../lib/random.ts';
import { Forwarder } from './forward.ts';
import { type Commit, type Listen, type Order, onMessages, protocolVersion, say, type Update } from './protocol.ts';
import { HostResolvers } from './resolvers.ts';
import { NameServer, type ServerOptions } from './server.ts';
import { Zone } from './zone.ts';

export interface NamesServerOptions {
  readonly socketPath: string;
  readonly pidPath: string;
  readonly pid: number;
  readonly version: string;
  readonly resolvConf: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Unpredictable: ids of forwarded queries. */
  readonly random: Random;
  /** Quick: order of addresses. */
  readonly shuffle: Random;
  /** The daemon wants it to end. */
  readonly onEnd: () => void;
}

/** The address may be added to the host at this very moment. */
const listenWaitMs = 2_000;
const listenRetryMs = { first: 20, last: 5_000 } as const;

export class NamesServer {
  readonly #options: NamesServerOptions;
  readonly #control: Server;
  readonly #listener: Listener;
  #zone = new Zone();
  /** A whole state that is being told. */
  #staged: Zone | undefined;
  #daemon: Socket | undefined;
  #orders: Promise<void> = Promise.resolve();

  constructor(options: NamesServerOptions) {
    this.#options = options;
    const { clock, random, shuffle, log } = options;
    const resolvers = new HostResolvers(options.resolvConf, clock);
    const forwarder = new Forwarder({ clock, random, hostResolvers: () => resolvers.get() });
    const server = { clock, log, random: shuffle, forwarder, zone: () => this.#zone };
    this.#listener = new Listener(server, () => this.#daemon && say(this.#daemon, { kind: 'listening' }));
    this.#control = createServer((socket) => this.#greet(socket));
  }

  async start(): Promise<void> {
    const { socketPath, pidPath, pid } = this.#options;
    rmSync(socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#control.once('error', reject);
      this.#control.listen(socketPath, resolve);
    });
    chmodSync(socketPath, 0o600);
    writeFileSync(`${pidPath}.new`, `${pid}\n`, { mode: 0o600 });
    renameSync(`${pidPath}.new`, pidPath);
  }

  async close(): Promise<void> {
    await this.#listener.close();
    this.#control.close();
    // The daemon takes this for the end.
    this.#daemon?.destroy();
  }

  #greet(socket: Socket): void {
    const { version, pid, log } = this.#options;
    socket.on('error', (error) => log.debug('connection of the daemon', { error }));
    this.#daemon?.destroy();
    this.#daemon = socket;
    this.#staged = undefined;
    socket.on('close', () => {
      if (this.#daemon === socket) this.#daemon = undefined;
    });
    onMessages<Order>(socket, (order) => this.#take(socket, order));
    say(socket, { kind: 'hello', protocol: protocolVersion, version, pid });
  }

  #take(socket: Socket, order: Order): void {
    this.#orders = this.#orders.then(async () => {
      // What a daemon said that has been replaced meanwhile no longer counts.
      if (this.#daemon !== socket) return;
      try {
        await this.#obey(socket, order);
      } catch (error) {
        this.#options.log.error('an order of the daemon', { error });
        socket.destroy();
      }
    });
  }

  async #obey(socket: Socket, order: Order): Promise<void> {
    if (order.kind === 'end') return this.#options.onEnd();
    if (order.kind === 'update') return this.#update(order);
    const problem = await this.#commit(order);
    say(socket, { kind: 'done', number: order.number, ...(problem === undefined ? {} : { problem }) });
  }

  #update({ reset, changes }: Update): void {
    if (reset === true) this.#staged = new Zone();
    (this.#staged ?? this.#zone).apply(changes);
  }

  #commit({ listen }: Commit): Promise<string | undefined> {
    this.#zone = this.#staged ?? this.#zone;
    this.#staged = undefined;
    return this.#listener.want(listen);
  }
}

/** Holds the address that is wanted, or tries to, for as long as it is wanted. */
class Listener {
  readonly #options: ServerOptions;
  readonly #onListening: () => void;
  #wanted: Listen | undefined;
  #server: NameServer | undefined;
  #held: Listen | undefined;
  #cancelRetry: Cancel = () => {};
  #work: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: ServerOptions, onListening: () => void) {
    this.#options = options;
    this.#onListening = onListening;
  }

  /** Answers with what is in the way, after a while; it goes on trying. */
  want(listen: Listen | undefined): Promise<string | undefined> {
    this.#wanted = listen;
    this.#cancelRetry();
    return this.#exclusively(() => this.#settle());
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry();
    await this.#exclusively(() => this.#release());
  }

  async #settle(): Promise<string | undefined> {
    const { clock, log } = this.#options;
    const began = clock.monotonic();
    for (let waitMs: number = listenRetryMs.first; ; waitMs *= 2) {
      const problem = await this.#try();
      if (problem === undefined || this.#closed) return problem;
      if (clock.monotonic() - began + waitMs > listenWaitMs) {
        log.warn(problem);
        this.#retryLater(waitMs);
        return problem;
      }
      await sleep(clock, waitMs);
    }
  }

  #retryLater(waitMs: number): void {
    this.#cancelRetry = this.#options.clock.timer(waitMs, () => {
      void this.#exclusively(async () => {
        if (this.#closed) return;
        const held = this.#held;
        const problem = await this.#try();
        if (problem !== undefined) return this.#retryLater(Math.min(waitMs * 2, listenRetryMs.last));
        if (held !== this.#held) this.#onListening();
      });
    });
  }

  async #try(): Promise<string | undefined> {
    const wanted = this.#wanted;
    if (wanted?.address === this.#held?.address && wanted?.port === this.#held?.port) return undefined;
    await this.#release();
    if (wanted === undefined) return undefined;
    try {
      this.#server = await NameServer.listen(this.#options, wanted.address, wanted.port);
      this.#held = wanted;
      return undefined;
    } catch (error) {
      return `cannot answer names on ${wanted.address}:${wanted.port}: ${messageOf(error)}`;
    }
  }

  async #release(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
    this.#held = undefined;
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#work.then(work, work);
    this.#work = done.catch(() => {});
    return done;
  }
}
