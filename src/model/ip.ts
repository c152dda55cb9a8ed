/** Arithmetic on IP addresses and blocks of them, both families. Text in, text out; numbers are bigint inside. */
import ipaddr from 'ipaddr.js';

export interface Block {
  readonly family: 4 | 6;
  /** The first address, as a number. */
  readonly base: bigint;
  readonly prefix: number;
  /** How many addresses. */
  readonly size: bigint;
}

/** `10.1.0.0/16`, `fd00::/64`. Undefined for anything else; host bits may be set and are cut off. */
export function parseBlock(text: string): Block | undefined {
  const [address = '', prefixText = ''] = text.split('/');
  const parsed = parseAddress(address);
  if (parsed === undefined || !/^\d{1,3}$/.test(prefixText) || text.split('/').length !== 2) return undefined;
  const bits = parsed.family === 4 ? 32 : 128;
  const prefix = Number(prefixText);
  if (prefix > bits) return undefined;
  const size = 1n << BigInt(bits - prefix);
  return { family: parsed.family, base: parsed.value - (parsed.value % size), prefix, size };
}

/** Undefined unless it is one IPv4 address in four decimal parts or one IPv6 address. */
export function parseAddress(text: string): { readonly family: 4 | 6; readonly value: bigint } | undefined {
  const valid = ipaddr.IPv4.isValidFourPartDecimal(text) || (text.includes(':') && ipaddr.IPv6.isValid(text));
  if (!valid || text.includes('%')) return undefined;
  const parsed = ipaddr.parse(text);
  const value = parsed.toByteArray().reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { family: parsed.kind() === 'ipv4' ? 4 : 6, value };
}

export function formatAddress(family: 4 | 6, value: bigint): string {
  const bytes = Array.from({ length: family === 4 ? 4 : 16 }, (_, at, length = family === 4 ? 4 : 16) =>
    Number((value >> BigInt(8 * (length - 1 - at))) & 0xffn),
  );
  return ipaddr.fromByteArray(bytes).toString();
}

export function formatBlock({ family, base, prefix }: Block): string {
  return `${formatAddress(family, base)}/${prefix}`;
}

/** The address at this distance from the block's first one. */
export function addressAt(block: Block, offset: bigint): string {
  return formatAddress(block.family, block.base + offset);
}

export function contains(block: Block, text: string): boolean {
  const address = parseAddress(text);
  if (address === undefined || address.family !== block.family) return false;
  return address.value >= block.base && address.value < block.base + block.size;
}

export function overlaps(one: Block, other: Block): boolean {
  if (one.family !== other.family) return false;
  return one.base < other.base + other.size && other.base < one.base + one.size;
}

/** `10.0.1.5/24` → `10.0.1.5`. */
export function withoutPrefix(address: string): string {
  return address.split('/')[0] ?? address;
}

/**
 * The hardware address that belongs to an IP address in the cluster: `02:42:` and the IPv4 address, or the last four bytes of the
 * IPv6 one. A function of the address, so that neighbour caches stay right when a task moves.
 */
export function macOf(address: string): string {
  const value = parseAddress(address)?.value ?? 0n;
  const bytes = [24n, 16n, 8n, 0n].map((shift) => Number((value >> shift) & 0xffn));
  return ['02', '42', ...bytes.map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
