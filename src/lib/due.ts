/** Things that are due at a time, the earliest first. Made for times that mostly grow from one to the next. */
export class DueQueue<T> {
  #entries: { readonly at: number; readonly item: T }[] = [];
  /** Entries before this one have been taken out. */
  #head = 0;

  add(at: number, item: T): void {
    const entries = this.#entries;
    let place = entries.length;
    const last = entries.at(-1);
    if (last !== undefined && place > this.#head && last.at > at) place = this.#placeFor(at);
    if (place === entries.length) entries.push({ at, item });
    else entries.splice(place, 0, { at, item });
  }

  /** When the first one is due. */
  get next(): number | undefined {
    return this.#entries[this.#head]?.at;
  }

  get size(): number {
    return this.#entries.length - this.#head;
  }

  /** Takes out what is due by now, in the order of its times. */
  take(now: number): readonly T[] {
    const from = this.#head;
    while ((this.#entries[this.#head]?.at ?? Number.POSITIVE_INFINITY) <= now) this.#head += 1;
    const due = this.#entries.slice(from, this.#head).map(({ item }) => item);
    if (this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return due;
  }

  clear(): void {
    this.#entries = [];
    this.#head = 0;
  }

  /** Behind all that are due at the same time or earlier. */
  #placeFor(at: number): number {
    let low = this.#head;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#entries[middle]?.at ?? 0) <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
