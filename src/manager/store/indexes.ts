/** The store's secondary indexes. Each is told every change as (before, after); an update under the same key keeps its place. */
import type { StoreObject, Task } from '../../model/objects.ts';

/** Objects grouped by one key; an object whose key is empty is in no group. */
export class GroupIndex<T extends StoreObject> {
  readonly #keyOf: (object: T) => string;
  readonly #groups = new Map<string, Map<string, T>>();

  constructor(keyOf: (object: T) => string) {
    this.#keyOf = keyOf;
  }

  change(before: T | undefined, after: T | undefined): void {
    const from = before === undefined ? '' : this.#keyOf(before);
    const to = after === undefined ? '' : this.#keyOf(after);
    if (before !== undefined && from !== '' && from !== to) leave(this.#groups, from, before.id);
    if (after !== undefined && to !== '') enter(this.#groups, to, after);
  }

  of(key: string): Iterable<T> {
    return this.#groups.get(key)?.values() ?? [];
  }
}

/** Objects that name any number of keys, such as services and the secrets they use. */
export class ReferenceIndex<T extends StoreObject> {
  readonly #keysOf: (object: T) => readonly string[];
  readonly #groups = new Map<string, Map<string, T>>();

  constructor(keysOf: (object: T) => readonly string[]) {
    this.#keysOf = keysOf;
  }

  change(before: T | undefined, after: T | undefined): void {
    const to = after === undefined ? [] : this.#keysOf(after);
    if (before !== undefined) {
      for (const key of this.#keysOf(before)) if (!to.includes(key)) leave(this.#groups, key, before.id);
    }
    if (after !== undefined) for (const key of to) enter(this.#groups, key, after);
  }

  of(key: string): Iterable<T> {
    return this.#groups.get(key)?.values() ?? [];
  }
}

function enter<T extends StoreObject>(groups: Map<string, Map<string, T>>, key: string, object: T): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, new Map([[object.id, object]]));
  else group.set(object.id, object);
}

function leave<T>(groups: Map<string, Map<string, T>>, key: string, id: string): void {
  const group = groups.get(key);
  if (group === undefined) return;
  group.delete(id);
  if (group.size === 0) groups.delete(key);
}

/**
 * Tasks by service and slot, oldest first. A slot's list is short (the history limit bounds it), so it is copied on change
 * and handed out as it is. Tasks that are bound to a node (global services) have no slot and are not kept here.
 */
export class SlotIndex {
  readonly #services = new Map<string, Map<number, readonly Task[]>>();

  change(before: Task | undefined, after: Task | undefined): void {
    if (before !== undefined && after !== undefined && sameSlot(before, after)) return this.#replace(after);
    if (before !== undefined && before.pinned !== true) this.#remove(before);
    if (after !== undefined && after.pinned !== true) this.#add(after);
  }

  of(serviceId: string, slot: number): readonly Task[] {
    return this.#services.get(serviceId)?.get(slot) ?? none;
  }

  #replace(task: Task): void {
    if (task.pinned === true) return;
    const tasks = this.of(task.serviceId, task.slot);
    this.#services.get(task.serviceId)?.set(
      task.slot,
      tasks.map((old) => (old.id === task.id ? task : old)),
    );
  }

  #add(task: Task): void {
    let slots = this.#services.get(task.serviceId);
    if (slots === undefined) this.#services.set(task.serviceId, (slots = new Map()));
    slots.set(task.slot, [...(slots.get(task.slot) ?? none), task]);
  }

  #remove(task: Task): void {
    const slots = this.#services.get(task.serviceId);
    if (slots === undefined) return;
    const left = (slots.get(task.slot) ?? none).filter((old) => old.id !== task.id);
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
