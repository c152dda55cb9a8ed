/**
 * The documents users write: Docker Engine API specs, key for key (API 1.50, https://docs.docker.com/reference/api/engine/).
 * They are kept verbatim, so that what a client posts is what it reads back; defaults are applied where a value is used
 * (`defaults.ts`), never stored. Durations are integer nanoseconds, sizes bytes, binary data base64.
 */

export type Labels = Readonly<Record<string, string>>;

export interface ServiceSpec {
  readonly Name: string;
  readonly Labels: Labels;
  readonly TaskTemplate: TaskSpec;
  readonly Mode: ServiceMode;
  readonly UpdateConfig?: UpdateConfig;
  readonly RollbackConfig?: UpdateConfig;
  readonly EndpointSpec?: EndpointSpec;
}

/** Exactly one key is set. */
export interface ServiceMode {
  readonly Replicated?: { readonly Replicas?: number };
  readonly Global?: Readonly<Record<string, never>>;
  readonly ReplicatedJob?: { readonly MaxConcurrent?: number; readonly TotalCompletions?: number };
  readonly GlobalJob?: Readonly<Record<string, never>>;
}

export interface UpdateConfig {
  readonly Parallelism: number;
  readonly Delay?: number;
  readonly FailureAction?: string;
  readonly Monitor?: number;
  readonly MaxFailureRatio?: number;
  readonly Order?: string;
}

export interface TaskSpec {
  readonly ContainerSpec: ContainerSpec;
  readonly Resources?: ResourceRequirements;
  readonly RestartPolicy?: RestartPolicy;
  readonly Placement?: Placement;
  readonly Networks?: readonly NetworkAttachmentConfig[];
  readonly LogDriver?: { readonly Name?: string; readonly Options?: Labels };
  /** Raised by `service update --force`: makes equal specs differ. */
  readonly ForceUpdate?: number;
  readonly Runtime?: string;
}

export interface ContainerSpec {
  readonly Image: string;
  readonly Labels?: Labels;
  /** Replaces the image's entrypoint. */
  readonly Command?: readonly string[];
  readonly Args?: readonly string[];
  readonly Hostname?: string;
  /** `K=V`. */
  readonly Env?: readonly string[];
  readonly Dir?: string;
  readonly User?: string;
  readonly Groups?: readonly string[];
  readonly Init?: boolean;
  readonly StopSignal?: string;
  readonly TTY?: boolean;
  readonly OpenStdin?: boolean;
  readonly ReadOnly?: boolean;
  readonly Mounts?: readonly Mount[];
  /** Nanoseconds; 10 s when absent. */
  readonly StopGracePeriod?: number;
  readonly Healthcheck?: Healthcheck;
  /** `IP host [alias…]`. */
  readonly Hosts?: readonly string[];
  readonly DNSConfig?: DnsConfig;
  readonly Secrets?: readonly SecretReference[];
  readonly Configs?: readonly ConfigReference[];
  readonly Isolation?: string;
  readonly Sysctls?: Labels;
  readonly CapabilityAdd?: readonly string[];
  readonly CapabilityDrop?: readonly string[];
  readonly Ulimits?: readonly Ulimit[];
  readonly OomScoreAdj?: number;
  readonly Privileges?: Privileges;
}

export interface Healthcheck {
  /** `['NONE']`, `['CMD', …]`, `['CMD-SHELL', line]`; empty = the image's. */
  readonly Test?: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
  readonly Retries?: number;
}

export interface DnsConfig {
  readonly Nameservers?: readonly string[];
  readonly Search?: readonly string[];
  readonly Options?: readonly string[];
}

export interface Ulimit {
  readonly Name: string;
  readonly Hard: number;
  readonly Soft: number;
}

export interface Privileges {
  readonly CredentialSpec?: Readonly<Record<string, unknown>>;
  readonly SELinuxContext?: Readonly<Record<string, unknown>>;
  readonly Seccomp?: { readonly Mode?: string; readonly Profile?: string };
  readonly AppArmor?: { readonly Mode?: string };
  readonly NoNewPrivileges?: boolean;
}

export interface Mount {
  readonly Type: string;
  readonly Source?: string;
  readonly Target: string;
  readonly ReadOnly?: boolean;
  readonly Consistency?: string;
  readonly BindOptions?: {
    readonly Propagation?: string;
    readonly NonRecursive?: boolean;
    readonly CreateMountpoint?: boolean;
    readonly ReadOnlyNonRecursive?: boolean;
    readonly ReadOnlyForceRecursive?: boolean;
  };
  readonly VolumeOptions?: {
    readonly NoCopy?: boolean;
    readonly Labels?: Labels;
    readonly Subpath?: string;
    readonly DriverConfig?: { readonly Name?: string; readonly Options?: Labels };
  };
  readonly TmpfsOptions?: {
    readonly SizeBytes?: number;
    readonly Mode?: number;
    readonly Options?: readonly (readonly string[])[];
  };
}

