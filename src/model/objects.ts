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
}

export interface Node extends StoreObject {
  readonly spec: NodeSpec;
  /** The role its certificate gives it now; `spec.Role` is the wish. */
  readonly role: NodeRole;
  readonly description?: NodeDescription;
  readonly status: NodeStatus;
  /** Set while the node is a member of the Raft group. */
  readonly manager?: { readonly raftId: number; readonly addr: string };
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
  /** Of jobs only. */
  readonly jobStatus?: JobStatus;
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
  /** Sent away from a node that no longer fits it: its end is no failure of its own. */
  readonly evicted?: true;
  /** What it got of the node's generic resources when it was placed: counts, and named ones by name. */
  readonly genericResources?: readonly GenericResource[];
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
}

export interface Secret extends StoreObject {
  readonly spec: SecretSpec;
}

export interface Config extends StoreObject {
  readonly spec: ConfigSpec;
}

export interface Network extends StoreObject {
  readonly spec: NetworkSpec;
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
