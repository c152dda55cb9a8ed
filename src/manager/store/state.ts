/** The tables and their indexes: the committed state of a replica, and the small overlay of a transaction. */

import { networksOf } from '../../model/network.ts';
import type { Cluster, Config, Network, Node, Secret, Service, TableName, Tables, Task } from '../../model/objects.ts';
import { tableNames } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';
import type { Cell, CellChange } from './indexes.ts';
import { GroupIndex, PrefixIndex, ReferenceIndex, rowsOf, SlotIndex } from './indexes.ts';

export type Row = Tables[TableName];

/** What must be unique within its table: names of services, secrets, configs and networks, and that there is one cluster. */
export function uniqueKey(table: TableName, row: Omit<Row, 'meta'>): string | undefined {
  switch (table) {
    case 'service':
    case 'secret':
    case 'config':
    case 'network':
      return (row as Service | Secret | Config | Network).spec.Name.toLowerCase();
    case 'cluster':
      return 'cluster';
    default:
      return undefined;
  }
}

export class State implements ClusterView {
  version = 0;
  #cells = perTable(() => new Map<string, Cell<Row>>());
  #names = perTable(() => new Map<string, string>());
  #prefixes = perTable(() => new PrefixIndex());
  #byService = new GroupIndex<Task>((task) => task.serviceId);
  #byNode = new GroupIndex<Task>((task) => task.nodeId);
  #bySlot = new SlotIndex();
  #byHostname = new GroupIndex<Node>((node) => node.description?.hostname ?? '');
  #bySecret = new ReferenceIndex<Service>(secretsOf);
  #byConfig = new ReferenceIndex<Service>(configsOf);
  #byNetwork = new ReferenceIndex<Service>((service) => networksOf(service.spec.TaskTemplate));
  #tasksByNetwork = new ReferenceIndex<Task>((task) => networksOf(task.spec));
  /** Changes that the indexes do not know yet. */
  readonly #unindexed: [table: TableName, change: CellChange<Row>][] | undefined;

  /** `lazy`: indexes are brought up to date when they are asked. Most transactions never ask theirs. */
  constructor(options: { readonly lazy?: boolean } = {}) {
    this.#unindexed = options.lazy === true ? [] : undefined;
  }

  /** Adds or replaces. The caller has checked that a unique key is free. */
  put(table: TableName, row: Row): void {
    const cells = this.#cells[table];
    const cell = cells.get(row.id);
    if (cell === undefined) {
      const added = { row };
      cells.set(row.id, added);
      this.#changed(table, { cell: added, before: undefined, after: row });
    } else {
      const before = cell.row;
      cell.row = row;
      this.#changed(table, { cell, before, after: row });
    }
  }

  remove(table: TableName, id: string): void {
    const cell = this.#cells[table].get(id);
    if (cell === undefined) return;
    this.#cells[table].delete(id);
    this.#changed(table, { cell, before: cell.row, after: undefined });
  }

