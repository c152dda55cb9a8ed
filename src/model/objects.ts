/**
 * What the store holds. Objects are immutable: a change is a new object with the version of the Raft entry that made it.
 * Only managers have these; agents get tasks, and the secrets and configs that their tasks use (`assignment.ts`).
 */
import type {
  Availability,
  ClusterSpec,
  ConfigSpec,
  EndpointSpec,
  GenericResource,
  Labels,
  NetworkSpec,
  NodeRole,
  NodeSpec,
  Platform,
  PortConfig,
  Resources,
  SecretSpec,
  ServiceSpec,
  TaskSpec,
} from './spec.ts';
import type { DesiredState, TaskState } from './task-state.ts';

export interface Meta {
  /** Raft index of the entry that last wrote the object. */
  readonly version: number;
  /** Milliseconds since the epoch, stamped by the leader. */
  readonly createdAt: number;
  readonly updatedAt: number;
  /**
   * Services, nodes and the cluster: Raft index of the entry that last wrote the spec, where others wrote the object since (its
   * status, for instance). Who read the object since then has seen its spec. Absent: the same as `version`.
   */
  readonly specIndex?: number;
}

export interface StoreObject {
  readonly id: string;
  readonly meta: Meta;
}

/** The one object of the `clusters` table. */
export interface Cluster extends StoreObject {
  readonly spec: ClusterSpec;
  readonly rootCa: {
    readonly certPem: string;
    /** The signing key; protected by the encryption of log and snapshots. */
    readonly keyPem: string;
    /** `sha256:…`-free hex digest is derived; join tokens pin the certificate. */
    readonly joinTokens: { readonly worker: string; readonly manager: string };
  };
  /** Ids of removed nodes and until when their certificates stay refused (ms since the epoch). */
  readonly removedNodes: Readonly<Record<string, number>>;
  /** Next Raft member id to give out; ids are never used twice. */
  readonly nextRaftId: number;
  /** Chosen at `init`; absent: the defaults (`defaultClusterNetwork`). */
  readonly network?: ClusterNetwork;
  /** Places that removed nodes had, by node, which rest before another node gets them: until when, ms since the epoch. */
  readonly restingPlaces?: Readonly<Record<string, NodeNetwork & { readonly until: number }>>;
}

/** Where the cluster takes addresses from. All blocks are IPv4 in CIDR form and overlap neither each other nor the hosts' own networks. */
export interface ClusterNetwork {
  /** Subnets of overlay networks are cut out of these, in this order. */
  readonly addressPools: readonly string[];
  /** Prefix length of those subnets, e.g. 24. */
  readonly subnetSize: number;
  /** UDP port of VXLAN between nodes. */
  readonly dataPathPort: number;
  /** Each node gets a /24 of these for the gateway addresses of its containers. */
  readonly gatewayPools: readonly string[];
  /** Each node gets one address of this for the link that carries published ports between nodes. */
  readonly ingressPool: string;
}

export interface Node extends StoreObject {
  readonly spec: NodeSpec;
  /** The role its certificate gives it now; `spec.Role` is the wish. */
  readonly role: NodeRole;
  /** When its availability became `drain`, ms since the epoch; absent: it is not drained, or was before this was kept. */
  readonly drainedAt?: number;
  readonly description?: NodeDescription;
  readonly status: NodeStatus;
  /** Set while the node is a member of the Raft group. */
  readonly manager?: { readonly raftId: number; readonly addr: string };
  /** Given by the allocator when the node appears; never changes. */
  readonly network?: NodeNetwork;
  /** What the node could not do of what it was last told about networks, e.g. a published port that another program has. */
  readonly networkProblems?: readonly NetworkProblem[];
}

/** A node's place in the cluster's address plan. */
export interface NodeNetwork {
  /** e.g. `172.28.3.0/24`: its first address is the node's gateway, the others are its containers'. */
  readonly gatewaySubnet: string;
  /** e.g. `10.255.0.3`, on the link that carries published ports. */
  readonly ingressAddress: string;
}

export interface NetworkProblem {
  /** What it concerns, as far as known. */
  readonly serviceId?: string;
  readonly networkId?: string;
  /** What failed, why, and what to do; at most 500 characters. */
  readonly message: string;
}

