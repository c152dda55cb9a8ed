import { assert } from '../assert.ts';
import type { Cancel, Clock } from '../clock.ts';
import { realClock } from '../real.ts';

interface Timer {
  readonly due: number;
  readonly order: number;
  run: (() => void) | undefined;
}

export interface VirtualClockOptions {
  /** Wall time at the start, ms since the epoch. */
  readonly start?: number;
}

/**
 * A clock that moves only when told to. Deferred calls run before timers, timers in order of (time due, order of setting), and
 * after each single one all microtasks are drained, so that a run is the same every time as long as nobody touches the outside.
 */
export class VirtualClock implements Clock {
  readonly #start: number;
  readonly #timers = new Heap();
  #deferred: (() => void)[] = [];
  #elapsed = 0;
  #order = 0;
  #wallOffset = 0;
  #running = false;

  constructor(options: VirtualClockOptions = {}) {
    this.#start = options.start ?? Date.UTC(2026, 0, 1);
  }

  now(): number {
    return this.#start + this.#elapsed + this.#wallOffset;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  timer(delayMs: number, run: () => void): Cancel {
    assert(!Number.isNaN(delayMs), 'timer delay is not a number');
    const timer: Timer = { due: this.#elapsed + Math.max(0, delayMs), order: this.#order++, run };
    this.#timers.push(timer);
    return () => {
      timer.run = undefined;
    };
  }

  defer(run: () => void): void {
    this.#deferred.push(run);
  }

  /** Moves the wall clock alone, as an administrator or NTP does. */
  stepWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  /** When the next timer is due, on the monotonic scale. */
  nextDue(): number | undefined {
    return this.#timers.peek()?.due;
  }

  /** Runs everything that is due now, and what follows from it, without time passing. */
  async runUntilIdle(): Promise<void> {
    await this.advance(0);
  }

  /** Lets `ms` pass; everything due in between happens at its own time. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms;
    await this.#drive(end, () => false);
    this.#elapsed = Math.max(this.#elapsed, end);
  }

  /** Lets time pass until `holds()`; throws when it does not within `limitMs`. Returns the milliseconds that passed. */
  async until(holds: () => boolean, limitMs = 60_000): Promise<number> {
    const from = this.#elapsed;
    const held = await this.#drive(from + limitMs, holds);
    assert(held, `condition does not hold after ${limitMs} ms of virtual time`);
    return this.#elapsed - from;
  }

  /** Drives the clock until `work` settles, and returns its outcome. */
  async settle<T>(work: Promise<T>, limitMs = 60_000): Promise<T> {
    let settled = false;
    const note = () => {
      settled = true;
    };
    work.then(note, note);
    await this.until(() => settled, limitMs);
    return work;
  }

  async #drive(end: number, done: () => boolean): Promise<boolean> {
    assert(!this.#running, 'the virtual clock is being driven already');
    this.#running = true;
    try {
      await microtasks();
      while (!done()) {
        const run = this.#next(end);
        if (run === undefined) return false;
        run();
        await microtasks();
      }
      return true;
    } finally {
      this.#running = false;
    }
  }

  #next(end: number): (() => void) | undefined {
    const deferred = this.#deferred.shift();
    if (deferred !== undefined) return deferred;
    const timer = this.#timers.peek();
    if (timer === undefined || timer.due > end) return undefined;
    this.#timers.pop();
    this.#elapsed = Math.max(this.#elapsed, timer.due);
    const { run } = timer;
    timer.run = undefined;
    return run;
  }
}

/** A macrotask of the real loop comes after every microtask, however long their chain. */
function microtasks(): Promise<void> {
  return new Promise((resolve) => realClock.defer(resolve));
}

/** Binary heap by (due, order); cancelled timers are dropped when they reach the top. */
class Heap {
  readonly #items: Timer[] = [];

  push(timer: Timer): void {
    const items = this.#items;
    items.push(timer);
    let at = items.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  peek(): Timer | undefined {
    while (this.#items[0] !== undefined && this.#items[0].run === undefined) this.pop();
    return this.#items[0];
  }

  pop(): void {
    const items = this.#items;
    const last = items.pop();
    if (last === undefined || items.length === 0) return;
    items[0] = last;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      let least = at;
      if (left < items.length && this.#before(left, least)) least = left;
      if (right < items.length && this.#before(right, least)) least = right;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #before(a: number, b: number): boolean {
    const x = this.#items[a];
    const y = this.#items[b];
    assert(x !== undefined && y !== undefined, 'heap index out of range');
    return x.due < y.due || (x.due === y.due && x.order < y.order);
  }

  #swap(a: number, b: number): void {
    const x = this.#items[a];
    const y = this.#items[b];
    assert(x !== undefined && y !== undefined, 'heap index out of range');
    this.#items[a] = y;
    this.#items[b] = x;
  }
}
