/** Work that goes on one piece at a time, in the order it came. */
export class Turns {
  readonly #waiting: (() => void)[] = [];
  #busy = false;

  /**
   * Ends as `work` does. What fails for a reason of its own frees the next; nobody waits longer than those before it take, so
   * `work` must have an end.
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#busy) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    this.#busy = true;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      // The turn is handed on, so that nobody who comes meanwhile takes it.
      if (next === undefined) this.#busy = false;
      else next();
    }
  }
}
