/**
 * The configurations already tried: which operations are in order, and the state they lead to. One that differs from a
 * known one only in having used up more of the operations whose outcome is unknown has nothing left that the other had
 * not, so it counts as tried too.
 *
 * Compared exactly: a collision of hashes cannot turn a verdict round. Answered operations are taken in nearly the order
 * of their numbers: all words of their set before the first gap are full, all after the last member are empty, and neither
 * is kept.
 */
interface Configuration {
  readonly from: number;
  readonly words: Uint32Array;
  readonly state: unknown;
  /** Sets of open operations, none containing another. */
  readonly open: Uint32Array[];
}

export class Visited {
  readonly #answered: number;
  readonly #words: Uint32Array;
  readonly #open: Uint32Array;
  readonly #seen = new Map<number, Configuration[]>();
  #hash = 0;

  /** Operations 0…answered-1 have a known outcome, the `open` ones after them have not. */
  constructor(answered: number, open: number) {
    this.#answered = answered;
    this.#words = new Uint32Array(Math.ceil(answered / 32));
    this.#open = new Uint32Array(Math.ceil(open / 32));
  }

  /** Adds the operation to the set, or takes it out again. */
  flip(operation: number): void {
    if (operation >= this.#answered) return flipBit(this.#open, operation - this.#answered);
    flipBit(this.#words, operation);
    this.#hash ^= scramble(operation + 1);
  }

  has(operation: number): boolean {
    const open = operation >= this.#answered;
    const bit = open ? operation - this.#answered : operation;
    return (((open ? this.#open : this.#words)[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0;
  }

  /** False if this set with this state, or one at least as good, was given before. */
  visit(state: unknown): boolean {
    const { from, to } = this.#gaps();
    const hash = this.#hash ^ scramble(digest(state));
    const bucket = this.#seen.get(hash) ?? [];
    const known = bucket.find(
      (other) => Object.is(other.state, state) && other.from === from && this.#equals(other.words, from, to),
    );
    if (known !== undefined) return this.#improves(known.open);
    bucket.push({ from, words: this.#words.slice(from, to), state, open: [this.#open.slice()] });
    if (bucket.length === 1) this.#seen.set(hash, bucket);
    return true;
  }

  #improves(known: Uint32Array[]): boolean {
    if (known.some((set) => isSubset(set, this.#open))) return false;
    let kept = 0;
    for (const set of known) if (!isSubset(this.#open, set)) known[kept++] = set;
    known.length = kept;
    known.push(this.#open.slice());
    return true;
  }

  #gaps(): { from: number; to: number } {
    let from = 0;
    let to = this.#words.length;
    while (from < to && this.#words[from] === 0xffff_ffff) from += 1;
    while (to > from && this.#words[to - 1] === 0) to -= 1;
    return { from, to };
  }

  #equals(words: Uint32Array, from: number, to: number): boolean {
    if (words.length !== to - from) return false;
    for (let at = from; at < to; at++) if (words[at - from] !== this.#words[at]) return false;
    return true;
  }
}

function flipBit(words: Uint32Array, bit: number): void {
  words[bit >>> 5] = (words[bit >>> 5] ?? 0) ^ (1 << (bit & 31));
}

function isSubset(small: Uint32Array, large: Uint32Array): boolean {
  for (let at = 0; at < small.length; at++) if (((small[at] ?? 0) & ~(large[at] ?? 0)) !== 0) return false;
  return true;
}

/** Spreads the bits (the finaliser of MurmurHash3). */
function scramble(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}

function digest(state: unknown): number {
  const text = String(state);
  let sum = text.length;
  for (let at = 0; at < text.length; at++) sum = (Math.imul(sum, 31) + text.charCodeAt(at)) | 0;
  return sum;
}
