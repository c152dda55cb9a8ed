/**
 * What the names process must know, as flat records, and what changed between two sets of them. Pure. Far less than the node
 * knows: no peers, no ports, no endpoints without networks.
 */
import { parseAddress, withoutPrefix } from '../../../model/ip.ts';
import type { EndpointRecord, NetworkRecord, ServiceRecord } from '../../../model/network.ts';
import type { Desired, SandboxRecord } from '../planes.ts';

/** A container that may ask. */
export interface AskerRecord {
  /** Its task. */
  readonly id: string;
  /** Where it asks from: its address on the node's gateway subnet. */
  readonly gateway: string;
  /** Its networks in order: where a name is on several, the first one answers. None: it knows no name of the cluster. */
  readonly networks: readonly string[];
  /** Whom to ask for names that are not the cluster's, where the task says so; absent: the host's resolvers. */
  readonly resolvers?: readonly string[];
  /** All its networks are internal: what is not the cluster's is not asked for anywhere. */
  readonly internal: boolean;
}

export interface NamedNetwork {
  readonly id: string;
  readonly name: string;
  readonly subnets: readonly string[];
}

/** Addresses without prefixes. */
export interface Place {
  readonly networkId: string;
  readonly addresses: readonly string[];
}

export interface NamedService {
  readonly id: string;
  readonly name: string;
  readonly mode: 'vip' | 'dnsrr';
  readonly networks: readonly (Place & { readonly aliases: readonly string[] })[];
}

export interface NamedEndpoint {
  /** Its task. */
  readonly id: string;
  readonly serviceId: string;
  readonly names: readonly string[];
  readonly networks: readonly Place[];
  readonly active: boolean;
}

export interface NameRecords {
  readonly askers: ReadonlyMap<string, AskerRecord>;
  readonly networks: ReadonlyMap<string, NamedNetwork>;
  readonly services: ReadonlyMap<string, NamedService>;
  readonly endpoints: ReadonlyMap<string, NamedEndpoint>;
}

export const noRecords: NameRecords = {
  askers: new Map(),
  networks: new Map(),
  services: new Map(),
  endpoints: new Map(),
};

export const recordKinds = ['askers', 'networks', 'services', 'endpoints'] as const;
export type RecordKind = (typeof recordKinds)[number];
type RecordOf<K extends RecordKind> = NameRecords[K] extends ReadonlyMap<string, infer R> ? R : never;

/** Removals by id come first, then what is new or different. */
export type Changes = {
  readonly [K in RecordKind]?: { readonly put?: readonly RecordOf<K>[]; readonly removed?: readonly string[] };
};

/**
 * Remembers what it made of each record, so that a record that did not change stays the same object, and a change of one service
 * is found by comparing references.
 */
export class Deriver {
  readonly #networks = new Derived(networkOf);
  readonly #services = new Derived(serviceOf);
  readonly #endpoints = new Derived(endpointOf);
  #askers: ReadonlyMap<string, AskerRecord> = new Map();

  records({ sandboxes, state }: Desired): NameRecords {
    this.#askers = keepEqual(this.#askers, askersOf(sandboxes, state.networks));
    return {
      askers: this.#askers,
      networks: this.#networks.of(state.networks),
      services: this.#services.of(state.services),
      endpoints: this.#endpoints.of(state.endpoints),
    };
  }
}

export function changesBetween(before: NameRecords, after: NameRecords): Changes {
  return Object.fromEntries(
    recordKinds.flatMap((kind) => {
      const [old, current]: ReadonlyMap<string, unknown>[] = [before[kind], after[kind]];
      if (old === undefined || current === undefined || old === current) return [];
      const put = [...current].flatMap(([id, record]) => (old.get(id) === record ? [] : [record]));
      const removed = [...old.keys()].filter((id) => !current.has(id));
      return put.length + removed.length === 0 ? [] : [[kind, { put, removed }]];
    }),
  ) as Changes;
}

