/**
 * The control API: every change a user can ask for, as named methods. The leader carries them out
 * (`manager/controlapi`); any other manager passes them on over `Control.Call`. The only door for writes.
 * Errors are ClusterErrors with Docker's wording.
 */
import type { LogLine, LogQuery } from './assignment.ts';
import type { Forecast } from './explain.ts';
import type { ClusterNetwork } from './objects.ts';
import type { ClusterSpec, ConfigSpec, NetworkSpec, NodeRole, NodeSpec, SecretSpec, ServiceSpec } from './spec.ts';
import type { ChangeEvent, ClusterView } from './view.ts';

export interface ControlMethods {
  /** `registryAuth`: see `registry-auth.ts`. */
  'service.create': {
    request: { spec: ServiceSpec; registryAuth?: string };
    response: { id: string; warnings: string[] };
  };
  'service.update': {
    request: { id: string; version: number; spec: ServiceSpec; rollback?: boolean } & RegistryAuthUpdate;
    response: { warnings: string[] };
  };
  /** To an earlier spec by its number, see `service history`; how many tasks are wanted stays as it is. */
  'service.rollback': { request: { id: string; version: number; to: number }; response: { warnings: string[] } };
  /** Checked as create (without id) or update would be, and the placement that would result; nothing is written. */
  'service.dryRun': {
    request: { id?: string; spec: ServiceSpec };
    response: { warnings: string[]; forecast: Forecast };
  };
  'service.remove': { request: { id: string }; response: Record<string, never> };
  'secret.create': { request: { spec: SecretSpec }; response: { id: string } };
  'secret.update': { request: { id: string; version: number; spec: SecretSpec }; response: Record<string, never> };
  'secret.remove': { request: { id: string }; response: Record<string, never> };
  'config.create': { request: { spec: ConfigSpec }; response: { id: string } };
  'config.update': { request: { id: string; version: number; spec: ConfigSpec }; response: Record<string, never> };
  'config.remove': { request: { id: string }; response: Record<string, never> };
  'network.create': { request: { spec: NetworkSpec }; response: { id: string; warnings: string[] } };
  'network.remove': { request: { id: string }; response: Record<string, never> };
  /** Checks all of it as if it were done, in this order, and does nothing. */
  'plan.check': { request: PlanRequest; response: Record<string, never> };
  'node.update': { request: { id: string; version: number; spec: NodeSpec }; response: Record<string, never> };
  'node.remove': { request: { id: string; force: boolean }; response: Record<string, never> };
  'cluster.update': {
    request: { version: number; spec: ClusterSpec; rotateWorkerToken: boolean; rotateManagerToken: boolean };
    response: Record<string, never>;
  };
}

export interface RegistryAuthUpdate {
  /** New credentials; without them the service keeps those it has, or had with its previous spec. */
  readonly registryAuth?: string;
  readonly registryAuthFrom?: 'spec' | 'previous-spec';
}

/** What a stack file asks for. Services refer to secrets, configs and networks by name; their ids need not exist yet. */
export interface PlanRequest {
  readonly networks?: readonly NetworkSpec[];
  readonly secrets?: readonly SecretSpec[];
  readonly configs?: readonly ConfigSpec[];
  readonly services?: readonly PlannedService[];
}

export interface PlannedService {
  /** Of the service that is to be updated; absent = it is to be created. */
  readonly id?: string;
  readonly spec: ServiceSpec;
}

export type ControlMethod = keyof ControlMethods;
export type ControlRequest<M extends ControlMethod> = ControlMethods[M]['request'];
export type ControlResponse<M extends ControlMethod> = ControlMethods[M]['response'];

export interface Control {
  /** Ids may be an id, an exact name (nodes: hostname) or a unique id prefix. Resolves once the local view shows the change. */
  call<M extends ControlMethod>(method: M, request: ControlRequest<M>): Promise<ControlResponse<M>>;
}

export interface RaftMemberInfo {
  readonly nodeId: string;
  readonly raftId: number;
  readonly addr: string;
  readonly leader: boolean;
  readonly reachability: 'reachable' | 'unreachable' | 'unknown';
}

/** What a manager offers to its HTTP API. */
export interface ManagerBackend extends Control {
  /** This manager's copy of the state. */
  readonly view: ClusterView;
  /** Throws `unavailable` ("The swarm does not have a leader…") when this manager knows no leader: its copy may be old. */
  assertFresh(): void;
  /** Called after each commit with what it changed; must only record. Returns the unsubscribe function. */
  onCommit(handle: (events: readonly ChangeEvent[]) => void): () => void;
  members(): readonly RaftMemberInfo[];
  /** Streams log lines of tasks until they end, or until `signal` with `follow`. Follow picks up new tasks of the service. */
  logs(
    selector: { serviceId: string } | { taskId: string },
    query: LogQuery,
    signal: AbortSignal,
  ): AsyncIterable<LogLine>;
}

/** This process, as the API sees it: works without a cluster, too. */
export interface NodeBackend {
  /** Present while this node is a manager. */
  manager(): ManagerBackend | undefined;
  info(): NodeInfo;
  init(request: InitRequest): Promise<{ nodeId: string }>;
  join(request: JoinRequest): Promise<{ nodeId: string }>;
  leave(force: boolean): Promise<void>;
  /** Resolves an image on its registry, or undefined quickly when it cannot be reached. */
  resolveImage(reference: string, auth: string | undefined): Promise<ResolvedImage>;
}

export interface ResolvedImage {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platforms: readonly { readonly architecture: string; readonly os: string; readonly variant?: string }[];
}

export interface InitRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly availability: string;
  readonly forceNewCluster: boolean;
  readonly spec?: Partial<ClusterSpec>;
  /** What was asked for; the rest is chosen so that it suits this host. */
  readonly network?: Partial<ClusterNetwork>;
}

export interface JoinRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly remoteAddrs: readonly string[];
  readonly joinToken: string;
  readonly availability: string;
}

export interface NodeInfo {
  readonly nodeId: string;
  readonly nodeAddr: string;
  readonly state: 'inactive' | 'pending' | 'active' | 'error' | 'locked';
  readonly role: NodeRole | undefined;
  readonly error: string;
  readonly managers: readonly { readonly nodeId: string; readonly addr: string }[];
  readonly clusterId: string;
  readonly hostname: string;
  readonly version: string;
  readonly os: string;
  readonly architecture: string;
  readonly kernel: string;
  /** `1` or `2`. */
  readonly cgroupVersion?: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly dataDir: string;
  readonly runtime: { readonly name: string; readonly version: string; readonly snapshotter: string };
  readonly containers: { readonly running: number; readonly stopped: number };
  readonly registryMirrors: readonly string[];
  readonly insecureRegistries: readonly string[];
}
