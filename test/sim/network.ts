/** The simulated network: who reaches whom, how slowly, and streams and calls that feel it. */
import type { Clock } from '../../src/lib/clock.ts';
import { ClusterError } from '../../src/lib/errors.ts';
import { between, type Random } from '../../src/lib/random.ts';
import type { Duplex } from '../../src/lib/stream.ts';
import { type MemoryDuplexPair, memoryDuplex } from '../../src/lib/testing/memory-duplex.ts';
import type { ProcessClock } from './process-clock.ts';

interface Connection {
  readonly from: string;
  readonly to: string;
  readonly pair: Pick<MemoryDuplexPair<unknown, unknown>, 'cut' | 'stall'>;
  openEnds: number;
  /** One end's process is gone; the other learns it as soon as the way is open. */
  dead: boolean;
}

interface Call {
  readonly from: string;
  readonly to: string;
  readonly fail: (error: Error) => void;
}

const callLimitMs = 10_000;

export class SimNetwork {
  readonly #clock: Clock;
  readonly #random: Random;
  /** Cut cables and hosts without power. */
  readonly #cut = new Set<string>();
  readonly #down = new Set<string>();
  /** Pairs that do not hear each other, `a|b` in both orders. */
  readonly #split = new Set<string>();
  readonly #slow = new Set<string>();
  #connections: Connection[] = [];
  readonly #calls = new Set<Call>();

  /** What every message takes at most, one way, ms. */
  readonly #latencyMaxMs: number;

  constructor(clock: Clock, random: Random, latencyMaxMs: number) {
    this.#clock = clock;
    this.#random = random;
    this.#latencyMaxMs = latencyMaxMs;
  }

