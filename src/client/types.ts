/** What the Docker Engine API answers (1.50), as far as the CLI reads it. Specs are those of `src/model/spec.ts`. */
import type {
  ClusterSpec,
  ConfigSpec,
  EndpointSpec,
  Labels,
  NodeSpec,
  PortConfig,
  Resources,
  ServiceSpec,
  TaskSpec,
} from '../model/spec.ts';

export interface ApiObject {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly CreatedAt: string;
  readonly UpdatedAt: string;
}

export interface ApiService extends ApiObject {
  readonly Spec: ServiceSpec;
  readonly PreviousSpec?: ServiceSpec;
  readonly Endpoint?: {
    readonly Spec?: EndpointSpec;
    readonly Ports?: readonly PortConfig[] | null;
    readonly VirtualIPs?: readonly { readonly NetworkID: string; readonly Addr: string }[] | null;
  };
  readonly UpdateStatus?: ApiUpdateStatus | null;
  readonly ServiceStatus?: {
    readonly RunningTasks: number;
    readonly DesiredTasks: number;
    readonly CompletedTasks: number;
  };
  readonly JobStatus?: { readonly JobIteration?: { readonly Index?: number }; readonly LastExecution?: string };
  /** Ours. */
  readonly TsCluster?: { readonly EndpointError?: string };
}

/** `/tscluster/services/{id}/history`: the spec of now first. */
export interface ApiRevision {
  readonly Revision: number;
  readonly Since: string;
  readonly Spec: ServiceSpec;
}

export interface ApiUpdateStatus {
  readonly State?: string;
  readonly StartedAt?: string;
  readonly CompletedAt?: string;
  readonly Message?: string;
}

export interface ApiTask extends ApiObject {
  readonly Name?: string;
  readonly Labels?: Labels | null;
  readonly Spec: TaskSpec;
  readonly ServiceID: string;
  readonly Slot?: number;
  readonly NodeID?: string;
  readonly Status: {
    readonly Timestamp: string;
    readonly State: string;
    readonly Message?: string;
    readonly Err?: string;
    readonly ContainerStatus?: {
      readonly ContainerID?: string;
      readonly PID?: number;
      readonly ExitCode?: number;
    } | null;
    readonly PortStatus?: { readonly Ports?: readonly PortConfig[] | null } | null;
  };
  readonly DesiredState: string;
  readonly JobIteration?: { readonly Index?: number };
}

export interface ApiNode extends ApiObject {
  readonly Spec: NodeSpec;
  readonly Description: {
    readonly Hostname?: string;
    readonly Platform?: { readonly Architecture?: string; readonly OS?: string };
    readonly Resources?: Resources;
    readonly Engine?: {
      readonly EngineVersion?: string;
      readonly Labels?: Labels | null;
      readonly Plugins?: readonly { readonly Type: string; readonly Name: string }[] | null;
    };
    readonly TLSInfo?: {
      readonly TrustRoot?: string;
      readonly CertIssuerSubject?: string;
      readonly CertIssuerPublicKey?: string;
    };
  };
  readonly Status: { readonly State?: string; readonly Message?: string; readonly Addr?: string };
  readonly ManagerStatus?: { readonly Leader?: boolean; readonly Reachability?: string; readonly Addr?: string } | null;
  /** Ours. */
  readonly TsCluster?: {
    readonly GatewaySubnet?: string;
    readonly IngressAddress?: string;
    readonly NetworkProblems?: readonly ApiNetworkProblem[];
  };
}

export interface ApiNetworkProblem {
  readonly ServiceID?: string;
  readonly NetworkID?: string;
  readonly Message: string;
}

export interface ApiSecret extends ApiObject {
  readonly Spec: {
    readonly Name: string;
    readonly Labels?: Labels | null;
    readonly Driver?: { readonly Name: string } | null;
  };
}

export interface ApiConfig extends ApiObject {
  readonly Spec: ConfigSpec;
}

export interface ApiNetwork {
  readonly Id: string;
  readonly Name: string;
  readonly Driver?: string;
  readonly Scope?: string;
  readonly Created?: string;
  readonly EnableIPv4?: boolean;
  readonly EnableIPv6?: boolean;
  readonly Internal?: boolean;
  readonly Labels?: Labels | null;
}

export interface ApiSwarm extends ApiObject {
  readonly Spec: ClusterSpec;
  readonly JoinTokens?: { readonly Worker: string; readonly Manager: string };
}

/** What everyone may know of a cluster. */
export interface ApiCluster {
  readonly ID?: string;
  readonly TLSInfo?: { readonly TrustRoot?: string };
  readonly DefaultAddrPool?: readonly string[] | null;
  readonly SubnetSize?: number;
  readonly DataPathPort?: number;
  /** Ours. */
  readonly TsCluster?: { readonly GatewayPools?: readonly string[]; readonly IngressPool?: string };
}

export interface ApiInfo {
  readonly ID?: string;
  readonly Name?: string;
  readonly ServerVersion?: string;
  readonly Swarm: {
    readonly NodeID: string;
    readonly NodeAddr?: string;
    readonly LocalNodeState: string;
    readonly ControlAvailable: boolean;
    readonly Error?: string;
    readonly RemoteManagers?: readonly { readonly NodeID: string; readonly Addr: string }[] | null;
    readonly Nodes?: number;
    readonly Managers?: number;
    readonly Cluster?: ApiCluster | null;
  };
  readonly [key: string]: unknown;
}

export interface ApiVersion {
  readonly Version?: string;
  readonly ApiVersion?: string;
  readonly MinAPIVersion?: string;
  readonly Os?: string;
  readonly Arch?: string;
  readonly [key: string]: unknown;
}

export interface ApiEvent {
  readonly Type?: string;
  readonly Action?: string;
  readonly Actor?: { readonly ID?: string; readonly Attributes?: Labels };
  /** Since the epoch, to the millisecond. */
  readonly timeNano?: number;
  /** Instead of an event: why there are no more. */
  readonly message?: string;
}

export interface ApiDistribution {
  readonly Descriptor?: { readonly digest?: string };
  readonly Platforms?: readonly { readonly architecture?: string; readonly os?: string }[] | null;
}

export interface CreateNetworkBody {
  readonly Name: string;
  readonly [key: string]: unknown;
}

/** A secret as it is posted; `Data` is absent when a driver supplies it. */
export interface NewSecret {
  readonly Name: string;
  readonly Labels: Labels;
  readonly Data?: string;
  readonly Driver?: { readonly Name: string; readonly Options?: Labels };
  readonly Templating?: { readonly Name: string };
}

export interface InitBody {
  readonly ListenAddr: string;
  readonly AdvertiseAddr: string;
  readonly DataPathAddr: string;
  readonly DataPathPort: number;
  readonly ForceNewCluster: boolean;
  readonly Spec: unknown;
  readonly AutoLockManagers: boolean;
  readonly Availability: string;
  readonly DefaultAddrPool: readonly string[];
  readonly SubnetSize: number;
  /** Ours. */
  readonly TsCluster?: { readonly GatewayPools?: readonly string[]; readonly IngressPool?: string };
}

export interface JoinBody {
  readonly ListenAddr: string;
  readonly AdvertiseAddr: string;
  readonly DataPathAddr: string;
  readonly RemoteAddrs: readonly string[];
  readonly JoinToken: string;
  readonly Availability: string;
}
