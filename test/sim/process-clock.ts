import type { Cancel, Clock } from '../../src/lib/clock.ts';

/** The clock of one simulated process: after `kill` nothing of that process ever runs again. */
export class ProcessClock implements Clock {
  /** Where the process runs. */
  readonly host: string;
  readonly #world: Clock;
  #alive = true;

  constructor(world: Clock, host: string) {
    this.#world = world;
    this.host = host;
  }

  get alive(): boolean {
    return this.#alive;
  }

  kill(): void {
    this.#alive = false;
  }

  now(): number {
    return this.#world.now();
  }

  monotonic(): number {
    return this.#world.monotonic();
  }

  timer(delayMs: number, run: () => void): Cancel {
    if (!this.#alive) return () => {};
    return this.#world.timer(delayMs, () => this.#alive && run());
  }

  defer(run: () => void): void {
    if (this.#alive) this.#world.defer(() => this.#alive && run());
  }

  /** A call to the world outside the process: it happens, but a process that died meanwhile never learns the outcome. */
  outside<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#alive) return new Promise(() => {});
    return new Promise((resolve, reject) => {
      work().then(
        (value) => this.#alive && resolve(value),
        (error) => this.#alive && reject(error),
      );
    });
  }
}
