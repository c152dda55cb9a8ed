const offset = 0x811c9dc5;
const prime = 0x01000193;

/** FNV-1a, 32 bits. */
export function hashOf(text: string): number {
  return hashOn(offset, text);
}

/** Goes on with the hash of what came before `text`. */
export function hashOn(before: number, text: string): number {
  let hash = before;
  for (let at = 0; at < text.length; at++) {
    hash ^= text.charCodeAt(at);
    hash = Math.imul(hash, prime);
  }
  return hash >>> 0;
}
