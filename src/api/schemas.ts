/** Docker's request bodies: which keys there are and what they hold. */
import type { PlannedService, PlanRequest } from '../model/control.ts';
import type {
  ClusterSpec,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  DnsConfig,
  EndpointSpec,
  FileTarget,
  GenericResource,
  Healthcheck,
  IpamConfig,
  Mount,
  NetworkAttachmentConfig,
  NetworkSpec,
  NodeSpec,
  Placement,
  Platform,
  PortConfig,
  Privileges,
  ResourceRequirements,
  Resources,
  RestartPolicy,
  SecretReference,
  SecretSpec,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
  Ulimit,
  UpdateConfig,
} from '../model/spec.ts';
import {
  base64,
  boolean,
  type Decoder,
  float,
  integer,
  labels,
  list,
  literal,
  map,
  object,
  record,
  string,
  unsigned,
} from './decode.ts';

const empty = object<Record<string, never>>({});
const strings = list(string);
const driver = object<{ readonly Name?: string; readonly Options?: Readonly<Record<string, string>> }>({
  Name: string,
  Options: labels,
});
type NamedDriver = { readonly Name: string; readonly Options?: Readonly<Record<string, string>> };
const namedDriver = object<NamedDriver>({ Name: string, Options: labels }, { defaults: { Name: '' } });

const healthcheck = object<Healthcheck>({
  Test: strings,
  Interval: integer,
  Timeout: integer,
  StartPeriod: integer,
  StartInterval: integer,
  Retries: integer,
});
const dns = object<DnsConfig>({ Nameservers: strings, Search: strings, Options: strings });
const ulimit = object<Ulimit>(
  { Name: string, Hard: integer, Soft: integer },
  { defaults: { Name: '', Hard: 0, Soft: 0 } },
);
const privileges = object<Privileges>({
  CredentialSpec: record,
  SELinuxContext: record,
  Seccomp: object<NonNullable<Privileges['Seccomp']>>({ Mode: string, Profile: string }),
  AppArmor: object<NonNullable<Privileges['AppArmor']>>({ Mode: string }),
  NoNewPrivileges: boolean,
});

const mount = object<Mount>(
  {
    Type: string,
    Source: string,
    Target: string,
    ReadOnly: boolean,
    Consistency: string,
    BindOptions: object<NonNullable<Mount['BindOptions']>>({
      Propagation: string,
      NonRecursive: boolean,
      CreateMountpoint: boolean,
      ReadOnlyNonRecursive: boolean,
      ReadOnlyForceRecursive: boolean,
    }),
    VolumeOptions: object<NonNullable<Mount['VolumeOptions']>>({
      NoCopy: boolean,
      Labels: labels,
      Subpath: string,
      DriverConfig: driver,
    }),
    TmpfsOptions: object<NonNullable<Mount['TmpfsOptions']>>({
      SizeBytes: integer,
      Mode: unsigned,
      Options: list(strings),
    }),
  },
  {
    defaults: { Type: '', Target: '' },
    refused: { ImageOptions: 'image mounts are', ClusterOptions: 'cluster mounts are' },
  },
);

const fileTarget = object<FileTarget>(
  { Name: string, UID: string, GID: string, Mode: unsigned },
  { defaults: { Name: '', UID: '0', GID: '0', Mode: 0 } },
);
const secretReference = object<SecretReference>(
  { File: fileTarget, SecretID: string, SecretName: string },
  { defaults: { SecretID: '', SecretName: '' } },
);
const configReference = object<ConfigReference>(
  { File: fileTarget, Runtime: empty, ConfigID: string, ConfigName: string },
  { defaults: { ConfigID: '', ConfigName: '' } },
);

const containerSpec = object<ContainerSpec>(
  {
    Image: string,
    Labels: labels,
    Command: strings,
    Args: strings,
    Hostname: string,
    Env: strings,
    Dir: string,
    User: string,
    Groups: strings,
    Init: boolean,
    StopSignal: string,
    TTY: boolean,
    OpenStdin: boolean,
    ReadOnly: boolean,
    Mounts: list(mount),
    StopGracePeriod: integer,
    Healthcheck: healthcheck,
    Hosts: strings,
    DNSConfig: dns,
    Secrets: list(secretReference),
    Configs: list(configReference),
    Isolation: string,
    Sysctls: labels,
    CapabilityAdd: strings,
    CapabilityDrop: strings,
    Ulimits: list(ulimit),
    OomScoreAdj: integer,
    Privileges: privileges,
  },
  { defaults: { Image: '' } },
);

