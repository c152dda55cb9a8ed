/**
 * Log entries as bytes: lines of JSON (JSON text never holds a raw newline). The first line is the header, then one line
 * per shared value, then one line with the changes. What many tasks of a service have in common (spec, labels, endpoint)
 * is a shared value: written once, and one object again after decoding. An update carries only the fields that differ
 * from the version it expects, which every replica has when it applies the entry.
 */
import { ClusterError } from '../../lib/errors.ts';
import type { TableName } from '../../model/objects.ts';
import { tableNames } from '../../model/objects.ts';
import type { Change } from '../../model/view.ts';
import { deepFreeze } from './freeze.ts';
import type { Row, State } from './state.ts';

/** SwarmKit's limit on one transaction. A larger entry would hold up heartbeats. */
export const entryBytesMax = 1.5 * 1024 * 1024;
const formatVersion = 1;

export interface DecodedEntry {
  readonly now: number;
  readonly changes: readonly DecodedChange[];
}

/** `object` is complete for `create` and `update` (without meta), the changed fields for `patch`. */
export type DecodedChange =
  | {
      readonly action: 'create' | 'update';
      readonly table: TableName;
      readonly id: string;
      readonly expected: number;
      /** See `TableChange`. */
      readonly newest?: string;
      readonly object: Document;
    }
  | {
      readonly action: 'patch';
      readonly table: TableName;
      readonly id: string;
      readonly expected: number;
      readonly object: Document;
      readonly dropped: readonly string[];
    }
  | { readonly action: 'remove'; readonly table: TableName; readonly id: string; readonly expected: number };

export type Document = Record<string, unknown>;

/** Fields that are shared between objects of a table; they always hold an object, so a number in their place is a reference. */
const sharedFields: Readonly<Partial<Record<TableName, readonly string[]>>> = {
  task: ['spec', 'serviceLabels', 'endpoint'],
};

/** Collects shared values while encoding: by identity first, then by their text. */
export class SharedWriter {
  readonly #byIdentity = new Map<object, number>();
  readonly #byText = new Map<string, number>();
  readonly #onNew: (text: string) => void;

  constructor(onNew: (text: string) => void) {
    this.#onNew = onNew;
  }

  get count(): number {
    return this.#byText.size;
  }

  /** A shallow copy of `document` with references in place of shared values. */
  replace(table: TableName, document: Document): Document {
    const copy = { ...document };
    for (const field of sharedFields[table] ?? []) {
      const value = copy[field];
      if (typeof value === 'object' && value !== null) copy[field] = this.#reference(value);
    }
    return copy;
  }

  #reference(value: object): number {
    const known = this.#byIdentity.get(value);
    if (known !== undefined) return known;
    const text = JSON.stringify(value);
    let at = this.#byText.get(text);
    if (at === undefined) {
      at = this.#byText.size;
      this.#byText.set(text, at);
      this.#onNew(text);
    }
    this.#byIdentity.set(value, at);
    return at;
  }
}

/** Puts the shared values back, in place. */
export function resolveShared(table: TableName, document: Document, shared: readonly object[]): void {
  for (const field of sharedFields[table] ?? []) {
    const at = document[field];
    if (typeof at !== 'number') continue;
    const value = shared[at];
    if (value === undefined) throw malformed('a reference to a missing shared value');
    document[field] = value;
  }
}

/** Equal shared values of different entries become one object. Bounded: the least recently used go first. */
export class Interner {
  readonly #known = new Map<string, object>();
  #chars = 0;

  intern(text: string): object {
    const known = this.#known.get(text);
    if (known !== undefined) {
      this.#known.delete(text);
      this.#known.set(text, known);
      return known;
    }
    const value = parseObject(text);
    deepFreeze(value);
    if (text.length <= internedCharsMax) this.#keep(text, value);
    return value;
  }

  #keep(text: string, value: object): void {
    // A copy: the text may be a slice that would keep the whole entry or snapshot chunk in memory.
    this.#known.set(Buffer.from(text, 'utf8').toString('utf8'), value);
    this.#chars += text.length;
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= internedMax && this.#chars <= internedTotalCharsMax) return;
      this.#known.delete(oldest);
      this.#chars -= oldest.length;
    }
  }
}

const internedMax = 4096;
const internedCharsMax = 64 * 1024;
const internedTotalCharsMax = 8 * 1024 * 1024;