  /** Takes over everything `other` holds; readers that keep this object see it from now on. `other` must not be used again. */
  adopt(other: State): void {
    this.version = other.version;
    this.#cells = other.#cells;
    this.#names = other.#names;
    this.#prefixes = other.#prefixes;
    this.#byService = other.#byService;
    this.#byNode = other.#byNode;
    this.#bySlot = other.#bySlot;
    this.#byHostname = other.#byHostname;
    this.#bySecret = other.#bySecret;
    this.#byConfig = other.#byConfig;
    this.#byNetwork = other.#byNetwork;
    this.#tasksByNetwork = other.#tasksByNetwork;
  }

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    return this.#cells[table].get(id)?.row as Tables[T] | undefined;
  }

  list<T extends TableName>(table: T): Iterable<Tables[T]> {
    return rowsOf(this.#cells[table].values()) as Iterable<Tables[T]>;
  }

  count(table: TableName): number {
    return this.#cells[table].size;
  }

  cluster(): Cluster | undefined {
    for (const cluster of this.list('cluster')) return cluster;
    return undefined;
  }

  /** The id of the object that holds a unique key. */
  holder(table: TableName, key: string): string | undefined {
    return this.#names[table].get(key);
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
    this.#indexRest();
    return this.#byService.of(serviceId);
  }

  tasksOfNode(nodeId: string): Iterable<Task> {
    this.#indexRest();
    return this.#byNode.of(nodeId);
  }

  tasksOfSlot(serviceId: string, slot: number): readonly Task[] {
    this.#indexRest();
    return this.#bySlot.of(serviceId, slot);
  }

  /** The id of the newest task where this one belongs: its slot, or the node it is made for. Empty: there is none. */
  newestAt({ serviceId, slot, nodeId, pinned }: Pick<Task, 'serviceId' | 'slot' | 'nodeId' | 'pinned'>): string {
    if (pinned !== true) return this.tasksOfSlot(serviceId, slot).at(-1)?.id ?? '';
    let newest = '';
    for (const task of this.tasksOfNode(nodeId)) {
      if (task.pinned === true && task.serviceId === serviceId) newest = task.id;
    }
    return newest;
  }

  servicesUsingSecret(secretId: string): Iterable<Service> {
    this.#indexRest();
    return this.#bySecret.of(secretId);
  }

  servicesUsingConfig(configId: string): Iterable<Service> {
    this.#indexRest();
    return this.#byConfig.of(configId);
  }

  servicesUsingNetwork(networkId: string): Iterable<Service> {
    this.#indexRest();
    return this.#byNetwork.of(networkId);
  }

  tasksUsingNetwork(networkId: string): Iterable<Task> {
    this.#indexRest();
    return this.#tasksByNetwork.of(networkId);
  }

  nodesByHostname(hostname: string): readonly Node[] {
    this.#indexRest();
    return [...this.#byHostname.of(hostname)];
  }

  idsByPrefix(table: TableName, prefix: string, limit: number): readonly string[] {
    this.#indexRest();
    return this.#prefixes[table].find(prefix, limit);
  }

  #named<T extends TableName>(table: T, name: string): Tables[T] | undefined {
    const id = this.#names[table].get(name.toLowerCase());
    return id === undefined ? undefined : this.get(table, id);
  }

  #changed(table: TableName, change: CellChange<Row>): void {
    this.#indexName(table, change);
    if (this.#unindexed === undefined) this.#index(table, change);
    else this.#unindexed.push([table, change]);
  }

  #indexRest(): void {
    if (this.#unindexed === undefined || this.#unindexed.length === 0) return;
    for (const [table, change] of this.#unindexed.splice(0)) this.#index(table, change);
  }

  #index(table: TableName, change: CellChange<Row>): void {
    const { before, after } = change;
    if (before === undefined && after !== undefined) this.#prefixes[table].add(after.id);
    else if (before !== undefined && after === undefined) this.#prefixes[table].remove(before.id);
    if (table === 'task') {
      this.#byService.change(change as CellChange<Task>);
      this.#byNode.change(change as CellChange<Task>);
      this.#bySlot.change(change as CellChange<Task>);
      this.#tasksByNetwork.change(change as CellChange<Task>);
    } else if (table === 'service') {
      this.#bySecret.change(change as CellChange<Service>);
      this.#byConfig.change(change as CellChange<Service>);
      this.#byNetwork.change(change as CellChange<Service>);
    } else if (table === 'node') {
      this.#byHostname.change(change as CellChange<Node>);
    }
  }

  /** Within one entry a name may pass from one object to another in any order: only its holder gives a name up. */
  #indexName(table: TableName, { before, after }: CellChange<Row>): void {
    const names = this.#names[table];
    const from = before === undefined ? undefined : uniqueKey(table, before);
    const to = after === undefined ? undefined : uniqueKey(table, after);
    if (from !== undefined && from !== to && names.get(from) === before?.id) names.delete(from);
    if (to !== undefined && after !== undefined) names.set(to, after.id);
  }
}

function secretsOf(service: Service): readonly string[] {
  return service.spec.TaskTemplate.ContainerSpec.Secrets?.map((reference) => reference.SecretID) ?? [];
}

function configsOf(service: Service): readonly string[] {
  return service.spec.TaskTemplate.ContainerSpec.Configs?.map((reference) => reference.ConfigID) ?? [];
}

export function perTable<V>(make: () => V): Readonly<Record<TableName, V>> {
  return Object.fromEntries(tableNames.map((table) => [table, make()])) as Record<TableName, V>;
}
