/** Which blocks of addresses and which VXLAN ids are in use, by whom. */
import { type Block, overlaps } from '../../model/ip.ts';

interface Owned {
  readonly owner: string;
  readonly block: Block;
}

export class SubnetBook {
  /** Sorted by their first address, which sorts them by their last, too. */
  readonly #owned: { readonly 4: Owned[]; readonly 6: Owned[] } = { 4: [], 6: [] };
  /** Everything of the pool below this is in use: where the search begins. */
  readonly #low = new Map<string, bigint>();

  /** Several times with the same block does no harm. A block that overlaps another one's, which only a network that asked for it has, is left out. */
  add(owner: string, block: Block): void {
    const list = this.#owned[block.family];
    if (this.overlapping(block) !== undefined) return;
    list.splice(firstEndingAfter(list, block.base), 0, { owner, block });
  }

  remove(owner: string): void {
    for (const family of [4, 6] as const) {
      const list = this.#owned[family];
      const kept = list.filter((entry) => entry.owner !== owner);
      if (kept.length === list.length) continue;
      list.splice(0, list.length, ...kept);
      this.#low.clear();
    }
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
