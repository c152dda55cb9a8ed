/**
 * Virtual time for a world of processes: one heap of events ordered by (due time, sequence), and a clock per process that
 * may run fast or slow, jump, stand still, or die with its process.
 */
import type { RandomSource } from '../core/types.ts';
import type { Runtime } from '../ports.ts';

export interface ScheduledEvent {
  dueMs: number;
  order: number;
  readonly run: () => void;
  /** The process in which it happens; dead: it does not, paused: it waits. */
  readonly owner: ProcessClock | undefined;
  cancelled: boolean;
}

function before(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}

export class Schedule {
  readonly #heap: ScheduledEvent[] = [];
  #order = 0;
  #nowMs = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  add(delayMs: number, run: () => void, owner?: ProcessClock): ScheduledEvent {
    this.#order += 1;
    const dueMs = this.#nowMs + Math.max(0, delayMs);
    const event: ScheduledEvent = { dueMs, order: this.#order, run, owner, cancelled: false };
    this.#push(event);
    return event;
  }

  /** Events that a paused process missed happen now, in their order. */
  again(event: ScheduledEvent): void {
    this.#order += 1;
    event.dueMs = Math.max(event.dueMs, this.#nowMs);
    event.order = this.#order;
    this.#push(event);
  }

  /** The next event that is to happen; time moves on to it. */
  pop(): ScheduledEvent | undefined {
    for (;;) {
      const event = this.#takeFirst();
      if (event === undefined) return undefined;
      if (event.cancelled || event.owner?.dead === true) continue;
      this.#nowMs = event.dueMs;
      if (event.owner?.paused !== true) return event;
      event.owner.held.push(event);
    }
  }

  #push(event: ScheduledEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as ScheduledEvent;
      if (!before(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #takeFirst(): ScheduledEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && before(right, heap[child] as ScheduledEvent)) child += 1;
      const below = heap[child] as ScheduledEvent;
      if (!before(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

export interface ClockOptions {
  readonly random: RandomSource;
  /** Milliseconds of this clock per true millisecond. */
  readonly rate: number;
  readonly offsetMs: number;
}

/** The Runtime of one process from its start to its end. */
export class ProcessClock implements Runtime {
  readonly random: RandomSource;
  readonly held: ScheduledEvent[] = [];
  readonly #schedule: Schedule;
  readonly #rate: number;
  #offsetMs: number;
  dead = false;
  paused = false;

  constructor(schedule: Schedule, options: ClockOptions) {
    this.#schedule = schedule;
    this.random = options.random;
    this.#rate = options.rate;
    this.#offsetMs = options.offsetMs;
  }

  now(): number {
    return this.#offsetMs + this.#schedule.nowMs * this.#rate;
  }

  setTimer(delayMs: number, run: () => void): () => void {
    const event = this.#schedule.add(delayMs / this.#rate, run, this);
    return () => {
      event.cancelled = true;
    };
  }

  defer(run: () => void): void {
    this.#schedule.add(0, run, this);
  }

  /** A monotonic clock only jumps forward, as after the sleep of a virtual machine. */
  jump(ms: number): void {
    this.#offsetMs += ms;
  }

  resume(): void {
    this.paused = false;
    for (const event of this.held.splice(0)) this.#schedule.again(event);
  }
}
