import type { Change } from '../../model/view.ts';
import { tooLarge } from './codec.ts';

/** Roughly how many bytes changes add to one entry. A shared object counts once per meter, as it is written once. */
export class SizeMeter {
  readonly #seen = new Set<object>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws, and counts nothing, when these changes alone are larger than `limit`. */
  add(changes: readonly Change[], limit: number): void {
    let added = 0;
    for (const change of changes) added += changeOverhead + this.#sizeOf(change.object, 0);
    if (added > limit) throw tooLarge();
    this.#bytes += added;
  }

  #sizeOf(value: unknown, depth: number): number {
    if (typeof value === 'string') return Buffer.byteLength(value) + 3;
    if (typeof value !== 'object' || value === null) return scalarBytes;
    if (depth === 1) {
      if (this.#seen.has(value)) return scalarBytes;
      this.#seen.add(value);
    }
    let bytes = 2;
    if (Array.isArray(value)) for (const item of value) bytes += this.#sizeOf(item, depth + 1);
    else for (const [key, child] of Object.entries(value)) bytes += key.length + 4 + this.#sizeOf(child, depth + 1);
    return bytes;
  }
}

const changeOverhead = 60;
const scalarBytes = 16;
