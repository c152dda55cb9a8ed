import type { Random } from './random.ts';

const idLength = 25;

/** A new object id: 25 characters of base 36 from 17 random bytes, as SwarmKit makes them. */
export function newId(random: Random): string {
  return base36(random.bytes(17), idLength);
}

/** Bytes as a big-endian integer in base 36, left-padded with zeros and cut to `length` characters. */
export function base36(bytes: Uint8Array, length: number): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value.toString(36).padStart(length, '0').slice(0, length);
}

export function isId(text: string): boolean {
  return /^[0-9a-z]{25}$/.test(text);
}
