/** Small whole numbers that are given out, the smallest free one first. A number can be taken several times. */
export class Numbers {
  readonly #first: number;
  readonly #limit: number;
  readonly #taken = new Map<number, number>();
  /** All below are taken. */
  #low: number;

  /** From `first` up to, but without, `limit`. */
  constructor(first: number, limit: number) {
    this.#first = first;
    this.#limit = limit;
    this.#low = first;
  }

  /** The smallest free one; it stays free until it is taken. */
  next(): number | undefined {
    while (this.#taken.has(this.#low)) this.#low += 1;
    return this.#low < this.#limit ? this.#low : undefined;
  }

  has(number: number): boolean {
    return this.#taken.has(number);
  }

  take(number: number): void {
    this.#taken.set(number, (this.#taken.get(number) ?? 0) + 1);
  }

  release(number: number): void {
    const count = this.#taken.get(number) ?? 0;
    if (count > 1) return void this.#taken.set(number, count - 1);
    this.#taken.delete(number);
    if (count === 1 && number >= this.#first) this.#low = Math.min(this.#low, number);
  }
}