  reaches(a: string, b: string): boolean {
    if (a === b) return true;
    const blocked = [this.#cut, this.#down].some((hosts) => hosts.has(a) || hosts.has(b));
    return !blocked && !this.#split.has(`${a}|${b}`);
  }

  /** Nothing is wrong anywhere. */
  get healthy(): boolean {
    return this.#cut.size + this.#down.size + this.#split.size + this.#slow.size === 0;
  }

  /** One way, ms. */
  delay(a: string, b: string): number {
    if (a === b) return 0;
    const slow = this.#slow.has(a) || this.#slow.has(b);
    return slow ? between(this.#random, 20, 300) : between(this.#random, 0, this.#latencyMaxMs);
  }

  cut(host: string): void {
    this.#cut.add(host);
    this.#update();
  }

  heal(host: string): void {
    this.#cut.delete(host);
    this.#update();
  }

  split(a: string, b: string): void {
    this.#split.add(`${a}|${b}`).add(`${b}|${a}`);
    this.#update();
  }

  join(a: string, b: string): void {
    this.#split.delete(`${a}|${b}`);
    this.#split.delete(`${b}|${a}`);
    this.#update();
  }

  slow(host: string, slow: boolean): void {
    if (slow) this.#slow.add(host);
    else this.#slow.delete(host);
  }

  /** Power is back, or was never off. */
  boot(host: string): void {
    this.#down.delete(host);
    this.#update();
  }

  healAll(): void {
    this.#cut.clear();
    this.#split.clear();
    this.#slow.clear();
    this.#update();
  }

  /** A stream to a service of another host: `accept` gets the far end and the clock of the process that serves it, unless nobody listens. */
  open<Out, In>(
    caller: ProcessClock,
    to: string,
    accept: (wrap: (server: ProcessClock) => Duplex<In, Out>) => boolean,
  ): Duplex<Out, In> {
    const from = caller.host;
    const pair = memoryDuplex<Out, In>(this.#clock, { delayMs: () => this.delay(from, to) });
    const connection: Connection = { from, to, pair, openEnds: 2, dead: false };
    this.#connections.push(connection);
    pair.stall(!this.reaches(from, to));
    const closed = () => {
      connection.openEnds -= 1;
      if (connection.openEnds === 0) this.#connections = this.#connections.filter((one) => one !== connection);
    };
    const near = new GuardedDuplex(pair.left, caller, closed);
    this.#clock.timer(this.delay(from, to), () => {
      if (this.reaches(from, to) && accept((server) => new GuardedDuplex(pair.right, server, closed))) return;
      pair.cut(new ClusterError('unavailable', `${to} cannot be reached`));
      connection.openEnds = 1;
      closed();
    });
    return near;
  }

  /** A call that answers, fails, or hangs until its limit when the way is cut meanwhile. `find`: undefined = nobody listens. */
  call<T>(
    caller: ProcessClock,
    to: string,
    find: () => { readonly clock: ProcessClock; readonly run: () => Promise<T> } | undefined,
  ): Promise<T> {
    const from = caller.host;
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        cancel();
        if (this.#calls.delete(call)) settle();
      };
      const call: Call = { from, to, fail: (error) => finish(() => caller.enter(() => reject(error))) };
      const cancel = caller.timer(callLimitMs, () => call.fail(new ClusterError('deadline', `${to} does not answer`)));
      this.#calls.add(call);
      const back = (settle: () => void) => {
        this.#clock.timer(this.delay(to, from), () => this.reaches(from, to) && finish(() => caller.enter(settle)));
      };
      this.#clock.timer(this.delay(from, to), () => {
        if (!this.reaches(from, to)) return;
        const server = find();
        if (server === undefined) return back(() => reject(new ClusterError('unavailable', `${to} cannot be reached`)));
        server.clock.enter(() => {
          server.run().then(
            (value) => back(() => resolve(copy(value))),
            (error) => back(() => reject(error)),
          );
        });
      });
    });
  }

  /** The host's process died: the kernel resets its connections where the way is open. */
  reset(host: string): void {
    for (const connection of this.#connections) {
      if (connection.from === host || connection.to === host) connection.dead = true;
    }
    for (const call of [...this.#calls]) {
      if (call.from === host) this.#calls.delete(call);
      else if (call.to === host && this.reaches(call.from, host))
        call.fail(new ClusterError('unavailable', `${host} closed the connection`));
    }
    this.#update();
  }

  /** Power loss: nobody is told. */
  powerOff(host: string): void {
    this.#down.add(host);
    this.reset(host);
  }

  #update(): void {
    for (const { from, to, pair, dead } of this.#connections) {
      const open = this.reaches(from, to);
      if (open && dead) pair.cut();
      else pair.stall(!open);
    }
    this.#connections = this.#connections.filter(({ from, to, dead }) => !(dead && this.reaches(from, to)));
  }
}

/** What crosses the wire is a document, not an object. */
export function copy<T>(value: T): T {
  return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as T);
}

/** One end of a stream as its process has it: silent once that process is dead. */
class GuardedDuplex<Out, In> implements Duplex<Out, In> {
  readonly #inner: Duplex<Out, In>;
  readonly #process: ProcessClock;
  #outcome: { readonly error: Error | undefined } | undefined;
  #handle: ((error: Error | undefined) => void) | undefined;

  constructor(inner: Duplex<Out, In>, process: ProcessClock, closed: () => void) {
    this.#inner = inner;
    this.#process = process;
    inner.onClose((error) => {
      closed();
      this.#outcome = { error };
      this.#process.enter(() => this.#tell());
    });
  }

  send(message: Out): boolean {
    return this.#process.alive && this.#inner.send(message);
  }

  onMessage(handle: (message: In) => void): void {
    this.#inner.onMessage((message) => this.#process.enter(() => handle(message)));
  }

  onClose(handle: (error: Error | undefined) => void): void {
    this.#handle = handle;
    if (this.#outcome !== undefined) this.#process.defer(() => this.#tell());
  }

  close(error?: Error): void {
    if (this.#process.alive) this.#inner.close(error);
  }

  #tell(): void {
    const handle = this.#handle;
    if (handle === undefined || this.#outcome === undefined || !this.#process.alive) return;
    this.#handle = undefined;
    handle(this.#outcome.error);
  }
}
