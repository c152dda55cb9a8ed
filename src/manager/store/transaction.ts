/**
 * A transaction: the committed state with the transaction's own writes laid over it. The overlay has the same tables and
 * indexes as the state, so every read merges two index lookups. Each object has one net change, with the version first read.
 */
import { ClusterError } from '../../lib/errors.ts';
import type {
  Cluster,
  Config,
  Network,
  Node,
  Secret,
  Service,
  StoreObject,
  TableName,
  Tables,
  Task,
} from '../../model/objects.ts';
import { tableNames } from '../../model/objects.ts';
import type { Change } from '../../model/view.ts';
import type { Document } from './codec.ts';
import { deepFreeze } from './freeze.ts';
import type { Draft, Transaction } from './port.ts';
import type { Row } from './state.ts';
import { perTable, State, uniqueKey } from './state.ts';

interface Undo {
  readonly table: TableName;
  readonly id: string;
  readonly touched: boolean;
  readonly row: Row | undefined;
}

export class OpenTransaction implements Transaction {
  readonly now: number;
  readonly #base: State;
  readonly #over = new State({ lazy: true });
  /** Ids written in this transaction: what the overlay says about them hides the base. */
  readonly #touched = perTable(() => new Set<string>());
  #journal: Undo[] = [];
  #size = 0;

  constructor(base: State, now: number) {
    this.#base = base;
    this.now = now;
  }

  get version(): number {
    return this.#base.version;
  }

  /** Upper bound of the number of changes. */
  get size(): number {
    return this.#size;
  }

  create<T extends TableName>(table: T, draft: Draft<T>): void {
    if (this.get(table, draft.id) !== undefined)
      throw new ClusterError('already_exists', `${table} ${draft.id} already exists`);
    this.#write(table, draft, { version: 0, createdAt: this.now, updatedAt: this.now });
  }

  update<T extends TableName>(table: T, draft: Draft<T>): void {
    const before = this.get(table, draft.id);
    if (before === undefined) throw new ClusterError('not_found', `${table} ${draft.id} not found`);
    this.#write(table, draft, { ...before.meta, updatedAt: this.now });
  }

  remove(table: TableName, id: string): void {
    if (this.get(table, id) === undefined) return;
    this.#touch(table, id);
    this.#over.remove(table, id);
  }