const discrete = object<NonNullable<GenericResource['DiscreteResourceSpec']>>(
  { Kind: string, Value: integer },
  { defaults: { Kind: '', Value: 0 } },
);
const named = object<NonNullable<GenericResource['NamedResourceSpec']>>(
  { Kind: string, Value: string },
  { defaults: { Kind: '', Value: '' } },
);
const genericResource = object<GenericResource>({ DiscreteResourceSpec: discrete, NamedResourceSpec: named });
const swap = { SwapBytes: 'swap limits are', MemorySwappiness: 'swap settings are' };
const resources = object<ResourceRequirements>(
  {
    Limits: object<NonNullable<ResourceRequirements['Limits']>>({
      NanoCPUs: integer,
      MemoryBytes: integer,
      Pids: integer,
    }),
    Reservations: object<Resources>({
      NanoCPUs: integer,
      MemoryBytes: integer,
      GenericResources: list(genericResource),
    }),
  },
  { refused: swap },
);
const restartPolicy = object<RestartPolicy>({
  Condition: string,
  Delay: integer,
  MaxAttempts: unsigned,
  Window: integer,
});
type Preference = NonNullable<Placement['Preferences']>[number];
const spread = object<NonNullable<Preference['Spread']>>(
  { SpreadDescriptor: string },
  { defaults: { SpreadDescriptor: '' } },
);
const placement = object<Placement>({
  Constraints: strings,
  Preferences: list(object<Preference>({ Spread: spread })),
  MaxReplicas: unsigned,
  Platforms: list(object<Platform>({ Architecture: string, OS: string })),
});
const attachment = object<NetworkAttachmentConfig>(
  { Target: string, Aliases: strings, DriverOpts: labels },
  { defaults: { Target: '' } },
);

const taskSpec = object<TaskSpec>(
  {
    ContainerSpec: containerSpec,
    Resources: resources,
    RestartPolicy: restartPolicy,
    Placement: placement,
    Networks: list(attachment),
    LogDriver: driver,
    ForceUpdate: unsigned,
    Runtime: string,
  },
  {
    defaults: { ContainerSpec: { Image: '' } },
    refused: { PluginSpec: 'plugin services are', NetworkAttachmentSpec: 'network attachment tasks are' },
  },
);

const updateConfig = object<UpdateConfig>(
  {
    Parallelism: unsigned,
    Delay: integer,
    FailureAction: string,
    Monitor: integer,
    MaxFailureRatio: float,
    Order: string,
  },
  { defaults: { Parallelism: 0 } },
);
const port = object<PortConfig>(
  {
    Name: string,
    Protocol: string,
    TargetPort: integer,
    PublishedPort: integer,
    PublishMode: string,
    HostIP: string,
    Source: literal<NonNullable<PortConfig['Source']>>(),
  },
  { defaults: { TargetPort: 0 } },
);
const mode = object<ServiceMode>({
  Replicated: object<NonNullable<ServiceMode['Replicated']>>({ Replicas: unsigned }),
  Global: empty,
  ReplicatedJob: object<NonNullable<ServiceMode['ReplicatedJob']>>({
    MaxConcurrent: unsigned,
    TotalCompletions: unsigned,
  }),
  GlobalJob: empty,
});

type ServiceBody = ServiceSpec & { readonly Networks?: readonly NetworkAttachmentConfig[] };

const emptyService = { Name: '', Labels: {}, Mode: {}, TaskTemplate: { ContainerSpec: { Image: '' } } };

const serviceBody = object<ServiceBody>(
  {
    Name: string,
    Labels: labels,
    TaskTemplate: taskSpec,
    Mode: mode,
    UpdateConfig: updateConfig,
    RollbackConfig: updateConfig,
    EndpointSpec: object<EndpointSpec>({ Mode: string, Ports: list(port) }),
    Networks: list(attachment),
  },
  { defaults: emptyService },
);

/** `Networks` beside the task template is the old place for them. */
export const serviceSpec: Decoder<ServiceSpec> = (value, path) => {
  const { Networks, ...spec } = serviceBody(value, path);
  const template = spec.TaskTemplate;
  if (Networks === undefined || (template.Networks ?? []).length > 0) return spec;
  return { ...spec, TaskTemplate: { ...template, Networks } };
};

export const nodeSpec = object<NodeSpec>(
  {
    Name: string,
    Labels: labels,
    Role: literal<NodeSpec['Role']>(),
    Availability: literal<NodeSpec['Availability']>(),
  },
  { defaults: { Labels: {} } },
);

export const secretSpec = object<SecretSpec>(
  { Name: string, Labels: labels, Data: base64, Driver: namedDriver, Templating: namedDriver },
  { defaults: { Name: '', Labels: {}, Data: '' } },
);

export const configSpec = object<ConfigSpec>(
  { Name: string, Labels: labels, Data: base64, Templating: namedDriver },
  { defaults: { Name: '', Labels: {}, Data: '' } },
);

