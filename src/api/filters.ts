/** The `filters` query parameter, in both shapes: `{"name":{"web":true}}` (Go) and `{"name":["web"]}` (everyone else). */
import { ClusterError } from '../lib/errors.ts';

/** Values of one key are alternatives; keys must all hold. */
export class Filters {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string): readonly string[] {
    return this.#values.get(key) ?? [];
  }

  /** True when the key is absent or one of its values satisfies `matches`. */
  any(key: string, matches: (value: string) => boolean): boolean {
    const values = this.#values.get(key);
    return values === undefined || values.some(matches);
  }

  exact(key: string, actual: string): boolean {
    return this.any(key, (value) => value === actual);
  }

  prefix(key: string, actual: string): boolean {
    return this.any(key, (value) => actual.startsWith(value));
  }

  /** `k` or `k=v`; every given label must be there. */
  labels(key: string, labels: Readonly<Record<string, string>>): boolean {
    return this.get(key).every((wanted) => hasLabel(labels, wanted));
  }
}

function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const at = wanted.indexOf('=');
  const key = at < 0 ? wanted : wanted.slice(0, at);
  if (!Object.hasOwn(labels, key)) return false;
  return at < 0 || labels[key] === wanted.slice(at + 1);
}

const none = new Filters(new Map());

export function parseFilters(text: unknown, allowed: ReadonlySet<string>): Filters {
  if (typeof text !== 'string' || text === '') return none;
  const values = new Map<string, readonly string[]>();
  for (const [key, given] of Object.entries(parseObject(text))) {
    if (!allowed.has(key)) throw new ClusterError('invalid', `invalid filter '${key}'`);
    const list = valuesOf(given);
    if (list.length > 0) values.set(key, list);
  }
  return new Filters(values);
}

function parseObject(text: string): object {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ClusterError('invalid', 'invalid filter: not valid JSON', { cause: error });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ClusterError('invalid', 'invalid filter: not a JSON object');
  }
  return parsed;
}

function valuesOf(given: unknown): readonly string[] {
  if (Array.isArray(given) && given.every((value) => typeof value === 'string')) return given;
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return Object.keys(given);
  throw new ClusterError('invalid', 'invalid filter: values must be a list or an object');
}
