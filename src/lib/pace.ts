import type { Clock } from './clock.ts';

/**
 * Cuts long work into pieces, each in a turn of its own: a look at every task of a large cluster must not hold up beats and
 * elections. Counts units of work, not time, so that a simulated run repeats. After a pause the world may be another: read again.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #unitsPerTurn: number;
  #spent = 0;

  constructor(clock: Clock, unitsPerTurn: number) {
    this.#clock = clock;
    this.#unitsPerTurn = unitsPerTurn;
  }

  /** Work was done; when that was enough for this turn, a promise of the next one. */
  spend(units = 1): Promise<void> | undefined {
    this.#spent += units;
    if (this.#spent < this.#unitsPerTurn) return undefined;
    this.#spent = 0;
    return new Promise((resolve) => this.#clock.defer(resolve));
  }

  /** Looks at one item after the other, as they are now; `look` may say how many units of work that was. */
  async each<T>(items: Iterable<T>, look: (item: T) => number | void): Promise<void> {
    for (const item of [...items]) {
      const pause = this.spend(look(item) ?? 1);
      if (pause !== undefined) await pause;
    }
  }
}
