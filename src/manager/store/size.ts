import type { Change } from '../../model/view.ts';
import type { Document } from './codec.ts';
import { tooLarge } from './codec.ts';
import type { State } from './state.ts';

/** Roughly how many bytes changes add to one entry. A shared object counts once per meter, as it is written once. */
export class SizeMeter {
  readonly #seen = new Set<object>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws, and counts nothing, when these changes alone are larger than `limit`. What `state` has already is not written. */
  add(changes: readonly Change[], limit: number, state: State): void {
    let added = 0;
    for (const { table, id, object } of changes) {
      added += changeOverhead;
      if (object !== undefined)
        added += this.#sizeOfFields(object as Document, state.get(table, id) as Document | undefined);
    }
    if (added > limit) throw tooLarge();
    this.#bytes += added;
  }

  #sizeOfFields(document: Document, base: Document | undefined): number {
    let bytes = 0;
    for (const key in document) {
      const value = document[key];
      if (key !== 'meta' && value !== base?.[key]) bytes += key.length + 4 + this.#sizeOf(value);
    }
    return bytes;
  }

  /** `isField`: of the changed object itself; those may be shared. */
  #sizeOf(value: unknown, isField = true): number {
    if (typeof value === 'string') return Buffer.byteLength(value) + 3;
    if (typeof value !== 'object' || value === null) return scalarBytes;
    if (isField) {
      if (this.#seen.has(value)) return scalarBytes;
      this.#seen.add(value);
    }
    let bytes = 2;
    if (Array.isArray(value)) for (const item of value) bytes += this.#sizeOf(item, false);
    else for (const key in value) bytes += key.length + 4 + this.#sizeOf((value as Document)[key], false);
    return bytes;
  }
}

const changeOverhead = 60;
const scalarBytes = 16;
