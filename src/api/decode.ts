/**
 * Reads request bodies as Go's JSON decoder does, because Docker's clients rely on it: keys match without regard to case,
 * null is absence, unknown keys are ignored. What comes out has Docker's spelling of the keys and the right types.
 */
import { ClusterError } from '../lib/errors.ts';

/** Turns a JSON value that is neither null nor undefined into a T, or throws `invalid` naming the path. */
export type Decoder<T> = (value: unknown, path: string) => T;

function mismatch(path: string, wanted: string, value: unknown): ClusterError {
  const found = Array.isArray(value) ? 'array' : typeof value;
  return new ClusterError(
    'invalid',
    `invalid JSON: cannot use ${found} as ${wanted} in field ${path || 'of the body'}`,
  );
}

export const string: Decoder<string> = (value, path) => {
  if (typeof value !== 'string') throw mismatch(path, 'string', value);
  return value;
};

export const boolean: Decoder<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw mismatch(path, 'boolean', value);
  return value;
};

/** Go's range. Beyond 2^53 (104 days in nanoseconds) the last digits are lost, but it is still written as an integer. */
function isInt64(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && Math.abs(value) < 2 ** 63;
}

export const float: Decoder<number> = (value, path) => {
  if (typeof value !== 'number') throw mismatch(path, 'number', value);
  return value;
};

export const integer: Decoder<number> = (value, path) => {
  if (!isInt64(value)) throw mismatch(path, 'integer', value);
  return value;
};

export const unsigned: Decoder<number> = (value, path) => {
  if (!isInt64(value) || value < 0) throw mismatch(path, 'unsigned integer', value);
  return value;
};

export const base64: Decoder<string> = (value, path) => {
  const text = string(value, path).replaceAll(/[\r\n]/g, '');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw new ClusterError('invalid', `invalid JSON: illegal base64 data in field ${path}`);
  }
  return text;
};

export function literal<T extends string>(): Decoder<T> {
  return (value, path) => string(value, path) as T;
}

export function list<T>(item: Decoder<T>): Decoder<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw mismatch(path, 'array', value);
    return value.map((element: unknown, at) => item(element ?? emptyOf(item), `${path}[${at}]`));
  };
}

export function map<T>(item: Decoder<T>): Decoder<Readonly<Record<string, T>>> {
  return (value, path) => {
    if (!isRecord(value)) throw mismatch(path, 'object', value);
    const entries = Object.entries(value).filter(([, element]) => element !== null);
    return Object.fromEntries(entries.map(([key, element]) => [key, item(element, `${path}.${key}`)]));
  };
}

export const labels = map(string);

/** Anything but null, as it is. Only for parts that the control API refuses when they are not empty. */
export const record: Decoder<Readonly<Record<string, unknown>>> = (value, path) => {
  if (!isRecord(value)) throw mismatch(path, 'object', value);
  return value;
};

type Fields<T> = { readonly [K in keyof T]-?: Decoder<Exclude<T[K], undefined>> };

export interface ObjectOptions<T> {
  /** What absent keys become. */
  readonly defaults?: Partial<T>;
  /** Keys that Docker knows and we do not: any value but an empty one is refused, under this name. */
  readonly refused?: Readonly<Record<string, string>>;
}

export function object<T extends object>(fields: Fields<T>, options: ObjectOptions<T> = {}): Decoder<T> {
  const decoders = fields as Readonly<Record<string, Decoder<unknown>>>;
  const refused = options.refused ?? {};
  const spelling = new Map([...Object.keys(decoders), ...Object.keys(refused)].map((key) => [key.toLowerCase(), key]));
  return (value, path) => {
    if (!isRecord(value)) throw mismatch(path, 'object', value);
    const result: Record<string, unknown> = { ...options.defaults };
    for (const [given, element] of Object.entries(value)) {
      const key = spelling.get(given.toLowerCase());
      if (key === undefined || element === null) continue;
      const decode = decoders[key];
      if (decode !== undefined) result[key] = decode(element, path === '' ? key : `${path}.${key}`);
      else if (!isEmpty(element)) throw new ClusterError('unimplemented', `${refused[key]} not supported yet`);
    }
    return result as T;
  };
}

function emptyOf(item: Decoder<unknown>): unknown {
  return item === string ? '' : {};
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === '' || value === 0 || value === false) return true;
  return typeof value === 'object' && Object.values(value ?? {}).every(isEmpty);
}

/** The body of a request as JSON. */
export function parseBody(body: unknown): unknown {
  const text = Buffer.isBuffer(body) ? body.toString('utf8') : '';
  if (text.trim() === '') throw new ClusterError('invalid', 'got EOF while reading request body');
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    // V8's message quotes the text around the mistake, which may be a secret.
    throw new ClusterError('invalid', 'invalid JSON: the request body is not valid JSON', { cause: error });
  }
}

export function decodeBody<T>(body: unknown, decode: Decoder<T>): T {
  return decode(parseBody(body) ?? {}, '');
}
