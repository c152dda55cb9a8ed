/** Which blocks of addresses and which VXLAN ids are in use, by whom. */
import { type Block, overlaps } from '../../model/ip.ts';

interface Owned {
  readonly owner: string;
  readonly block: Block;
}

/** What the book says depends on what is in it, never on the order in which it came. */
export class SubnetBook {
  /** Those that no other one covers, sorted by their first address, which sorts them by their last, too. */
  readonly #owned: { 4: Owned[]; 6: Owned[] } = { 4: [], 6: [] };
  /** Those within another one's: only networks that asked to share a subnet have such. */
  readonly #covered = new Map<string, Owned>();
  /** Everything of the pool below this is in use: where the search begins. */
  readonly #low = new Map<string, bigint>();

  /** Several times with the same block does no harm. */
  add(owner: string, block: Block): void {
    const added = { owner, block };
    const list = this.#owned[block.family];
    const from = firstEndingAfter(list, block.base);
    const first = list[from];
    if (first !== undefined && keyOf(first) === keyOf(added)) return;
    if (first !== undefined && overlaps(first.block, block) && covers(first, added)) return this.#cover(added);
    let to = from;
    for (let other = first; other !== undefined && overlaps(other.block, block); other = list[to]) {
      this.#cover(other);
      to += 1;
    }
    list.splice(from, to - from, added);
  }

  remove(owner: string): void {
    for (const [key, entry] of this.#covered) if (entry.owner === owner) this.#covered.delete(key);
    let isFreed = false;
    for (const family of [4, 6] as const) {
      const list = this.#owned[family];
      const kept = list.filter((entry) => entry.owner !== owner);
      if (kept.length === list.length) continue;
      this.#owned[family] = kept;
      isFreed = true;
    }
    if (!isFreed) return;
    this.#low.clear();
    const others = [...this.#covered.values()];
    this.#covered.clear();
    for (const entry of others) this.add(entry.owner, entry.block);
  }

  #cover(entry: Owned): void {
    this.#covered.set(keyOf(entry), entry);
  }

  /** Who has a block that overlaps this one. */
  overlapping(block: Block): string | undefined {
    const list = this.#owned[block.family];
    const entry = list[firstEndingAfter(list, block.base)];
    return entry !== undefined && overlaps(entry.block, block) ? entry.owner : undefined;
  }

  /** The first block of this prefix length in the pool that nobody has and that overlaps none of `reserved`. */
  firstFree(pool: Block, prefix: number, reserved: readonly Block[]): Block | undefined {
    const size = 1n << BigInt((pool.family === 4 ? 32 : 128) - prefix);
    const key = `${pool.base}/${pool.prefix}/${prefix}`;
    let base = this.#low.get(key) ?? pool.base;
    while (base + size <= pool.base + pool.size) {
      const block = { family: pool.family, base, prefix, size };
      const end = this.#endOfOverlap(block, reserved);
      if (end === undefined) {
        this.#low.set(key, base);
        return block;
      }
      base = aligned(end, size);
    }
    this.#low.set(key, base);
    return undefined;
  }

  #endOfOverlap(block: Block, reserved: readonly Block[]): bigint | undefined {
    const list = this.#owned[block.family];
    const own = list[firstEndingAfter(list, block.base)]?.block;
    const other = own !== undefined && overlaps(own, block) ? own : reserved.find((one) => overlaps(one, block));
    return other === undefined ? undefined : other.base + other.size;
  }
}

/** Of two blocks that overlap one lies within the other; of two equal ones the lower owner's counts. */
function covers(one: Owned, other: Owned): boolean {
  if (one.block.prefix !== other.block.prefix) return one.block.prefix < other.block.prefix;
  return one.owner <= other.owner;
}

function keyOf({ owner, block }: Owned): string {
  return `${owner}/${block.family}/${block.base}/${block.prefix}`;
}

function aligned(value: bigint, size: bigint): bigint {
  return ((value + size - 1n) / size) * size;
}

/** Index of the first block that ends behind this address. */
function firstEndingAfter(list: readonly Owned[], value: bigint): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const block = list[middle]?.block;
    if (block !== undefined && block.base + block.size > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
