/** `service create` flags → service spec, key for key what Docker's client posts. Pure. */
import { ClusterError } from '../../lib/errors.ts';
import type {
  ContainerSpec,
  GenericResource,
  Mount,
  NetworkAttachmentConfig,
  PortConfig,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
  Ulimit,
} from '../../model/spec.ts';
import { effectiveCapabilities, splitWords } from '../../stack/values.ts';
import { labelMap } from '../options.ts';
import type { CommonFlags } from './flags.ts';
import { withDefaultTag } from './image.ts';
import { type FileReference, parseCredentialSpec } from './parse-values.ts';
import { defined, flagLabels, healthcheck, logDriver, resources, restartPolicy, updateConfig } from './policies.ts';

export interface CreateFlags extends CommonFlags {
  readonly config?: FileReference[];
  readonly constraint?: string[];
  readonly containerLabel?: string[];
  readonly dns?: string[];
  readonly dnsOption?: string[];
  readonly dnsSearch?: string[];
  readonly env?: string[];
  readonly envFile?: string[];
  readonly genericResource?: GenericResource[];
  readonly group?: string[];
  readonly host?: string[];
  readonly label?: string[];
  readonly mode?: string;
  readonly mount?: Mount[];
  readonly name?: string;
  readonly network?: NetworkAttachmentConfig[];
  readonly placementPref?: string[];
  readonly publish?: PortConfig[][];
  readonly secret?: FileReference[];
  readonly sysctl?: string[];
  readonly ulimit?: Ulimit[];
}

