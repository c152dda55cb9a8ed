import type { Cluster, Config, Network, Node, Secret, Service, TableName, Tables, Task } from './objects.ts';

/**
 * Reading the cluster's state. Synchronous: what is read between two awaits belongs together; after an await read again.
 * Objects are frozen.
 */
export interface ClusterView {
  /** Raft index of the last change applied. */
  readonly version: number;
  get<T extends TableName>(table: T, id: string): Tables[T] | undefined;
  /** Objects in order of creation. */
  list<T extends TableName>(table: T): Iterable<Tables[T]>;
  count(table: TableName): number;
  /** The single cluster object; undefined before `init`. */
  cluster(): Cluster | undefined;
  /** Names are unique without regard to case within services, secrets, configs and networks. */
  serviceByName(name: string): Service | undefined;
  secretByName(name: string): Secret | undefined;
  configByName(name: string): Config | undefined;
  networkByName(name: string): Network | undefined;
  tasksOfService(serviceId: string): Iterable<Task>;
  tasksOfNode(nodeId: string): Iterable<Task>;
  /** All tasks of a slot, oldest first; not those bound to a node (global services), which have no slot. */
  tasksOfSlot(serviceId: string, slot: number): readonly Task[];
  servicesUsingSecret(secretId: string): Iterable<Service>;
  servicesUsingConfig(configId: string): Iterable<Service>;
  /** Services whose spec names the network. */
  servicesUsingNetwork(networkId: string): Iterable<Service>;
  /** Tasks, ended ones too, that were made to be on the network. */
  tasksUsingNetwork(networkId: string): Iterable<Task>;
  nodesByHostname(hostname: string): readonly Node[];
  /** Ids of `table` that start with `prefix`, at most `limit`. */
  idsByPrefix(table: TableName, prefix: string, limit: number): readonly string[];
}

/** One write. `expected` is the version read (0 for create); another version at apply time refuses the whole transaction. */
export type Change = { [T in TableName]: TableChange<T> }[TableName];

export interface TableChange<T extends TableName> {
  readonly table: T;
  readonly action: 'create' | 'update' | 'remove';
  readonly id: string;
  readonly expected: number;
  /** Of a task that is made: the newest task of its place ('' = none); another one at apply time refuses the whole transaction. */
  readonly newest?: string;
  /** Without a trustworthy `meta`: the store sets version and times. Absent for remove. */
  readonly object?: Omit<Tables[T], 'meta'>;
}

/** What subscribers see: the state before and after. */
export type ChangeEvent = { [T in TableName]: TableEvent<T> }[TableName];

export interface TableEvent<T extends TableName> {
  readonly table: T;
  readonly before?: Tables[T];
  readonly after?: Tables[T];
}
