/** Virtual time: events run in the order of their due time, ties in the order they were set. */
import type { RandomSource } from '../core/types.ts';
import type { Runtime } from '../ports.ts';

interface Event {
  readonly dueMs: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** What a virtual runtime needs from the real one. */
export interface VirtualRuntimeOptions {
  readonly seed: number;
  /** Lets all promises that can settle do so, e.g. by waiting for one real turn of the event loop. */
  readonly settle: () => Promise<void>;
}

/** Time that passes only when it is told to, and timers in the order of time: the same seed gives the same run. */
export class VirtualRuntime implements Runtime {
  readonly random: RandomSource;
  readonly #settle: () => Promise<void>;
  #nowMs = 0;
  #order = 0;
  #events: Event[] = [];

  constructor(options: VirtualRuntimeOptions) {
    this.random = seededRandom(options.seed);
    this.#settle = options.settle;
  }

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, run: () => void): () => void {
    this.#order += 1;
    const event: Event = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order, run, cancelled: false };
    let at = this.#events.length;
    while (at > 0 && (this.#events[at - 1]?.dueMs ?? 0) > event.dueMs) at -= 1;
    this.#events.splice(at, 0, event);
    return () => {
      event.cancelled = true;
    };
  }

  defer(run: () => void): void {
    this.setTimer(0, run);
  }

  /** Runs everything due within `ms`, letting promises settle between events. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.#settle();
    for (let event = this.#events[0]; event !== undefined && event.dueMs <= endMs; event = this.#events[0]) {
      this.#events.shift();
      if (event.cancelled) continue;
      this.#nowMs = event.dueMs;
      event.run();
      await this.#settle();
    }
    this.#nowMs = endMs;
  }

  /** Advances in steps of `stepMs` until `condition` holds; throws once `limitMs` have passed. */
  async until(
    condition: () => boolean,
    options: { readonly limitMs?: number; readonly stepMs?: number } = {},
  ): Promise<void> {
    const { limitMs = 60_000, stepMs = 10 } = options;
    for (const endMs = this.#nowMs + limitMs; !condition(); ) {
      if (this.#nowMs >= endMs) throw new Error(`condition does not hold after ${String(limitMs)} ms`);
      await this.advance(stepMs);
    }
  }
}

/** sfc32: small, fast and good enough for schedules. */
export function seededRandom(seed: number): RandomSource {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed >>> 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  return { uint32: next };
}