export interface NodeDescription {
  readonly hostname: string;
  readonly platform: { readonly architecture: string; readonly os: string };
  readonly resources: Resources;
  readonly engine: {
    readonly version: string;
    readonly labels: Labels;
    readonly plugins: readonly { readonly type: string; readonly name: string }[];
  };
}

export type NodeState = 'unknown' | 'down' | 'ready' | 'disconnected';

export interface NodeStatus {
  readonly state: NodeState;
  readonly message: string;
  /** IP address the node is reached at. */
  readonly addr: string;
  /** When the state last changed, ms since the epoch. */
  readonly since: number;
}

export interface Service extends StoreObject {
  readonly spec: ServiceSpec;
  readonly previousSpec?: ServiceSpec;
  /** Counts the specs that this service has had; the one it has now bears this number (1 when absent). */
  readonly revision?: number;
  /** When it became the service's spec, ms since the epoch; absent: when the service was created. */
  readonly revisedAt?: number;
  /** What the update under way has to remember; present while `updateStatus` says that one is. */
  readonly updateProgress?: UpdateProgress;
  /** Registry credentials of the spec and of the previous one, see `registry-auth.ts`. Never shown, never logged. */
  readonly registryAuth?: string;
  readonly previousRegistryAuth?: string;
  /** Version of the last change of `spec`; tasks carry the one they were made from. */
  readonly specVersion: number;
  readonly updateStatus?: UpdateStatus;
  /** What the allocator gave it: virtual addresses and published ports. Absent: nothing was needed or nothing could be given yet. */
  readonly endpoint?: ServiceEndpoint;
  /** Why `endpoint` is not what the spec asks for, e.g. a published port that another service has. */
  readonly endpointError?: string;
  /** Of jobs only. */
  readonly jobStatus?: JobStatus;
}

export interface ServiceEndpoint {
  /** `specVersion` of the spec that it was made for. */
  readonly specVersion: number;
  /** One per overlay network of the service, in the spec's order; none on macvlan and ipvlan networks, none of a service with `dnsrr`. */
  readonly vips: readonly NetworkAddresses[];
  /** The spec's ports with every automatic published port chosen. */
  readonly ports: readonly PortConfig[];
}

/** Addresses on one network. */
export interface NetworkAddresses {
  readonly networkId: string;
  /** With the subnet's prefix length, e.g. `10.0.1.5/24`; IPv4 first, then IPv6 where the network has it. */
  readonly addresses: readonly string[];
}

export interface JobStatus {
  /** Rises each time the job is executed anew (its spec was updated); tasks carry the one they belong to. */
  readonly iteration: number;
  /** When this iteration began, ms since the epoch. */
  readonly lastExecution: number;
}

export interface UpdateProgress {
  /** Places (slots, or nodes of a global service) that were out of date when it began. */
  readonly total: number;
  /** Those whose new task failed so far, oldest first; slot numbers or node ids. Not kept where failures are to be ignored. */
  readonly failed: readonly (number | string)[];
}

export type UpdateOrder = 'stop-first' | 'start-first';

/** A spec that a service had before: the last ones are kept, to look at and to go back to. */
export interface Revision extends StoreObject {
  readonly serviceId: string;
  readonly number: number;
  readonly spec: ServiceSpec;
  /** When it became the service's spec, ms since the epoch. */
  readonly since: number;
}

export interface UpdateStatus {
  readonly state: 'updating' | 'paused' | 'completed' | 'rollback_started' | 'rollback_paused' | 'rollback_completed';
  readonly startedAt?: number;
  readonly completedAt?: number;
  readonly message: string;
}

