/** Who waits for what, in the order in which they began to. */
export class Waiting {
  readonly #byCause = new Map<string, Set<string>>();
  readonly #causes = new Map<string, string>();

  get size(): number {
    return this.#causes.size;
  }

  add(waiter: string, cause: string): void {
    if (this.#causes.get(waiter) === cause) return;
    this.remove(waiter);
    this.#causes.set(waiter, cause);
    const waiters = this.#byCause.get(cause);
    if (waiters === undefined) this.#byCause.set(cause, new Set([waiter]));
    else waiters.add(waiter);
  }

  remove(waiter: string): void {
    const cause = this.#causes.get(waiter);
    if (cause === undefined) return;
    this.#causes.delete(waiter);
    const waiters = this.#byCause.get(cause);
    waiters?.delete(waiter);
    if (waiters?.size === 0) this.#byCause.delete(cause);
  }

  /** The first ones that wait for it; they go on waiting until they are removed. */
  first(cause: string, limit: number): readonly string[] {
    const found: string[] = [];
    for (const waiter of this.#byCause.get(cause) ?? []) {
      if (found.length >= limit) break;
      found.push(waiter);
    }
    return found;
  }
}
