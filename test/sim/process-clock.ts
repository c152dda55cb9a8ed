import type { Cancel, Clock } from '../../src/lib/clock.ts';

/** The clock of one simulated process: after `kill` nothing of that process ever runs again. */
export class ProcessClock implements Clock {
  readonly #world: Clock;
  #alive = true;

  constructor(world: Clock) {
    this.#world = world;
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
    return this.#world.timer(delayMs, () => this.#alive && run());
  }

  defer(run: () => void): void {
    this.#world.defer(() => this.#alive && run());
  }
}
