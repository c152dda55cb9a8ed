import { ClusterError } from '../lib/errors.ts';
import { type Data, isData } from './document.ts';
import { deprecatedKeys, fileShape, forbiddenKeys, ignoredKeys, ignoredNetworkKeys, type Shape } from './schema.ts';

/** Throws at the first part of `file` that a stack file may not have, naming its path. `x-…` keys are anyone's. */
export function checkShape(file: Data): void {
  const problem = mismatch(file, fileShape, []);
  if (problem !== undefined) throw new ClusterError('invalid', problem);
}

function mismatch(value: unknown, shape: Shape, path: readonly string[]): string | undefined {
  switch (shape.kind) {
    case 'anything':
      return undefined;
    case 'nullable':
      return value === null || value === undefined ? undefined : mismatch(value, shape.shape, path);
    case 'list':
      if (!Array.isArray(value)) return wrong(path, 'a list', value);
      return first(value, (item, index) => mismatch(item, shape.item, [...path, String(index)]));
    case 'map':
      if (!isData(value)) return wrong(path, 'a mapping', value);
      return first(Object.entries(value), ([key, item]) =>
        path.length === 1 && key.startsWith('x-') ? undefined : mismatch(item, shape.value, [...path, key]),
      );
    case 'object':
      return objectMismatch(value, shape, path);
    case 'any-of':
      return anyOfMismatch(value, shape, path);
    default:
      return fitsScalar(value, shape.kind) ? undefined : wrong(path, article(shape.kind), value);
  }
}

function objectMismatch(
  value: unknown,
  shape: Extract<Shape, { kind: 'object' }>,
  path: readonly string[],
): string | undefined {
  if (!isData(value)) return wrong(path, 'a mapping', value);
  const missing = (shape.required ?? []).find((key) => value[key] === undefined);
  if (missing !== undefined) return `${place(path)} ${missing} is required`;
  return first(Object.entries(value), ([key, item]) => {
    const known = Object.hasOwn(shape.keys, key) ? shape.keys[key] : undefined;
    if (known !== undefined) return mismatch(item, known, [...path, key]);
    return key.startsWith('x-') ? undefined : `${place(path)} Additional property ${key} is not allowed`;
  });
}

/** A mapping that nearly fits says what is wrong inside it; anything else, what would have been right. */
function anyOfMismatch(
  value: unknown,
  shape: Extract<Shape, { kind: 'any-of' }>,
  path: readonly string[],
): string | undefined {
  if (shape.shapes.some((option) => mismatch(value, option, path) === undefined)) return undefined;
  const close = shape.shapes.find((option) =>
    isData(value) ? option.kind === 'object' || option.kind === 'map' : Array.isArray(value) && option.kind === 'list',
  );
  return close === undefined ? wrong(path, shape.words, value) : mismatch(value, close, path);
}

function first<T>(items: readonly T[], find: (item: T, index: number) => string | undefined): string | undefined {
  for (const [index, item] of items.entries()) {
    const problem = find(item, index);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function fitsScalar(value: unknown, kind: 'string' | 'number' | 'boolean' | 'scalar' | 'integer'): boolean {
  if (kind === 'scalar') return ['string', 'number', 'boolean'].includes(typeof value);
  if (kind === 'integer') return Number.isSafeInteger(value);
  return typeof value === kind;
}

function article(kind: string): string {
  if (kind === 'scalar') return 'a string, number or boolean';
  return kind === 'integer' ? 'an integer' : `a ${kind}`;
}

function wrong(path: readonly string[], expected: string, value: unknown): string {
  const got =
    value === null ? 'null' : Array.isArray(value) ? 'a list' : isData(value) ? 'a mapping' : JSON.stringify(value);
  return `${place(path)} must be ${expected}, not ${got}`;
}

function place(path: readonly string[]): string {
  return path.length === 0 ? '(root)' : path.join('.');
}

export function checkForbidden(file: Data): void {
  const found = new Set(serviceKeys(file).filter((key) => Object.hasOwn(forbiddenKeys, key)));
  if (found.size === 0) return;
  const lines = [...found].sort().map((key) => `${key}: ${forbiddenKeys[key]}`);
  throw new ClusterError('invalid', `Compose file contains unsupported options:\n\n${lines.join('\n\n')}`);
}

/** Docker's notices about keys that have no effect in a cluster. */
export function warningsFor(file: Data): string[] {
  const keys = new Set(serviceKeys(file));
  const networkKeys = new Set(networkUseKeys(file));
  const ignored = [
    ...ignoredKeys.filter((key) => keys.has(key)),
    ...ignoredNetworkKeys.filter((key) => networkKeys.has(key)).map((key) => `networks.${key}`),
  ].sort();
  const deprecated = Object.keys(deprecatedKeys)
    .filter((key) => keys.has(key))
    .sort();
  return [
    ...(ignored.length > 0 ? [`Ignoring unsupported options: ${ignored.join(', ')}\n`] : []),
    ...(deprecated.length > 0
      ? [`Ignoring deprecated options:\n\n${deprecated.map((key) => `${key}: ${deprecatedKeys[key]}`).join('\n\n')}\n`]
      : []),
  ];
}

function serviceKeys(file: Data): string[] {
  return valuesOf(file['services']).flatMap(Object.keys);
}

function networkUseKeys(file: Data): string[] {
  return valuesOf(file['services']).flatMap((service) => valuesOf(service['networks']).flatMap(Object.keys));
}

function valuesOf(section: unknown): Data[] {
  return isData(section) ? Object.values(section).filter(isData) : [];
}
