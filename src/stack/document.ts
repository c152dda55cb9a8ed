/** A stack file after checking and long forms: what the converter reads. Field names are Compose's. */
export interface StackFile {
  readonly version: string;
  readonly services: Readonly<Record<string, ServiceEntry>>;
  readonly networks: Readonly<Record<string, NetworkEntry>>;
  readonly volumes: Readonly<Record<string, VolumeEntry>>;
  readonly secrets: Readonly<Record<string, FileEntry>>;
  readonly configs: Readonly<Record<string, FileEntry>>;
}

export type Pairs = Readonly<Record<string, string>>;
/** A name without a value takes it from the environment of the command. */
export type Environment = Readonly<Record<string, string | null>>;
/** Plain YAML data. */
export type Data = Readonly<Record<string, unknown>>;

export interface ServiceEntry {
  readonly [key: string]: unknown;
  readonly image?: string;
  readonly environment?: Environment;
  readonly env_file?: readonly string[];
  readonly labels?: Pairs;
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly ports?: readonly PortEntry[];
  readonly volumes?: readonly VolumeUse[];
  readonly networks?: Readonly<Record<string, NetworkUse | null>>;
  readonly secrets?: readonly FileUse[];
  readonly configs?: readonly FileUse[];
  readonly deploy?: Deploy;
  readonly healthcheck?: HealthEntry;
  readonly ulimits?: Readonly<Record<string, number | { readonly soft: number; readonly hard: number }>>;
  readonly logging?: { readonly driver?: string; readonly options?: Pairs };
  readonly extra_hosts?: readonly string[];
  readonly sysctls?: Pairs;
  readonly dns?: readonly string[];
  readonly dns_search?: readonly string[];
  readonly dns_opt?: readonly string[];
  readonly network_mode?: string;
  readonly cap_add?: readonly string[];
  readonly cap_drop?: readonly string[];
  readonly hostname?: string;
  readonly user?: string;
  readonly working_dir?: string;
  readonly tty?: boolean;
  readonly stdin_open?: boolean;
  readonly read_only?: boolean;
  readonly init?: boolean;
  readonly isolation?: string;
  readonly stop_signal?: string;
  readonly stop_grace_period?: string;
  readonly oom_score_adj?: number;
  readonly restart?: string;
  readonly credential_spec?: { readonly config?: string; readonly file?: string; readonly registry?: string };
}

export interface PortEntry {
  readonly name?: string;
  readonly target: number;
  readonly published?: number;
  readonly protocol?: string;
  readonly mode?: string;
  readonly host_ip?: string;
  /** Ours: what the container sees as the client's address. */
  readonly source?: string;
}

export interface VolumeUse {
  readonly type: string;
  readonly source?: string;
  readonly target: string;
  readonly read_only?: boolean;
  readonly consistency?: string;
  readonly bind?: { readonly propagation?: string };
  readonly volume?: { readonly nocopy?: boolean; readonly subpath?: string };
  readonly tmpfs?: { readonly size?: number };
}

export interface NetworkUse {
  readonly aliases?: readonly string[];
  readonly driver_opts?: Pairs;
}

export interface FileUse {
  readonly source: string;
  readonly target?: string;
  readonly uid?: string;
  readonly gid?: string;
  readonly mode?: number;
}

export interface Deploy {
  readonly mode?: string;
  readonly replicas?: number;
  readonly endpoint_mode?: string;
  readonly labels?: Pairs;
  readonly update_config?: UpdateEntry;
  readonly rollback_config?: UpdateEntry;
  readonly restart_policy?: {
    readonly condition?: string;
    readonly delay?: string;
    readonly max_attempts?: number;
    readonly window?: string;
  };
  readonly placement?: {
    readonly constraints?: readonly string[];
    readonly preferences?: readonly { readonly spread?: string }[];
    readonly max_replicas_per_node?: number;
  };
  readonly resources?: {
    readonly limits?: { readonly cpus?: string; readonly memory?: string; readonly pids?: number };
    readonly reservations?: {
      readonly cpus?: string;
      readonly memory?: string;
      readonly generic_resources?: readonly {
        readonly discrete_resource_spec?: { readonly kind: string; readonly value: number };
      }[];
    };
  };
}

export interface UpdateEntry {
  readonly parallelism?: number;
  readonly delay?: string;
  readonly failure_action?: string;
  readonly monitor?: string;
  readonly max_failure_ratio?: number;
  readonly order?: string;
}

export interface HealthEntry {
  readonly test?: readonly string[];
  readonly disable?: boolean;
  readonly interval?: string;
  readonly timeout?: string;
  readonly start_period?: string;
  readonly start_interval?: string;
  readonly retries?: number;
}

export interface NetworkEntry {
  readonly name?: string;
  readonly external?: boolean;
  readonly driver?: string;
  readonly driver_opts?: Pairs;
  readonly internal?: boolean;
  readonly attachable?: boolean;
  readonly enable_ipv6?: boolean;
  readonly labels?: Pairs;
  readonly ipam?: { readonly driver?: string; readonly options?: Pairs; readonly config?: readonly IpamEntry[] };
}

export interface IpamEntry {
  readonly subnet?: string;
  readonly ip_range?: string;
  readonly gateway?: string;
  readonly aux_addresses?: Pairs;
}

export interface VolumeEntry {
  readonly name?: string;
  readonly external?: boolean;
  readonly driver?: string;
  readonly driver_opts?: Pairs;
  readonly labels?: Pairs;
}

/** A secret or a config. */
export interface FileEntry {
  readonly name?: string;
  readonly external?: boolean;
  readonly file?: string;
  readonly labels?: Pairs;
  readonly driver?: string;
  readonly driver_opts?: Pairs;
  readonly template_driver?: string;
}

export function isData(value: unknown): value is Data {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
