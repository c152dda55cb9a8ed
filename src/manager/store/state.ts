/** The tables and their indexes: the committed state of a replica, and the small overlay of a transaction. */

import { networksOf } from '../../model/network.ts';
import type { Cluster, Config, Network, Node, Secret, Service, TableName, Tables, Task } from '../../model/objects.ts';
import { tableNames } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';
import { GroupIndex, PrefixIndex, ReferenceIndex, SlotIndex } from './indexes.ts';

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
  #rows = perTable(() => new Map<string, Row>());
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

  /** Adds or replaces. The caller has checked that a unique key is free. */
  put(table: TableName, row: Row): void {
    const rows = this.#rows[table];
    const before = rows.get(row.id);
    rows.set(row.id, row);
    if (before === undefined) this.#prefixes[table].add(row.id);
    this.#index(table, before, row);
  }

  remove(table: TableName, id: string): void {
    const before = this.#rows[table].get(id);
    if (before === undefined) return;
    this.#rows[table].delete(id);
    this.#prefixes[table].remove(id);
    this.#index(table, before, undefined);
  }

  /** Takes over everything `other` holds; readers that keep this object see it from now on. `other` must not be used again. */
  adopt(other: State): void {
    this.version = other.version;
    this.#rows = other.#rows;
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
    return this.#rows[table].get(id) as Tables[T] | undefined;
  }

  list<T extends TableName>(table: T): Iterable<Tables[T]> {
    return this.#rows[table].values() as Iterable<Tables[T]>;
  }

  count(table: TableName): number {
    return this.#rows[table].size;
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
    return this.#byService.of(serviceId);
  }

  tasksOfNode(nodeId: string): Iterable<Task> {
    return this.#byNode.of(nodeId);
  }

  tasksOfSlot(serviceId: string, slot: number): readonly Task[] {
    return this.#bySlot.of(serviceId, slot);
  }

  /** The id of the newest task where this one belongs: its slot, or the node it is made for. Empty: there is none. */
  newestAt({ serviceId, slot, nodeId, pinned }: Pick<Task, 'serviceId' | 'slot' | 'nodeId' | 'pinned'>): string {
    if (pinned !== true) return this.#bySlot.of(serviceId, slot).at(-1)?.id ?? '';
    let newest = '';
    for (const task of this.#byNode.of(nodeId)) {
      if (task.pinned === true && task.serviceId === serviceId) newest = task.id;
    }
    return newest;
  }

  servicesUsingSecret(secretId: string): Iterable<Service> {
    return this.#bySecret.of(secretId);
  }

  servicesUsingConfig(configId: string): Iterable<Service> {
    return this.#byConfig.of(configId);
  }

  servicesUsingNetwork(networkId: string): Iterable<Service> {
    return this.#byNetwork.of(networkId);
  }

  tasksUsingNetwork(networkId: string): Iterable<Task> {
    return this.#tasksByNetwork.of(networkId);
  }

  nodesByHostname(hostname: string): readonly Node[] {
    return [...this.#byHostname.of(hostname)];
  }

  idsByPrefix(table: TableName, prefix: string, limit: number): readonly string[] {
    return this.#prefixes[table].find(prefix, limit);
  }

  #named<T extends TableName>(table: T, name: string): Tables[T] | undefined {
    const id = this.#names[table].get(name.toLowerCase());
    return id === undefined ? undefined : this.get(table, id);
  }

  #index(table: TableName, before: Row | undefined, after: Row | undefined): void {
    this.#indexName(table, before, after);
    if (table === 'task') {
      this.#byService.change(before as Task | undefined, after as Task | undefined);
      this.#byNode.change(before as Task | undefined, after as Task | undefined);
      this.#bySlot.change(before as Task | undefined, after as Task | undefined);
      this.#tasksByNetwork.change(before as Task | undefined, after as Task | undefined);
    } else if (table === 'service') {
      this.#bySecret.change(before as Service | undefined, after as Service | undefined);
      this.#byConfig.change(before as Service | undefined, after as Service | undefined);
      this.#byNetwork.change(before as Service | undefined, after as Service | undefined);
    } else if (table === 'node') {
      this.#byHostname.change(before as Node | undefined, after as Node | undefined);
    }
  }

  /** Within one entry a name may pass from one object to another in any order: only its holder gives a name up. */
  #indexName(table: TableName, before: Row | undefined, after: Row | undefined): void {
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