export interface CreateInput {
  readonly image: string;
  readonly args: readonly string[];
  readonly flags: CreateFlags;
  /** Lines of the files named by `--env-file`, already read. */
  readonly envFileLines: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** Secrets, configs and networks are still to be resolved by the caller. */
export function createSpec(input: CreateInput): ServiceSpec {
  const { flags } = input;
  const update = updateConfig(flags, 'update', undefined);
  const rollback = updateConfig(flags, 'rollback', undefined);
  const mode = serviceMode(flags);
  if ((mode.ReplicatedJob ?? mode.GlobalJob) !== undefined && (update ?? rollback) !== undefined) {
    throw new ClusterError('invalid', 'update and rollback configuration is not supported for jobs');
  }
  const ports = (flags.publish ?? []).flat();
  return {
    Name: flags.name ?? '',
    Labels: { ...labelMap(flags.label), ...flagLabels(flags) },
    TaskTemplate: taskSpec(input),
    Mode: mode,
    ...(update === undefined ? {} : { UpdateConfig: update }),
    ...(rollback === undefined ? {} : { RollbackConfig: rollback }),
    EndpointSpec: { Mode: flags.endpointMode ?? 'vip', ...(ports.length > 0 ? { Ports: ports } : {}) },
  };
}

function serviceMode(flags: CreateFlags): ServiceMode {
  const { mode = 'replicated', replicas, maxConcurrent, replicasMaxPerNode } = flags;
  if (maxConcurrent !== undefined && mode !== 'replicated-job') {
    throw new ClusterError('invalid', 'max-concurrent can only be used with replicated-job mode');
  }
  switch (mode) {
    case 'replicated':
      return { Replicated: replicas === undefined ? {} : { Replicas: replicas } };
    case 'replicated-job':
      return { ReplicatedJob: { MaxConcurrent: maxConcurrent ?? replicas ?? 1, TotalCompletions: replicas ?? 1 } };
    case 'global':
    case 'global-job':
      if (replicas !== undefined)
        throw new ClusterError('invalid', 'replicas can only be used with replicated or replicated-job mode');
      if ((replicasMaxPerNode ?? 0) > 0) {
        throw new ClusterError(
          'invalid',
          'replicas-max-per-node can only be used with replicated or replicated-job mode',
        );
      }
      return mode === 'global' ? { Global: {} } : { GlobalJob: {} };
    default:
      throw new ClusterError('invalid', `Unknown mode: ${mode}, only replicated and global supported`);
  }
}

function taskSpec(input: CreateInput): TaskSpec {
  const { flags } = input;
  const restart = restartPolicy(flags, undefined);
  const driver = logDriver(flags, undefined);
  const base = resources(flags, undefined);
  const generic = flags.genericResource ?? [];
  return {
    ContainerSpec: containerSpec(input),
    Resources:
      generic.length > 0 ? { ...base, Reservations: { ...base.Reservations, GenericResources: generic } } : base,
    ...(restart === undefined ? {} : { RestartPolicy: restart }),
    Placement: {
      ...listPart('Constraints', flags.constraint),
      ...listPart(
        'Preferences',
        (flags.placementPref ?? []).map((descriptor) => ({ Spread: { SpreadDescriptor: descriptor } })),
      ),
      ...((flags.replicasMaxPerNode ?? 0) > 0 ? { MaxReplicas: flags.replicasMaxPerNode ?? 0 } : {}),
    },
    ...listPart('Networks', flags.network),
    ...(driver === undefined ? {} : { LogDriver: driver }),
    ForceUpdate: 0,
  };
}

function containerSpec(input: CreateInput): ContainerSpec {
  const { flags } = input;
  const health = healthcheck(flags, undefined);
  const capabilities = effectiveCapabilities(flags.capAdd ?? [], flags.capDrop ?? []);
  return {
    Image: withDefaultTag(input.image),
    ...mapPart('Labels', flags.containerLabel),
    ...(flags.entrypoint === undefined ? {} : { Command: splitWords(flags.entrypoint) }),
    ...listPart('Args', input.args),
    ...listPart('Env', environmentOf(input)),
    ...defined({
      Hostname: flags.hostname,
      Dir: flags.workdir,
      User: flags.user,
      StopSignal: flags.stopSignal,
      StopGracePeriod: flags.stopGracePeriod,
      Isolation: flags.isolation,
      OomScoreAdj: flags.oomScoreAdj,
      Healthcheck: health,
    }),
    ...listPart('Groups', flags.group),
    Init: flags.init ?? false,
    ...(flags.tty === true ? { TTY: true } : {}),
    ...(flags.readOnly === true ? { ReadOnly: true } : {}),
    ...listPart('Mounts', flags.mount),
    ...listPart('Hosts', flags.host),
    DNSConfig: {
      ...listPart('Nameservers', flags.dns),
      ...listPart('Search', flags.dnsSearch),
      ...listPart('Options', flags.dnsOption),
    },
    ...mapPart('Sysctls', flags.sysctl),
    ...listPart('CapabilityAdd', capabilities.add),
    ...listPart('CapabilityDrop', capabilities.drop),
    ...listPart('Ulimits', flags.ulimit),
    ...(flags.credentialSpec === undefined
      ? {}
      : { Privileges: { CredentialSpec: parseCredentialSpec(flags.credentialSpec) } }),
  };
}

/** Files first, then flags; the last value of a name wins. A bare name takes the value of this process. */
export function environmentOf(input: Pick<CreateInput, 'flags' | 'envFileLines' | 'environment'>): string[] {
  const values = new Map<string, string>();
  for (const entry of [...input.envFileLines, ...(input.flags.env ?? [])]) {
    const resolved = resolveEnv(entry, input.environment);
    values.set(resolved.split('=', 1)[0] ?? '', resolved);
  }
  return [...values.values()];
}

export function resolveEnv(entry: string, environment: Readonly<Record<string, string | undefined>>): string {
  if (entry === '' || entry.startsWith('='))
    throw new ClusterError('invalid', `invalid environment variable: ${entry}`);
  if (entry.includes('=')) return entry;
  const own = environment[entry];
  return own === undefined ? entry : `${entry}=${own}`;
}

type Part<K extends string, V> = { readonly [P in K]?: V };

/** The key with its list, or nothing for an empty list: Docker leaves empty lists out. */
export function listPart<K extends string, T>(key: K, list: readonly T[] | undefined): Part<K, readonly T[]> {
  return list === undefined || list.length === 0 ? {} : ({ [key]: list } as Part<K, readonly T[]>);
}

function mapPart<K extends string>(key: K, pairs: readonly string[] | undefined): Part<K, Record<string, string>> {
  return pairs === undefined || pairs.length === 0
    ? {}
    : ({ [key]: labelMap(pairs) } as Part<K, Record<string, string>>);
}