/** `state` gives the versions that updates are written against. */
export function encodeEntry(changes: readonly Change[], now: number, state: State): Uint8Array {
  const shared: string[] = [];
  const writer = new SharedWriter((text) => shared.push(text));
  const written = JSON.stringify(changes.map((change) => encodeChange(change, state, writer)));
  const header = JSON.stringify({ v: formatVersion, now, shared: shared.length });
  const bytes = Buffer.from([header, ...shared, written].join('\n'), 'utf8');
  if (bytes.length > entryBytesMax) throw tooLarge();
  return bytes;
}

export function tooLarge(): ClusterError {
  return new ClusterError('invalid', "raft: raft message is too large and can't be sent");
}

function encodeChange(change: Change, state: State, shared: SharedWriter): unknown[] {
  const { table, action, id, expected } = change;
  if (action === 'remove') return ['r', table, id, expected];
  const document = change.object as Document | undefined;
  if (document === undefined) throw new ClusterError('invalid', `${action} of ${table} ${id} carries no object`);
  const base = action === 'update' ? state.get(table, id) : undefined;
  if (base === undefined || base.meta.version !== expected) {
    // `meta: undefined` keeps the caller's meta, if any, out of the JSON: the store stamps its own.
    const whole = { ...shared.replace(table, document), meta: undefined };
    if (action === 'update') return ['u', table, id, expected, whole];
    return change.newest === undefined ? ['c', table, id, whole] : ['c', table, id, whole, change.newest];
  }
  const { changed, dropped } = difference(base as Row & Document, document);
  const patch: unknown[] = ['p', table, id, expected, shared.replace(table, changed)];
  if (dropped.length > 0) patch.push(dropped);
  return patch;
}

function difference(base: Document, next: Document): { changed: Document; dropped: string[] } {
  const changed: Document = {};
  const dropped: string[] = [];
  for (const key in next)
    if (key !== 'meta' && next[key] !== undefined && next[key] !== base[key]) changed[key] = next[key];
  for (const key in base) if (key !== 'meta' && next[key] === undefined) dropped.push(key);
  return { changed, dropped };
}

export function decodeEntry(bytes: Uint8Array, interner: Interner): DecodedEntry {
  const lines = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8').split('\n');
  const header = parseObject(lines[0] ?? '') as { v?: unknown; now?: unknown; shared?: unknown };
  if (header.v !== formatVersion)
    throw malformed(`format version ${String(header.v)} (this daemon reads ${formatVersion})`);
  if (typeof header.now !== 'number' || typeof header.shared !== 'number')
    throw malformed('a header without time or count');
  if (lines.length !== header.shared + 2) throw malformed(`${lines.length} lines, ${header.shared} shared values`);
  const shared = lines.slice(1, -1).map((text) => interner.intern(text));
  const rows: unknown = JSON.parse(lines[lines.length - 1] ?? '');
  if (!Array.isArray(rows)) throw malformed('changes that are no list');
  return { now: header.now, changes: rows.map((row) => decodeChange(row, shared)) };
}

function decodeChange(row: unknown, shared: readonly object[]): DecodedChange {
  if (!Array.isArray(row)) throw malformed('a change that is no list');
  const [action, table, id, third, fourth, fifth] = row as readonly unknown[];
  if (!isTable(table)) throw malformed(`an unknown table ${String(table)}`);
  if (typeof id !== 'string') throw malformed('a change without an id');
  if (action === 'c') {
    const newest = typeof fourth === 'string' ? { newest: fourth } : {};
    return { action: 'create', table, id, expected: 0, ...newest, object: revive(table, third, shared) };
  }
  if (typeof third !== 'number') throw malformed('a change without a version');
  if (action === 'r') return { action: 'remove', table, id, expected: third };
  const object = revive(table, fourth, shared);
  if (action === 'u') return { action: 'update', table, id, expected: third, object };
  if (action === 'p')
    return { action: 'patch', table, id, expected: third, object, dropped: (fifth as string[] | undefined) ?? [] };
  throw malformed(`an unknown action ${String(action)}`);
}

function revive(table: TableName, value: unknown, shared: readonly object[]): Document {
  if (!isDocument(value)) throw malformed('a change without an object');
  resolveShared(table, value, shared);
  return value;
}

export function isTable(value: unknown): value is TableName {
  return typeof value === 'string' && (tableNames as readonly string[]).includes(value);
}

export function isDocument(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function parseObject(text: string): Document {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw malformed('invalid JSON', error);
  }
  if (!isDocument(value)) throw malformed('a line that is no object');
  return value;
}

export function malformed(what: string, cause?: unknown): ClusterError {
  return new ClusterError('internal', `cannot read stored state: ${what}`, { cause });
}
