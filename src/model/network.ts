/**
 * What a node must know of the cluster's networks, as flat records. The leader computes them from the store for each node
 * (`manager/dispatcher/network`), sends them in full when a session begins and then what changed; the node makes its kernel and
 * its names agree and acknowledges the version. No node computes any of it.
 */
import type { ClusterNetwork, NetworkAddresses, NetworkSubnet, NodeNetwork } from './objects.ts';
import type { EndpointSpec, Labels, TaskSpec } from './spec.ts';

/** This node's own place, and what is the same on every node. */
export interface SelfRecord extends NodeNetwork {
  readonly nodeId: string;
  /** Where other nodes reach this one: source of its VXLAN packets. */
  readonly underlay: string;
  readonly dataPathPort: number;
  readonly gatewayPools: readonly string[];
  readonly ingressPool: string;
}

/** Another node of the cluster, up or down: who may send VXLAN packets, and where its containers' gateway addresses are. */
export interface PeerRecord extends NodeNetwork {
  readonly nodeId: string;
  readonly underlay: string;
  /** The managers have given it up: connections to its tasks are cut, not left to run dry. */
  readonly down?: boolean;
}

/** A network that a task of this node is on. */
export interface NetworkRecord {
  readonly id: string;
  readonly name: string;
  readonly driver: 'overlay' | 'macvlan' | 'ipvlan';
  /** 0 for drivers without one. */
  readonly vni: number;
  readonly subnets: readonly NetworkSubnet[];
  /** Nothing of it reaches the world outside. */
  readonly internal: boolean;
  /** Docker's driver options, e.g. `com.docker.network.driver.mtu`, `parent`. */
  readonly options: Labels;
}

/**
 * A task that has been given to a node and has not ended. Nodes get those of the networks they are on, and the active ones of
 * services with published ports.
 */
export interface EndpointRecord {
  readonly taskId: string;
  readonly nodeId: string;
  readonly serviceId: string;
  /** What it answers to besides its service's names: container id (the task id's first 12 characters), `NAME.SLOT.ID`, hostname. */
  readonly names: readonly string[];
  readonly attachments: readonly NetworkAddresses[];
  /** Its address on its node's gateway subnet, once known. */
  readonly gateway?: string;
  /** It runs, is healthy, and is wanted: only then it is in names and behind virtual addresses and published ports. */
  readonly active: boolean;
}

export interface ServiceRecord {
  readonly id: string;
  readonly name: string;
  readonly mode: 'vip' | 'dnsrr';
  /** Its networks, with its virtual addresses (none for `dnsrr`) and what else it is called there. */
  readonly networks: readonly ServiceNetwork[];
  /** Ports that every node answers; those with mode `host` are the tasks' own affair. */
  readonly ports: readonly IngressPort[];
}

export interface ServiceNetwork extends NetworkAddresses {
  readonly aliases: readonly string[];
}

export interface IngressPort {
  readonly protocol: 'tcp' | 'udp';
  readonly published: number;
  readonly target: number;
  readonly source: 'preserve' | 'masquerade' | 'local';
  /** Answer on this address of the host only; absent: on all. */
  readonly hostIp?: string;
}

/** Everything a node has been told, merged. */
export interface NetworkState {
  readonly version: number;
  /** Absent until the allocator has given this node its place. */
  readonly self?: SelfRecord;
  readonly peers: ReadonlyMap<string, PeerRecord>;
  readonly networks: ReadonlyMap<string, NetworkRecord>;
  readonly endpoints: ReadonlyMap<string, EndpointRecord>;
  readonly services: ReadonlyMap<string, ServiceRecord>;
}

export const emptyNetworkState: NetworkState = {
  version: 0,
  peers: new Map(),
  networks: new Map(),
  endpoints: new Map(),
  services: new Map(),
};

/** A full set replaces what the node knows; an incremental one is applied on top of `appliesTo`. */
export interface NetworkSet {
  readonly kind: 'full' | 'incremental';
  readonly appliesTo: number;
  readonly resultsIn: number;
  readonly self?: SelfRecord;
  readonly peers: readonly PeerRecord[];
  readonly removedPeers: readonly string[];
  readonly networks: readonly NetworkRecord[];
  readonly removedNetworks: readonly string[];
  readonly endpoints: readonly EndpointRecord[];
  readonly removedEndpoints: readonly string[];
  readonly services: readonly ServiceRecord[];
  readonly removedServices: readonly string[];
  /** More parts of this set follow, with the same kind and numbers; nothing is applied before the last part is here. */
  readonly more?: boolean;
}

export const defaultClusterNetwork: ClusterNetwork = {
  addressPools: ['10.0.0.0/8'],
  subnetSize: 24,
  dataPathPort: 4789,
  gatewayPools: ['172.28.0.0/14'],
  ingressPool: '10.255.0.0/16',
};

/** VXLAN id of the link that carries published ports between nodes; those of overlay networks follow it. */
export const ingressVni = 4096;
/** Published ports that are chosen automatically (moby, swarmkit: portAllocator). */
export const dynamicPorts = { first: 30_000, last: 32_767 } as const;
/** A freed address is not given to anyone else for this long: connection tracking, TIME_WAIT and resolvers remember it. */
export const addressRestMs = 60_000;

/** Networks that exist on every node and are not objects of the store. */
export const pseudoNetworks = ['host', 'none', 'bridge'] as const;
export type PseudoNetwork = (typeof pseudoNetworks)[number];

export function isPseudoNetwork(target: string): target is PseudoNetwork {
  return (pseudoNetworks as readonly string[]).includes(target);
}

/** Ids of the store's networks that a task of this spec is on. */
export function networksOf(spec: TaskSpec): readonly string[] {
  return (spec.Networks ?? []).map((network) => network.Target).filter((target) => !isPseudoNetwork(target));
}

/** True when the allocator has to give something before a task of it can be placed: addresses, or a published port. */
export function needsAllocation(spec: TaskSpec, endpoint: EndpointSpec | undefined): boolean {
  return networksOf(spec).length > 0 || hasIngressPorts(endpoint);
}

export function hasIngressPorts(endpoint: EndpointSpec | undefined): boolean {
  return (endpoint?.Ports ?? []).some((port) => (port.PublishMode || 'ingress') === 'ingress');
}