/** The same in parts of at most this many records, in order: a large state is applied in turns, not in one long stall. */
export function* parts(changes: Changes, recordsMax: number): Generator<Changes> {
  for (const kind of recordKinds) {
    const { put = [], removed = [] } = changes[kind] ?? {};
    for (let at = 0; at < removed.length; at += recordsMax) {
      yield { [kind]: { removed: removed.slice(at, at + recordsMax) } };
    }
    for (let at = 0; at < put.length; at += recordsMax) yield { [kind]: { put: put.slice(at, at + recordsMax) } };
  }
}

/** One kind of record, made anew only where its source is another object, and kept where it says the same as before. */
class Derived<S extends object, R> {
  readonly #make: (source: S) => R | undefined;
  #known = new Map<string, { readonly source: S; readonly made: R | undefined }>();
  #result: ReadonlyMap<string, R> = new Map();

  constructor(make: (source: S) => R | undefined) {
    this.#make = make;
  }

  /** The same map again while nothing changes. */
  of(sources: ReadonlyMap<string, S>): ReadonlyMap<string, R> {
    if (this.#isCurrent(sources)) return this.#result;
    const result = new Map<string, R>();
    const known = new Map<string, { readonly source: S; readonly made: R | undefined }>();
    for (const [id, source] of sources) {
      const old = this.#known.get(id);
      const fresh = old?.source === source ? old.made : this.#make(source);
      const made = same(old?.made, fresh) ? old?.made : fresh;
      known.set(id, { source, made });
      if (made !== undefined) result.set(id, made);
    }
    this.#known = known;
    this.#result = result;
    return result;
  }

  #isCurrent(sources: ReadonlyMap<string, S>): boolean {
    if (sources.size !== this.#known.size) return false;
    for (const [id, source] of sources) if (this.#known.get(id)?.source !== source) return false;
    return true;
  }
}

function keepEqual<R>(before: ReadonlyMap<string, R>, after: ReadonlyMap<string, R>): ReadonlyMap<string, R> {
  return new Map(
    [...after].map(([id, record]) => {
      const old = before.get(id);
      return [id, old !== undefined && same(old, record) ? old : record];
    }),
  );
}

/** Both were made by the same function here, so equal text means equal records. */
function same(old: unknown, record: unknown): boolean {
  return old === record || JSON.stringify(old) === JSON.stringify(record);
}

function askersOf(
  sandboxes: ReadonlyMap<string, SandboxRecord>,
  networks: ReadonlyMap<string, NetworkRecord>,
): ReadonlyMap<string, AskerRecord> {
  const askers = new Map<string, AskerRecord>();
  for (const { taskId, gateway, attachments, nameservers } of sandboxes.values()) {
    if (gateway === undefined) continue;
    const ids = attachments.map(({ networkId }) => networkId);
    const internal = ids.length > 0 && ids.every((id) => networks.get(id)?.internal === true);
    const resolvers = nameservers.length === 0 ? {} : { resolvers: nameservers.filter(isReachable) };
    askers.set(taskId, { id: taskId, gateway: withoutPrefix(gateway), networks: ids, ...resolvers, internal });
  }
  return askers;
}

/** The loopback of a task's own setting is the container's, where the names process can not ask. */
function isReachable(nameserver: string): boolean {
  return parseAddress(nameserver) !== undefined && !/^127\.|^::1$/.test(nameserver);
}

function networkOf({ id, name, subnets }: NetworkRecord): NamedNetwork {
  return { id, name, subnets: subnets.map(({ subnet }) => subnet) };
}

function serviceOf({ id, name, mode, networks }: ServiceRecord): NamedService | undefined {
  if (networks.length === 0) return undefined;
  return {
    id,
    name,
    mode,
    networks: networks.map(({ networkId, addresses, aliases }) => ({
      networkId,
      addresses: addresses.map(withoutPrefix),
      aliases,
    })),
  };
}

function endpointOf({ taskId, serviceId, names, attachments, active }: EndpointRecord): NamedEndpoint | undefined {
  if (attachments.length === 0) return undefined;
  const networks = attachments.map(({ networkId, addresses }) => ({
    networkId,
    addresses: addresses.map(withoutPrefix),
  }));
  return { id: taskId, serviceId, names, networks, active };
}