export interface Task extends StoreObject {
  readonly serviceId: string;
  /** From 1 for replicated services, from 0 for replicated jobs, 0 for global ones. Stable over restarts. */
  readonly slot: number;
  /** Empty until placed. */
  readonly nodeId: string;
  /** Made for its node (global services and jobs): the scheduler confirms the node instead of choosing one. */
  readonly pinned?: true;
  /** Of a job: the execution it belongs to. */
  readonly jobIteration?: number;
  /** Copies from the service at the time of creation: history survives the service. */
  readonly spec: TaskSpec;
  readonly specVersion: number;
  readonly serviceName: string;
  readonly serviceLabels: Labels;
  readonly endpoint: EndpointSpec;
  readonly desired: DesiredState;
  readonly status: TaskStatus;
  /** Past restarts of this slot under this spec version, oldest first, ms; bounded by the policy's MaxAttempts (or 1). */
  readonly restarts: readonly number[];
  /** Set on a replacement: desired `running` is due then (restart delay), ms since the epoch. */
  readonly notBefore?: number;
  /** The task that this one replaces, as long as it must be seen stopped first. */
  readonly replaces?: string;
  /**
   * The task in `replaces` goes on meanwhile: it is stopped once this one is prepared (stop-first) or runs (start-first).
   * Absent: it was stopped first.
   */
  readonly handover?: UpdateOrder;
  /** Made by a rolling update, or after such a task under the same spec version: when the update came to its place, ms. */
  readonly updateBegunAt?: number;
  /** How many tasks of this place failed soon after their start, one after the other, just before this one. */
  readonly failures?: number;
  /** When it was first seen running, by the leader's clock, ms since the epoch. */
  readonly runningSince?: number;
  /** When its end came into the store, by the leader's clock, ms since the epoch. Absent: it goes on, or ended before this was kept. */
  readonly endedAt?: number;
  /** Sent away from a node that no longer fits it: its end is no failure of its own. */
  readonly evicted?: true;
  /** What it got of the node's generic resources when it was placed: counts, and named ones by name. */
  readonly genericResources?: readonly GenericResource[];
  /** Its addresses, in the order of `spec.Networks`. Tasks that need some stay `new` until the allocator has given them. */
  readonly attachments?: readonly NetworkAddresses[];
}

export interface TaskStatus {
  readonly state: TaskState;
  /** When the state was observed, by the observer's clock, ms since the epoch. */
  readonly timestamp: number;
  readonly message: string;
  /** Why it failed or what it waits for; empty = nothing. */
  readonly err: string;
  readonly container?: ContainerStatus;
  /** Host-mode ports in use. */
  readonly ports?: readonly PortConfig[];
}

export interface ContainerStatus {
  readonly containerId: string;
  readonly pid: number;
  readonly exitCode: number;
  /** The container's address on its node's gateway subnet: where published ports lead. Absent for the host's network and for none. */
  readonly gateway?: string;
}

export interface Secret extends StoreObject {
  readonly spec: SecretSpec;
}

export interface Config extends StoreObject {
  readonly spec: ConfigSpec;
}

export interface Network extends StoreObject {
  readonly spec: NetworkSpec;
  /** Given by the allocator; absent: not yet, or nothing could be given (`allocationError`). */
  readonly allocation?: NetworkAllocation;
  /** Why there is no allocation, e.g. `address pools are exhausted`. */
  readonly allocationError?: string;
  /** Freed virtual addresses that rest before they are used again: address without prefix → until when, ms since the epoch. */
  readonly resting?: Readonly<Record<string, number>>;
}

export interface NetworkAllocation {
  /** VXLAN network identifier; 0 for drivers that need none (macvlan, ipvlan). */
  readonly vni: number;
  /** IPv4 first. */
  readonly subnets: readonly NetworkSubnet[];
}

export interface NetworkSubnet {
  /** e.g. `10.0.1.0/24`. */
  readonly subnet: string;
  /** Reserved in every subnet; on overlays each node has it on its own end of the network. Without prefix. */
  readonly gateway: string;
  /** Part of the subnet that addresses are given from; absent: all of it. */
  readonly range?: string;
  /** Addresses of the subnet never to be given out. */
  readonly reserved?: readonly string[];
}

/** Table name → object type. The order is the order of a snapshot. */
export interface Tables {
  readonly cluster: Cluster;
  readonly node: Node;
  readonly service: Service;
  readonly task: Task;
  readonly secret: Secret;
  readonly config: Config;
  readonly network: Network;
  readonly revision: Revision;
}

export type TableName = keyof Tables;
export const tableNames = [
  'cluster',
  'node',
  'service',
  'task',
  'secret',
  'config',
  'network',
  'revision',
] as const satisfies readonly TableName[];

export type { Availability, NodeRole, Platform };
