import { expect, test } from 'vitest';
import { settingsOf } from '../../src/driver/options.ts';
import { Ticker } from '../../src/driver/ticker.ts';
import type { RaftNodeOptions } from '../../src/index.ts';

const tickMs = 100;
const electionTicks = 10;

/** Timers that fire only when told to, so that a process can be held up. */
class HeldUp {
  nowMs = 0;
  #due: { readonly atMs: number; readonly run: () => void } | undefined;
  readonly random = { uint32: () => 0 };

  now(): number {
    return this.nowMs;
  }

  setTimer(delayMs: number, run: () => void): () => void {
    this.#due = { atMs: this.nowMs + delayMs, run };
    return () => {};
  }

  defer(): void {}

  /** The timer, as soon as it is due. */
  fire(): void {
    const due = this.#due;
    if (due === undefined) throw new Error('no timer');
    this.nowMs = Math.max(this.nowMs, due.atMs);
    due.run();
  }
}

/** How long a promise of `electionTicks` ticks lasts that is given after a stall, before the timers catch up. */
function shortestPromiseMs(stallMs: number): number {
  const runtime = new HeldUp();
  let ticks = 0;
  const ticker = new Ticker(runtime, tickMs, (count) => (ticks += count));
  ticker.start();
  runtime.nowMs = stallMs;
  for (; ticks < electionTicks; runtime.fire());
  return runtime.nowMs - stallMs;
}

test('a lease is shorter than the promise of a voter that was held up before it heard of the leader', () => {
  const options = { id: 1, tickMs, electionTicks, leaseReads: true } as Partial<RaftNodeOptions<number>>;
  const { leaseMarginMs } = settingsOf(options as RaftNodeOptions<number>);
  const leaseMs = electionTicks * tickMs - leaseMarginMs;
  for (let stallMs = 0; stallMs < 2000; stallMs += 7) {
    expect(leaseMs).toBeLessThan(shortestPromiseMs(stallMs));
  }
  // So much time can be counted twice, or the above shows nothing.
  expect(shortestPromiseMs(297)).toBeLessThan((electionTicks - 2) * tickMs);
});
