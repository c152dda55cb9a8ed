import type { Cancel, Clock } from '../../lib/clock.ts';

interface Watch {
  due: number;
  graceMs: number;
  /** When the timer that is set now should fire. */
  planned: number;
  cancel: Cancel;
}

/**
 * Who has been silent for too long. A sign of life only moves a number; the node's one timer, when it fires early, is set again for
 * the rest. A timer that fires late means that this process stood still: signs of life may wait unread, so everyone gets one more grace.
 */
export class Liveness {
  readonly #clock: Clock;
  readonly #expired: (nodeId: string) => void;
  readonly #watches = new Map<string, Watch>();

  constructor(clock: Clock, expired: (nodeId: string) => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  get size(): number {
    return this.#watches.size;
  }

  has(nodeId: string): boolean {
    return this.#watches.has(nodeId);
  }

  /** The node has `graceMs` from now; replaces what was set before, also when that was longer. */
  watch(nodeId: string, graceMs: number): void {
    this.forget(nodeId);
    const due = this.#clock.monotonic() + graceMs;
    const watch: Watch = { due, graceMs, planned: due, cancel: () => {} };
    this.#watches.set(nodeId, watch);
    this.#arm(nodeId, watch);
  }

  /** A sign of life. Does nothing for a node that is not watched. */
  touch(nodeId: string, graceMs: number): void {
    const watch = this.#watches.get(nodeId);
    if (watch === undefined) return;
    watch.graceMs = graceMs;
    watch.due = this.#clock.monotonic() + graceMs;
    if (watch.due < watch.planned) this.watch(nodeId, graceMs);
  }

  forget(nodeId: string): void {
    this.#watches.get(nodeId)?.cancel();
    this.#watches.delete(nodeId);
  }

  clear(): void {
    for (const watch of this.#watches.values()) watch.cancel();
    this.#watches.clear();
  }

  #arm(nodeId: string, watch: Watch): void {
    watch.planned = watch.due;
    watch.cancel = this.#clock.timer(watch.due - this.#clock.monotonic(), () => this.#fire(nodeId, watch));
  }

  #fire(nodeId: string, watch: Watch): void {
    if (this.#watches.get(nodeId) !== watch) return;
    const now = this.#clock.monotonic();
    if (now - watch.planned > watch.graceMs / 3) watch.due = Math.max(watch.due, now + watch.graceMs);
    if (watch.due > now) {
      this.#arm(nodeId, watch);
      return;
    }
    this.#watches.delete(nodeId);
    this.#expired(nodeId);
  }
}
