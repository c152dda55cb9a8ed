/**
 * One entry against the state. All or nothing, and the same on every replica: the verdict depends only on the entry and
 * on the state that earlier entries made. Makes no ids, times or random draws.
 */
import type { Meta, TableName, Task } from '../../model/objects.ts';
import type { Change, ChangeEvent } from '../../model/view.ts';
import type { DecodedChange, DecodedEntry, Document } from './codec.ts';
import { deepFreeze } from './freeze.ts';
import type { Row, State } from './state.ts';
import { uniqueKey } from './state.ts';

/** The events of an applied entry, or undefined when it was refused and nothing changed. */
export function applyEntry(state: State, version: number, entry: DecodedEntry): readonly ChangeEvent[] | undefined {
  const rows = entry.changes.map(({ table, id }) => state.get(table, id));
  if (!versionsHold(state, entry.changes, rows)) return undefined;
  const stamp = { version, now: entry.now };
  const events = entry.changes.map((change, at) => outcome(rows[at], change, stamp));
  if (!namesHold(state, events)) return undefined;
  for (const { table, before, after } of events) {
    if (after !== undefined) state.put(table, after);
    else if (before !== undefined) state.remove(table, before.id);
  }
  state.version = version;
  return events;
}

/** Changes that did not come as bytes, in the form in which entries are applied. */
export function asDecoded(changes: readonly Change[]): readonly DecodedChange[] {
  return changes.map(({ table, action, id, expected, newest, object }) => {
    if (action === 'remove') return { action, table, id, expected };
    const guard = newest === undefined ? {} : { newest };
    return { action, table, id, expected, ...guard, object: { ...(object as unknown as Document) } };
  });
}

/** `rows` are what there is now under the ids of `changes`. */
function versionsHold(state: State, changes: readonly DecodedChange[], rows: readonly (Row | undefined)[]): boolean {
  const seen = new Map<TableName, Set<string>>();
  for (const [at, change] of changes.entries()) {
    const { table, id, action, expected } = change;
    const version = rows[at]?.meta.version;
    if (action === 'create' ? version !== undefined : version !== expected) return false;
    if (change.action === 'create' && change.newest !== undefined) {
      // Somebody else made a task in the same place since this one was decided on.
      if (state.newestAt(change.object as unknown as Task) !== change.newest) return false;
    }
    const ids = seen.get(table) ?? new Set();
    // Two changes of one object in one entry would make the verdict depend on their order.
    if (ids.has(id)) return false;
    seen.set(table, ids.add(id));
  }
  return true;
}

function namesHold(state: State, events: readonly ChangeEvent[]): boolean {
  const released = new Set<string>();
  const claims: { table: TableName; key: string }[] = [];
  for (const { table, before, after } of events) {
    const from = before === undefined ? undefined : uniqueKey(table, before);
    const to = after === undefined ? undefined : uniqueKey(table, after);
    if (from === to) continue;
    if (from !== undefined) released.add(`${table}/${from}`);
    if (to !== undefined) claims.push({ table, key: to });
  }
  const taken = new Set<string>();
  for (const { table, key } of claims) {
    const name = `${table}/${key}`;
    if (taken.has(name) || (state.holder(table, key) !== undefined && !released.has(name))) return false;
    taken.add(name);
  }
  return true;
}

interface Stamp {
  readonly version: number;
  readonly now: number;
}

function outcome(before: Row | undefined, change: DecodedChange, { version, now }: Stamp): ChangeEvent {
  const { table } = change;
  if (change.action === 'remove') return { table, before } as ChangeEvent;
  const createdAt = before?.meta.createdAt ?? now;
  const after = build(before, change, { version, createdAt, updatedAt: now });
  return (before === undefined ? { table, after } : { table, before, after }) as ChangeEvent;
}

function build(before: Row | undefined, change: Exclude<DecodedChange, { action: 'remove' }>, meta: Meta): Row {
  let next: Document;
  if (change.action === 'patch') {
    next = { ...before, ...change.object };
    if (change.dropped.length > 0) {
      next = Object.fromEntries(Object.entries(next).filter(([key]) => !change.dropped.includes(key)));
    }
  } else {
    // The decoder made this object for us alone: no copy.
    next = change.object;
  }
  next['id'] = change.id;
  const keepsSpec = before !== undefined && specTables.has(change.table) && next['spec'] === specOf(before);
  next['meta'] = keepsSpec ? { ...meta, specIndex: before.meta.specIndex ?? before.meta.version } : meta;
  return deepFreeze(next) as unknown as Row;
}

/** Tables of which others than the user write a part. */
const specTables: ReadonlySet<TableName> = new Set(['cluster', 'node', 'service']);

function specOf(row: Row): unknown {
  return (row as Row & { readonly spec?: unknown }).spec;
}
