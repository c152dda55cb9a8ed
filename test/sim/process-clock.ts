import type { Cancel, Clock } from '../../src/lib/clock.ts';

export interface ProcessClockOptions {
  /** The host's wall clock is wrong by this much, ms. */
  readonly skewMs: number;
}

/**
 * The clock of one simulated process, and the gate to all that happens in it: after `kill` nothing of that process ever runs
 * again; while it is frozen (a stopped process, a paused machine) everything that comes in waits.
 */
export class ProcessClock implements Clock {
  /** Where the process runs. */
  readonly host: string;
  /** Resolves when the process is dead. */
  readonly killed: Promise<void>;
  readonly #world: Clock;
  readonly #skewMs: number;
  #alive = true;
  #tellKilled = () => {};
  /** What waits for the end of the freeze, in order. */
  #waiting: (() => void)[] | undefined;

  constructor(world: Clock, host: string, { skewMs }: ProcessClockOptions = { skewMs: 0 }) {
    this.host = host;
    this.#world = world;
    this.#skewMs = skewMs;
    this.killed = new Promise((resolve) => {
      this.#tellKilled = resolve;
    });
  }

  get alive(): boolean {
    return this.#alive;
  }

  get frozen(): boolean {
    return this.#waiting !== undefined;
  }

  kill(): void {
    this.#alive = false;
    this.#waiting = undefined;
    this.#tellKilled();
  }

  freeze(): void {
    if (this.#alive) this.#waiting ??= [];
  }

  /** One thing at a time, each in a turn of its own, before anything that comes in later. */
  thaw(): void {
    const run = this.#waiting?.shift();
    if (run === undefined) {
      this.#waiting = undefined;
      return;
    }
    run();
    this.#world.defer(() => this.thaw());
  }

  /** Something from outside happens to the process. */
  enter(run: () => void): void {
    if (!this.#alive) return;
    if (this.#waiting === undefined) run();
    else this.#waiting.push(run);
  }

  now(): number {
    return this.#world.now() + this.#skewMs;
  }

  monotonic(): number {
    return this.#world.monotonic();
  }

  timer(delayMs: number, run: () => void): Cancel {
    if (!this.#alive) return () => {};
    let cancelled = false;
    const cancel = this.#world.timer(delayMs, () => this.enter(() => !cancelled && run()));
    return () => {
      cancelled = true;
      cancel();
    };
  }

  defer(run: () => void): void {
    if (this.#alive) this.#world.defer(() => this.enter(run));
  }

  /** A call to the world outside the process: it happens, but a process that died meanwhile never learns the outcome. */
  outside<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#alive) return new Promise(() => {});
    return new Promise((resolve, reject) => {
      work().then(
        (value) => this.enter(() => resolve(value)),
        (error) => this.enter(() => reject(error)),
      );
    });
  }
}