  /** Everything written since the last mark, as net changes; used to size what one item of a batch adds. */
  written(): readonly Change[] {
    const [first, ...more] = this.#journal;
    if (first !== undefined && more.length === 0) return toList(this.#change(first.table, first.id));
    const ids = new Map(this.#journal.map((undo) => [`${undo.table}/${undo.id}`, undo]));
    return [...ids.values()].flatMap(({ table, id }) => toList(this.#change(table, id)));
  }

  mark(): void {
    this.#journal = [];
  }

  /** Takes back everything written since the last mark. */
  rollback(): void {
    for (const { table, id, touched, row } of this.#journal.reverse()) {
      this.#over.remove(table, id);
      if (row !== undefined) this.#over.put(table, row);
      if (!touched) {
        this.#touched[table].delete(id);
        this.#size -= 1;
      }
    }
    this.#journal = [];
  }

  changes(): readonly Change[] {
    const changes: Change[] = [];
    for (const table of tableNames) {
      for (const id of this.#touched[table]) {
        const change = this.#change(table, id);
        if (change !== undefined) changes.push(change);
      }
    }
    return changes;
  }

  #change(table: TableName, id: string): Change | undefined {
    const before = this.#base.get(table, id);
    const object = this.#over.get(table, id);
    if (object === undefined) {
      return before === undefined ? undefined : { table, action: 'remove', id, expected: before.meta.version };
    }
    if (before === undefined && table === 'task') {
      // Two that fill one place at the same moment change no object that both know: only this check keeps them apart.
      const newest = this.#base.newestAt(object as Task);
      return { table, action: 'create', id, expected: 0, newest, object: object as Task };
    }
    const action = before === undefined ? 'create' : 'update';
    return { table, action, id, expected: before?.meta.version ?? 0, object } as Change;
  }

  #write(table: TableName, draft: Omit<Row, 'meta'>, meta: StoreObject['meta']): void {
    const key = uniqueKey(table, draft);
    const holder = key === undefined ? undefined : this.#holder(table, key);
    if (holder !== undefined && holder !== draft.id) {
      throw new ClusterError('already_exists', `name conflicts with an existing object: ${table} already exists`);
    }
    this.#touch(table, draft.id);
    this.#over.put(table, deepFreeze({ ...(draft as unknown as Document), meta }) as unknown as Row);
  }

  #touch(table: TableName, id: string): void {
    const touched = this.#touched[table].has(id);
    this.#journal.push({ table, id, touched, row: this.#over.get(table, id) });
    if (touched) return;
    this.#touched[table].add(id);
    this.#size += 1;
  }

  #holder(table: TableName, key: string): string | undefined {
    const over = this.#over.holder(table, key);
    if (over !== undefined) return over;
    const base = this.#base.holder(table, key);
    return base === undefined || this.#touched[table].has(base) ? undefined : base;
  }

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    return this.#touched[table].has(id) ? this.#over.get(table, id) : this.#base.get(table, id);
  }

  list<T extends TableName>(table: T): Iterable<Tables[T]> {
    if (this.#touched[table].size === 0) return this.#base.list(table);
    return this.#merge(table, this.#base.list(table), this.#over.list(table));
  }

  count(table: TableName): number {
    let count = this.#base.count(table) + this.#over.count(table);
    for (const id of this.#touched[table]) if (this.#base.get(table, id) !== undefined) count -= 1;
    return count;
  }

  cluster(): Cluster | undefined {
    for (const cluster of this.list('cluster')) return cluster;
    return undefined;
  }

  serviceByName(name: string): Service | undefined {
    return this.#named('service', name);
  }

  secretByName(name: string): Secret | undefined {
    return this.#named('secret', name);
  }

  configByName(name: string): Config | undefined {
    return this.#named('config', name);
  }

  networkByName(name: string): Network | undefined {
    return this.#named('network', name);
  }

  tasksOfService(serviceId: string): Iterable<Task> {
    return this.#merge('task', this.#base.tasksOfService(serviceId), this.#over.tasksOfService(serviceId));
  }

  tasksOfNode(nodeId: string): Iterable<Task> {
    return this.#merge('task', this.#base.tasksOfNode(nodeId), this.#over.tasksOfNode(nodeId));
  }

  tasksOfSlot(serviceId: string, slot: number): readonly Task[] {
    const base = this.#base.tasksOfSlot(serviceId, slot);
    const touched = this.#touched.task;
    const over = touched.size === 0 ? [] : this.#over.tasksOfSlot(serviceId, slot);
    if (over.length === 0 && !base.some(({ id }) => touched.has(id))) return base;
    return this.#merge('task', base, over);
  }

  servicesUsingSecret(secretId: string): Iterable<Service> {
    return this.#merge('service', this.#base.servicesUsingSecret(secretId), this.#over.servicesUsingSecret(secretId));
  }

  servicesUsingConfig(configId: string): Iterable<Service> {
    return this.#merge('service', this.#base.servicesUsingConfig(configId), this.#over.servicesUsingConfig(configId));
  }

  servicesUsingNetwork(networkId: string): Iterable<Service> {
    return this.#merge(
      'service',
      this.#base.servicesUsingNetwork(networkId),
      this.#over.servicesUsingNetwork(networkId),
    );
  }

  tasksUsingNetwork(networkId: string): Iterable<Task> {
    return this.#merge('task', this.#base.tasksUsingNetwork(networkId), this.#over.tasksUsingNetwork(networkId));
  }

  nodesByHostname(hostname: string): readonly Node[] {
    return this.#merge('node', this.#base.nodesByHostname(hostname), this.#over.nodesByHostname(hostname));
  }

  idsByPrefix(table: TableName, prefix: string, limit: number): readonly string[] {
    const touched = this.#touched[table];
    const base = this.#base.idsByPrefix(table, prefix, limit + touched.size).filter((id) => !touched.has(id));
    return [...base, ...this.#over.idsByPrefix(table, prefix, limit)].slice(0, limit);
  }

  #named<T extends TableName>(table: T, name: string): Tables[T] | undefined {
    const id = this.#holder(table, name.toLowerCase());
    return id === undefined ? undefined : this.get(table, id);
  }

  /** A list, not a lazy sequence: callers write while they iterate. Replaced objects keep their place. */
  #merge<T extends StoreObject>(table: TableName, base: Iterable<T>, over: Iterable<T>): readonly T[] {
    const touched = this.#touched[table];
    if (touched.size === 0) return [...base];
    const pending = new Map<string, T>();
    for (const object of over) pending.set(object.id, object);
    const merged: T[] = [];
    for (const object of base) {
      const current = touched.has(object.id) ? pending.get(object.id) : object;
      if (current !== undefined) merged.push(current);
      pending.delete(object.id);
    }
    return [...merged, ...pending.values()];
  }
}

function toList(change: Change | undefined): readonly Change[] {
  return change === undefined ? [] : [change];
}