export const networkSpec = object<NetworkSpec>(
  {
    Name: string,
    Labels: labels,
    Driver: string,
    Attachable: boolean,
    Internal: boolean,
    Ingress: boolean,
    ConfigOnly: boolean,
    ConfigFrom: object<NonNullable<NetworkSpec['ConfigFrom']>>({ Network: string }),
    EnableIPv4: boolean,
    EnableIPv6: boolean,
    Scope: string,
    Options: labels,
    IPAM: object<NonNullable<NetworkSpec['IPAM']>>({
      Driver: string,
      Options: labels,
      Config: list(
        object<IpamConfig>({ Subnet: string, IPRange: string, Gateway: string, AuxiliaryAddresses: labels }),
      ),
    }),
  },
  { defaults: { Name: '', Labels: {}, Driver: 'bridge' } },
);

/** Every part may be missing: what is missing, or zero, keeps its value. */
export type PartialClusterSpec = { readonly [K in keyof ClusterSpec]?: Partial<ClusterSpec[K]> };

export const planBody = object<PlanRequest>({
  networks: list(networkSpec),
  secrets: list(secretSpec),
  configs: list(configSpec),
  services: list(object<PlannedService>({ id: string, spec: serviceSpec }, { defaults: { spec: emptyService } })),
});

export const clusterSpec = object<PartialClusterSpec>({
  Name: string,
  Labels: map(string),
  Orchestration: object<Partial<ClusterSpec['Orchestration']>>({ TaskHistoryRetentionLimit: integer }),
  Raft: object<Partial<ClusterSpec['Raft']>>({
    SnapshotInterval: unsigned,
    KeepOldSnapshots: unsigned,
    LogEntriesForSlowFollowers: unsigned,
    ElectionTick: integer,
    HeartbeatTick: integer,
  }),
  Dispatcher: object<Partial<ClusterSpec['Dispatcher']>>({ HeartbeatPeriod: integer }),
  CAConfig: object<Partial<ClusterSpec['CAConfig']>>(
    { NodeCertExpiry: integer },
    {
      refused: {
        ExternalCAs: 'external CAs are',
        ForceRotate: 'rotation of the root CA is',
        SigningCACert: 'a root CA of your own is',
        SigningCAKey: 'a root CA of your own is',
      },
    },
  ),
  TaskDefaults: object<ClusterSpec['TaskDefaults']>({ LogDriver: driver }),
  EncryptionConfig: object<Partial<ClusterSpec['EncryptionConfig']>>({ AutoLockManagers: boolean }),
});

export interface SwarmInitBody {
  readonly ListenAddr: string;
  readonly AdvertiseAddr: string;
  readonly DataPathAddr: string;
  readonly DataPathPort: number;
  readonly ForceNewCluster: boolean;
  readonly AutoLockManagers: boolean;
  readonly Availability: string;
  readonly DefaultAddrPool: readonly string[];
  readonly SubnetSize: number;
  readonly Spec: PartialClusterSpec;
  readonly TsCluster: { readonly GatewayPools?: readonly string[]; readonly IngressPool?: string };
}

export const swarmInitBody = object<SwarmInitBody>(
  {
    ListenAddr: string,
    AdvertiseAddr: string,
    DataPathAddr: string,
    DataPathPort: unsigned,
    ForceNewCluster: boolean,
    AutoLockManagers: boolean,
    Availability: string,
    DefaultAddrPool: strings,
    SubnetSize: unsigned,
    Spec: clusterSpec,
    TsCluster: object<SwarmInitBody['TsCluster']>({ GatewayPools: strings, IngressPool: string }),
  },
  {
    defaults: {
      ListenAddr: '',
      AdvertiseAddr: '',
      DataPathAddr: '',
      DataPathPort: 0,
      ForceNewCluster: false,
      AutoLockManagers: false,
      Availability: '',
      DefaultAddrPool: [],
      SubnetSize: 0,
      Spec: {},
      TsCluster: {},
    },
  },
);

export interface SwarmJoinBody {
  readonly ListenAddr: string;
  readonly AdvertiseAddr: string;
  readonly DataPathAddr: string;
  readonly RemoteAddrs: readonly string[];
  readonly JoinToken: string;
  readonly Availability: string;
}

export const swarmJoinBody = object<SwarmJoinBody>(
  {
    ListenAddr: string,
    AdvertiseAddr: string,
    DataPathAddr: string,
    RemoteAddrs: strings,
    JoinToken: string,
    Availability: string,
  },
  {
    defaults: { ListenAddr: '', AdvertiseAddr: '', DataPathAddr: '', RemoteAddrs: [], JoinToken: '', Availability: '' },
  },
);
