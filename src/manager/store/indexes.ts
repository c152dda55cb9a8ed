/** The store's secondary indexes. An update under the same key keeps its place. */
import type { StoreObject, Task } from '../../model/objects.ts';

/** Where an object is kept, whatever its version. Indexes hold the cell: a new version under the same key costs them nothing. */
export interface Cell<T> {
  row: T;
}

export function* rowsOf<T>(cells: Iterable<Cell<T>>): Iterable<T> {
  for (const cell of cells) yield cell.row;
}

/** What became of the object in `cell`. */
export interface CellChange<T> {
  readonly cell: Cell<T>;
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** Objects grouped by one key; an object whose key is empty is in no group. */
export class GroupIndex<T extends StoreObject> {
  readonly #keyOf: (object: T) => string;
  readonly #groups: Groups<T> = new Map();

  constructor(keyOf: (object: T) => string) {
    this.#keyOf = keyOf;
  }

  change({ cell, before, after }: CellChange<T>): void {
    const from = before === undefined ? '' : this.#keyOf(before);
    const to = after === undefined ? '' : this.#keyOf(after);
    if (from === to) return;
    if (before !== undefined && from !== '') leave(this.#groups, from, before.id);
    if (after !== undefined && to !== '') enter(this.#groups, to, { id: after.id, cell });
  }

  of(key: string): Iterable<T> {
    return membersOf(this.#groups, key);
  }
}

/** Objects that name any number of keys, such as services and the secrets they use. */
export class ReferenceIndex<T extends StoreObject> {
  readonly #keysOf: (object: T) => readonly string[];
  readonly #groups: Groups<T> = new Map();

  constructor(keysOf: (object: T) => readonly string[]) {
    this.#keysOf = keysOf;
  }

  change({ cell, before, after }: CellChange<T>): void {
    const to = after === undefined ? [] : this.#keysOf(after);
    if (before !== undefined) {
      for (const key of this.#keysOf(before)) if (!to.includes(key)) leave(this.#groups, key, before.id);
    }
    if (after !== undefined) for (const key of to) enter(this.#groups, key, { id: after.id, cell });
  }

  of(key: string): Iterable<T> {
    return membersOf(this.#groups, key);
  }
}

type Groups<T> = Map<string, Map<string, Cell<T>>>;

function membersOf<T>(groups: Groups<T>, key: string): Iterable<T> {
  const group = groups.get(key);
  return group === undefined ? [] : rowsOf(group.values());
}

function enter<T>(groups: Groups<T>, key: string, { id, cell }: { readonly id: string; readonly cell: Cell<T> }): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, new Map([[id, cell]]));
  else group.set(id, cell);
}

function leave<T>(groups: Groups<T>, key: string, id: string): void {
  const group = groups.get(key);
  if (group === undefined) return;
  group.delete(id);
  if (group.size === 0) groups.delete(key);
}

/**
 * Tasks by service and slot, oldest first. A slot's list is short (the history limit bounds it). Tasks that are bound to a node
 * (global services) have no slot and are not kept here.
 */
export class SlotIndex {
  readonly #services = new Map<string, Map<number, readonly Cell<Task>[]>>();

  change({ cell, before, after }: CellChange<Task>): void {
    if (before !== undefined && after !== undefined && sameSlot(before, after)) return;
    if (before !== undefined && before.pinned !== true) this.#remove(before);
    if (after !== undefined && after.pinned !== true) this.#add(after, cell);
  }

  of(serviceId: string, slot: number): readonly Task[] {
    const cells = this.#services.get(serviceId)?.get(slot);
    return cells === undefined ? none : cells.map(({ row }) => row);
  }

  #add({ serviceId, slot }: Task, cell: Cell<Task>): void {
    let slots = this.#services.get(serviceId);
    if (slots === undefined) this.#services.set(serviceId, (slots = new Map()));
    slots.set(slot, [...(slots.get(slot) ?? []), cell]);
  }

  #remove(task: Task): void {
    const slots = this.#services.get(task.serviceId);
    if (slots === undefined) return;
    const left = (slots.get(task.slot) ?? []).filter(({ row }) => row.id !== task.id);
    if (left.length > 0) slots.set(task.slot, left);
    else slots.delete(task.slot);
    if (slots.size === 0) this.#services.delete(task.serviceId);
  }
}

const none: readonly Task[] = [];

function sameSlot(one: Task, other: Task): boolean {
  return one.slot === other.slot && one.serviceId === other.serviceId && one.pinned === other.pinned;
}

/** Ids by their first two characters: 1296 buckets for ids in base 36, so a lookup reads a thousandth of the table. */
export class PrefixIndex {
  readonly #buckets = new Map<string, Set<string>>();

  add(id: string): void {
    const head = id.slice(0, bucketLength);
    const bucket = this.#buckets.get(head);
    if (bucket === undefined) this.#buckets.set(head, new Set([id]));
    else bucket.add(id);
  }

  remove(id: string): void {
    const head = id.slice(0, bucketLength);
    const bucket = this.#buckets.get(head);
    bucket?.delete(id);
    if (bucket?.size === 0) this.#buckets.delete(head);
  }

  find(prefix: string, limit: number): readonly string[] {
    const found: string[] = [];
    for (const bucket of this.#candidates(prefix)) {
      for (const id of bucket) {
        if (found.length >= limit) return found;
        if (id.startsWith(prefix)) found.push(id);
      }
    }
    return found;
  }

  *#candidates(prefix: string): Iterable<Set<string>> {
    if (prefix.length >= bucketLength) {
      const bucket = this.#buckets.get(prefix.slice(0, bucketLength));
      if (bucket !== undefined) yield bucket;
      return;
    }
    for (const [head, bucket] of this.#buckets) if (head.startsWith(prefix)) yield bucket;
  }
}

const bucketLength = 2;
