/**
 * A leader's lease [thesis §6.4.1]: whoever acknowledged one of its heartbeats elects nobody else for an election timeout.
 * It runs from the moment before a heartbeat round was sent, by this machine's monotonic clock, once a quorum has
 * acknowledged that round; the margin is for clocks that do not run equally fast and for the receivers' late ticks.
 */
export class Lease {
  readonly #lengthMs: number;
  /** Rounds on their way, oldest first. */
  readonly #sentMs = new Map<number, number>();
  #startMs = Number.NEGATIVE_INFINITY;

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs;
  }

  /** Must be called before the round's heartbeats leave. */
  sent(round: number, nowMs: number): void {
    if (this.#sentMs.has(round)) return;
    this.#sentMs.set(round, nowMs);
    // A leader that nobody answers steps down long before this many rounds.
    for (const oldest of this.#sentMs.keys()) {
      if (this.#sentMs.size <= roundsMax) break;
      this.#sentMs.delete(oldest);
    }
  }

  confirmed(round: number): void {
    for (const [sent, sentMs] of this.#sentMs) {
      if (sent > round) break;
      this.#sentMs.delete(sent);
      this.#startMs = Math.max(this.#startMs, sentMs);
    }
  }

  /** The role or the term has changed. */
  reset(): void {
    this.#sentMs.clear();
    this.#startMs = Number.NEGATIVE_INFINITY;
  }

  holds(nowMs: number): boolean {
    return nowMs < this.#startMs + this.#lengthMs;
  }
}

const roundsMax = 4096;