/** `Mode` is the decimal of an octal file mode (0444 = 292). */
export interface FileTarget {
  readonly Name: string;
  readonly UID: string;
  readonly GID: string;
  readonly Mode: number;
}

export interface SecretReference {
  readonly File?: FileTarget;
  readonly SecretID: string;
  readonly SecretName: string;
}

export interface ConfigReference {
  readonly File?: FileTarget;
  readonly Runtime?: Readonly<Record<string, never>>;
  readonly ConfigID: string;
  readonly ConfigName: string;
}

export interface ResourceRequirements {
  readonly Limits?: { readonly NanoCPUs?: number; readonly MemoryBytes?: number; readonly Pids?: number };
  readonly Reservations?: Resources;
}

export interface Resources {
  readonly NanoCPUs?: number;
  readonly MemoryBytes?: number;
  readonly GenericResources?: readonly GenericResource[];
}

export interface GenericResource {
  readonly DiscreteResourceSpec?: { readonly Kind: string; readonly Value: number };
  readonly NamedResourceSpec?: { readonly Kind: string; readonly Value: string };
}

export interface RestartPolicy {
  readonly Condition?: string;
  readonly Delay?: number;
  readonly MaxAttempts?: number;
  readonly Window?: number;
}

export interface Placement {
  readonly Constraints?: readonly string[];
  readonly Preferences?: readonly { readonly Spread?: { readonly SpreadDescriptor: string } }[];
  readonly MaxReplicas?: number;
  readonly Platforms?: readonly Platform[];
}

export interface Platform {
  readonly Architecture?: string;
  readonly OS?: string;
}

export interface NetworkAttachmentConfig {
  readonly Target: string;
  readonly Aliases?: readonly string[];
  readonly DriverOpts?: Labels;
}

export interface EndpointSpec {
  readonly Mode?: string;
  readonly Ports?: readonly PortConfig[];
}

export interface PortConfig {
  readonly Name?: string;
  readonly Protocol?: string;
  readonly TargetPort: number;
  readonly PublishedPort?: number;
  readonly PublishMode?: string;
  /** Ours: publish on this address of the hosts only. */
  readonly HostIP?: string;
  /** Ours, of ingress ports: what the container sees as the client's address; `preserve` when absent. */
  readonly Source?: 'preserve' | 'masquerade' | 'local';
}

export interface NodeSpec {
  readonly Name?: string;
  readonly Labels: Labels;
  readonly Role: NodeRole;
  readonly Availability: Availability;
}

export type NodeRole = 'worker' | 'manager';
export type Availability = 'active' | 'pause' | 'drain';

export interface SecretSpec {
  readonly Name: string;
  readonly Labels: Labels;
  /** Base64. Never leaves the managers but to agents whose tasks use it. */
  readonly Data: string;
  readonly Driver?: { readonly Name: string; readonly Options?: Labels };
  readonly Templating?: { readonly Name: string; readonly Options?: Labels };
}

export interface ConfigSpec {
  readonly Name: string;
  readonly Labels: Labels;
  readonly Data: string;
  readonly Templating?: { readonly Name: string; readonly Options?: Labels };
}

/** The cluster's settings, Docker's SwarmSpec. Times in nanoseconds, as Docker has them. */
export interface ClusterSpec {
  readonly Name: string;
  readonly Labels: Labels;
  readonly Orchestration: { readonly TaskHistoryRetentionLimit: number };
  readonly Raft: {
    readonly SnapshotInterval: number;
    readonly KeepOldSnapshots: number;
    readonly LogEntriesForSlowFollowers: number;
    readonly ElectionTick: number;
    readonly HeartbeatTick: number;
  };
  readonly Dispatcher: { readonly HeartbeatPeriod: number };
  readonly CAConfig: { readonly NodeCertExpiry: number };
  readonly TaskDefaults: { readonly LogDriver?: { readonly Name?: string; readonly Options?: Labels } };
  readonly EncryptionConfig: { readonly AutoLockManagers: boolean };
}

/** A network as users ask for it; `manager/controlapi/network.ts` says what is refused. */
export interface NetworkSpec {
  readonly Name: string;
  readonly Labels: Labels;
  readonly Driver: string;
  readonly Attachable?: boolean;
  readonly Internal?: boolean;
  readonly Ingress?: boolean;
  readonly ConfigOnly?: boolean;
  readonly ConfigFrom?: { readonly Network?: string };
  readonly EnableIPv4?: boolean;
  readonly EnableIPv6?: boolean;
  readonly Scope?: string;
  readonly Options?: Labels;
  readonly IPAM?: {
    readonly Driver?: string;
    readonly Options?: Labels;
    readonly Config?: readonly IpamConfig[];
  };
}

export interface IpamConfig {
  readonly Subnet?: string;
  readonly IPRange?: string;
  readonly Gateway?: string;
  /** Name → address that is never given out. */
  readonly AuxiliaryAddresses?: Labels;
}
