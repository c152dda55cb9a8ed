/** A binary heap: `pop` gives the least by `before`. Items must not change their order while they are inside. */
export class Heap<T> {
  readonly #before: (one: T, other: T) => boolean;
  readonly #items: T[];

  constructor(items: readonly T[], before: (one: T, other: T) => boolean) {
    this.#before = before;
    this.#items = [...items];
    for (let at = (this.#items.length >> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  get size(): number {
    return this.#items.length;
  }

  /** In no particular order. */
  get items(): readonly T[] {
    return this.#items;
  }

  get top(): T | undefined {
    return this.#items[0];
  }

  /** Puts `item` in the place of the top. */
  replaceTop(item: T): void {
    this.#items[0] = item;
    this.#sink(0);
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!this.#before(item, items[above] as T)) break;
      items[at] = items[above] as T;
      at = above;
    }
    items[at] = item;
  }

  pop(): T | undefined {
    const top = this.#items[0];
    const last = this.#items.pop();
    if (this.#items.length > 0 && last !== undefined) {
      this.#items[0] = last;
      this.#sink(0);
    }
    return top;
  }

  #sink(from: number): void {
    const items = this.#items;
    const item = items[from] as T;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.#before(items[child + 1] as T, items[child] as T)) child += 1;
      if (!this.#before(items[child] as T, item)) break;
      items[at] = items[child] as T;
      at = child;
    }
    items[at] = item;
  }
}
