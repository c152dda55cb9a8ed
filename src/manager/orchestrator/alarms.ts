import type { Cancel, Clock } from '../../lib/clock.ts';

/** One timer per key: setting a key again replaces its timer. As many as keys in use, so callers bound them. */
export class Alarms {
  readonly #clock: Clock;
  readonly #ring: (key: string) => void;
  readonly #timers = new Map<string, { readonly at: number; readonly cancel: Cancel }>();

  constructor(clock: Clock, ring: (key: string) => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings `key` at wall time `at`; undefined = never. */
  set(key: string, at: number | undefined): void {
    const old = this.#timers.get(key);
    if (old?.at === at) return;
    old?.cancel();
    this.#timers.delete(key);
    if (at === undefined) return;
    const cancel = this.#clock.timer(Math.max(0, at - this.#clock.now()), () => {
      this.#timers.delete(key);
      this.#ring(key);
    });
    this.#timers.set(key, { at, cancel });
  }

  clear(): void {
    for (const { cancel } of this.#timers.values()) cancel();
    this.#timers.clear();
  }
}
