/**
 * A test build whose private fields can be seen, so that the state of the real core can be copied and compared. Only names
 * change: `#field` becomes `_field`.
 */
import type { TestBuild } from '../mutants/build.ts';
import { testBuild } from '../mutants/build.ts';
import type { Mutant } from '../mutants/mutants.ts';

const privateName = /#([a-zA-Z]\w*)/g;

export function openBuild(mutant?: Mutant): Promise<TestBuild> {
  return testBuild(mutant, (source) => source.replace(privateName, '_$1'));
}

/**
 * A copy of an object with methods. Such objects are copied, as are arrays, maps and sets; plain objects and bytes are
 * values that nobody changes, and are shared.
 */
export function copyOf<T>(value: T, copies = new Map<object, unknown>()): T {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  const known = copies.get(value);
  if (known !== undefined) return known as T;
  if (Array.isArray(value)) {
    const copy: unknown[] = value.map((item: unknown) => copyOf(item, copies));
    return copy as T;
  }
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [key, copyOf<unknown>(item, copies)])) as T;
  if (value instanceof Set) return new Set(value) as T;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || typeof prototype !== 'object') return value;
  const copy = Object.create(prototype) as Record<string, unknown>;
  copies.set(value, copy);
  for (const [name, field] of Object.entries(value)) copy[name] = copyOf<unknown>(field, copies);
  return copy as T;
}
