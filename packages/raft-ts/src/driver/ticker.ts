/** Ticks at a steady pace; after a stall, at most two at once: a long pause must not look like lost heartbeats. */
import type { Runtime } from '../ports.ts';

/** Ticks that come at once after a stall; see `leaseMarginMs` for what rests on it. */
export const lateTicksMax = 2;
/** Timers may fire a little early. */
const slackMs = 2;

export class Ticker {
  readonly #runtime: Runtime;
  readonly #tickMs: number;
  readonly #onTicks: (ticks: number, skipped: number) => void;
  #lastMs = 0;
  #cancel: (() => void) | undefined;

  constructor(runtime: Runtime, tickMs: number, onTicks: (ticks: number, skipped: number) => void) {
    this.#runtime = runtime;
    this.#tickMs = tickMs;
    this.#onTicks = onTicks;
  }

  start(): void {
    this.#lastMs = this.#runtime.now();
    this.#arm();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(): void {
    const delayMs = Math.max(0, this.#lastMs + this.#tickMs - this.#runtime.now());
    this.#cancel = this.#runtime.setTimer(delayMs, () => this.#wake());
  }

  #wake(): void {
    const passed = Math.floor((this.#runtime.now() - this.#lastMs + slackMs) / this.#tickMs);
    this.#lastMs += passed * this.#tickMs;
    // Armed before the callback, which may stop us.
    this.#arm();
    const ticks = Math.min(passed, lateTicksMax);
    if (ticks > 0) this.#onTicks(ticks, passed - ticks);
  }
}
