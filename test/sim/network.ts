/** The simulated network: who reaches whom, how slowly, and streams and calls that feel it. */
import type { Clock } from '../../src/lib/clock.ts';
import { ClusterError } from '../../src/lib/errors.ts';
import { between, type Random } from '../../src/lib/random.ts';
import type { Duplex } from '../../src/lib/stream.ts';
import { type MemoryDuplexPair, memoryDuplex } from '../../src/lib/testing/memory-duplex.ts';

interface Connection {
  readonly from: string;
  readonly to: string;
  readonly pair: Pick<MemoryDuplexPair<unknown, unknown>, 'cut' | 'stall'>;
}

const callLimitMs = 10_000;

export class SimNetwork {
  readonly #clock: Clock;
  readonly #random: Random;
  /** Cut cables, by host. */
  readonly #cut = new Set<string>();
  /** Pairs that do not hear each other, `a|b` in both orders. */
  readonly #split = new Set<string>();
  readonly #slow = new Set<string>();
  #connections: Connection[] = [];

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  reaches(a: string, b: string): boolean {
    return a === b || !(this.#cut.has(a) || this.#cut.has(b) || this.#split.has(`${a}|${b}`));
  }

  isCut(host: string): boolean {
    return this.#cut.has(host);
  }

  /** One way, ms. */
  delay(a: string, b: string): number {
    if (a === b) return 0;
    const slow = this.#slow.has(a) || this.#slow.has(b);
    return slow ? between(this.#random, 20, 200) : between(this.#random, 0, 3);
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

  slow(host: string): void {
    this.#slow.add(host);
  }

  healAll(): void {
    this.#cut.clear();
    this.#split.clear();
    this.#slow.clear();
    this.#update();
  }

  /** A stream from one host to a service of another: `accept` gets the far end, unless nobody listens there. */
  open<Out, In>(from: string, to: string, accept: (far: Duplex<In, Out>) => boolean): Duplex<Out, In> {
    const pair = memoryDuplex<Out, In>(this.#clock, { delayMs: () => this.delay(from, to) });
    const connection: Connection = { from, to, pair };
    this.#connections.push(connection);
    pair.stall(!this.reaches(from, to));
    const closed = () => {
      this.#connections = this.#connections.filter((one) => one !== connection);
    };
    this.#clock.timer(this.delay(from, to), () => {
      if (!this.reaches(from, to) || !accept(pair.right)) {
        pair.cut(new ClusterError('unavailable', `${to} cannot be reached`));
        closed();
      }
    });
    return pair.left;
  }

  /** A call that answers, fails, or hangs until its limit when the way is cut meanwhile. */
  call<T>(from: string, to: string, run: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.timer(callLimitMs, () => reject(new ClusterError('deadline', `${to} does not answer`)));
      const back = (deliver: () => void) => {
        this.#clock.timer(this.delay(to, from), () => {
          if (!this.reaches(from, to)) return;
          cancel();
          deliver();
        });
      };
      this.#clock.timer(this.delay(from, to), () => {
        if (!this.reaches(from, to)) return;
        run().then(
          (value) => back(() => resolve(structuredClone(value))),
          (error) => back(() => reject(error)),
        );
      });
    });
  }

  /** The host's process died: the kernel resets its connections where the way is open. */
  reset(host: string): void {
    for (const { from, to, pair } of this.#connections) {
      if (from !== host && to !== host) continue;
      if (this.reaches(from, to)) pair.cut();
    }
    this.#connections = this.#connections.filter(({ from, to }) => from !== host && to !== host);
  }

  #update(): void {
    for (const { from, to, pair } of this.#connections) pair.stall(!this.reaches(from, to));
  }
}
