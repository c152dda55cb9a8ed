/**
 * The addresses of one subnet. They are given out in a ring, so that one that was freed is used again as late as possible. An
 * address can be taken several times (by a decision on its way into the store and by its object, or by a task that rests and one
 * that was written anew); it is free when nobody has it.
 */
import { type Block, formatAddress, parseAddress, parseBlock, withoutPrefix } from '../../model/ip.ts';
import type { NetworkSubnet } from '../../model/objects.ts';

/** Addresses of a subnet that are used at most; the hardware address is made of the last four bytes. */
const sizeMax = 2 ** 32;

export class Ring {
  readonly subnet: string;
  readonly family: 4 | 6;
  /** How many addresses can be given at most. */
  readonly capacity: number;
  readonly #prefix: number;
  readonly #first: bigint;
  readonly #size: number;
  /** Never given: gateway, network, broadcast, reserved. Distances from the first address. */
  readonly #excluded: ReadonlySet<number>;
  readonly #taken = new Map<number, number>();
  #next = 0;

  constructor(subnet: NetworkSubnet) {
    const block = blockOf(subnet.subnet);
    const range = subnet.range === undefined ? block : blockOf(subnet.range);
    this.subnet = subnet.subnet;
    this.family = block.family;
    this.#prefix = block.prefix;
    this.#first = range.base;
    this.#size = Number(range.size > BigInt(sizeMax) ? BigInt(sizeMax) : range.size);
    this.#excluded = this.#offsets([...edges(block), subnet.gateway, ...(subnet.reserved ?? [])]);
    this.capacity = this.#size - this.#excluded.size;
  }

  get free(): number {
    return this.capacity - this.#taken.size;
  }

  /** The next free address, with its prefix length; it stays free until it is taken. */
  next(): string | undefined {
    if (this.free <= 0) return undefined;
    for (let step = 0; step < this.#size; step++) {
      const offset = (this.#next + step) % this.#size;
      if (!this.#excluded.has(offset) && !this.#taken.has(offset)) return this.#format(offset);
    }
    return undefined;
  }

  /** False for an address of another subnet, or one that is never given. */
  take(address: string): boolean {
    const offset = this.#offset(address);
    if (offset === undefined || this.#excluded.has(offset)) return false;
    this.#taken.set(offset, (this.#taken.get(offset) ?? 0) + 1);
    return true;
  }

  /** The ring goes on behind this address. */
  advance(address: string): void {
    const offset = this.#offset(address);
    if (offset !== undefined) this.#next = (offset + 1) % this.#size;
  }

  /** One who took it gives it back; true when it is free now. */
  release(address: string): boolean {
    const offset = this.#offset(address);
    const count = offset === undefined ? undefined : this.#taken.get(offset);
    if (offset === undefined || count === undefined) return false;
    if (count > 1) this.#taken.set(offset, count - 1);
    else this.#taken.delete(offset);
    return count === 1;
  }

  #offset(address: string): number | undefined {
    const parsed = parseAddress(withoutPrefix(address));
    if (parsed === undefined || parsed.family !== this.family) return undefined;
    const offset = parsed.value - this.#first;
    return offset >= 0n && offset < BigInt(this.#size) ? Number(offset) : undefined;
  }

  #offsets(addresses: readonly string[]): ReadonlySet<number> {
    return new Set(addresses.map((address) => this.#offset(address)).filter((offset) => offset !== undefined));
  }

  #format(offset: number): string {
    return `${formatAddress(this.family, this.#first + BigInt(offset))}/${this.#prefix}`;
  }
}

function blockOf(text: string): Block {
  const block = parseBlock(text);
  if (block === undefined) throw new Error(`${text} is no block of addresses`);
  return block;
}

/** The subnet's own address and, with IPv4, its broadcast address. */
function edges({ family, base, size }: Block): readonly string[] {
  const first = formatAddress(family, base);
  return family === 4 ? [first, formatAddress(family, base + size - 1n)] : [first];
}
