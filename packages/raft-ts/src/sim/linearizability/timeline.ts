/**
 * Calls and returns of the answered operations in the order of time, as a list from which an operation can be lifted and
 * to which it can be put back (last lifted, first back). What stands before the first return may come next.
 *
 * Node 0 is the head; operation i has its call at 2i + 1 and its return at 2i + 2.
 */
import type { Operation } from './types.ts';

const none = -1;

export class Timeline {
  readonly #operations: readonly Operation<unknown, unknown>[];
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  constructor(operations: readonly Operation<unknown, unknown>[]) {
    this.#operations = operations;
    this.#next = new Int32Array(2 * operations.length + 1).fill(none);
    this.#previous = new Int32Array(2 * operations.length + 1).fill(none);
    const events = operations.flatMap((operation, at) => [
      { node: 2 * at + 1, time: operation.call, isReturn: 0 },
      { node: 2 * at + 2, time: operation.return, isReturn: 1 },
    ]);
    // At the same instant calls come first: the two operations count as concurrent.
    events.sort((a, b) => a.time - b.time || a.isReturn - b.isReturn);
    let last = 0;
    for (const { node } of events) {
      this.#next[last] = node;
      this.#previous[node] = last;
      last = node;
    }
  }

  /** The first operation that may come next. */
  first(): number | undefined {
    return this.#callAt(this.#after(0));
  }

  /** The one after it. */
  following(operation: number): number | undefined {
    return this.#callAt(this.#after(2 * operation + 1));
  }

  /** Only what was called by then may come next. */
  firstReturn(): number {
    let node = this.#after(0);
    while (node !== none && node % 2 === 1) node = this.#after(node);
    return this.#operations[node / 2 - 1]?.return ?? Number.POSITIVE_INFINITY;
  }

  lift(operation: number): void {
    this.#unlink(2 * operation + 1);
    this.#unlink(2 * operation + 2);
  }

  putBack(operation: number): void {
    this.#relink(2 * operation + 2);
    this.#relink(2 * operation + 1);
  }

  #callAt(node: number): number | undefined {
    return node !== none && node % 2 === 1 ? (node - 1) / 2 : undefined;
  }

  #after(node: number): number {
    return this.#next[node] ?? none;
  }

  #unlink(node: number): void {
    const previous = this.#previous[node] ?? 0;
    const next = this.#after(node);
    this.#next[previous] = next;
    if (next !== none) this.#previous[next] = previous;
  }

  #relink(node: number): void {
    const previous = this.#previous[node] ?? 0;
    const next = this.#after(node);
    this.#next[previous] = node;
    if (next !== none) this.#previous[next] = node;
  }
}
