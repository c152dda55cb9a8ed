const offset = 0x811c9dc5;
const prime = 0x01000193;

/** FNV-1a, 32 bits. */
export function hashOf(text: string): number {
  let hash = offset;
  for (let at = 0; at < text.length; at++) {
    hash ^= text.charCodeAt(at);
    hash = Math.imul(hash, prime);
  }
  return hash >>> 0;
}

/** One hash of two, different for every `one` under the same `other` (the last steps of MurmurHash3). */
export function mixed(one: number, other: number): number {
  let hash = one ^ other;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
