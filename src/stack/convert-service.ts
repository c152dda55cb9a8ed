import { ClusterError } from '../lib/errors.ts';
import type {
  ConfigReference,
  ContainerSpec,
  EndpointSpec,
  Healthcheck,
  PortConfig,
  ResourceRequirements,
  Resources,
  RestartPolicy,
  SecretReference,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
  Ulimit,
  UpdateConfig,
} from '../model/spec.ts';
import { attachments } from './attachments.ts';
import { convertMount } from './convert-mount.ts';
import type { Deploy, FileEntry, FileUse, PortEntry, ServiceEntry, UpdateEntry } from './document.ts';
import { type ConvertInput, imageLabel, scopedName, stackLabels } from './names.ts';
import { checkHostIp, checkSource } from './ports.ts';
import { effectiveCapabilities, parseBytes, parseCpus, parseDuration } from './values.ts';

export function convertService(key: string, input: ConvertInput): ServiceSpec {
  const entry = input.file.services[key] ?? {};
  if ((entry.image ?? '') === '') {
    throw new ClusterError('invalid', `invalid image reference for service ${key}: no image specified`);
  }
  const deploy = entry.deploy ?? {};
  const update = updateConfig(deploy.update_config);
  const rollback = updateConfig(deploy.rollback_config);
  return {
    Name: `${input.stack}_${key}`,
    Labels: { ...stackLabels(input.stack, deploy.labels), [imageLabel]: entry.image ?? '' },
    TaskTemplate: taskSpec(key, entry, input),
    Mode: serviceMode(deploy),
    ...(update === undefined ? {} : { UpdateConfig: update }),
    ...(rollback === undefined ? {} : { RollbackConfig: rollback }),
    EndpointSpec: endpoint(entry),
  };
}

function serviceMode({ mode = 'replicated', replicas }: Deploy): ServiceMode {
  switch (mode) {
    case 'replicated':
    case '':
      return { Replicated: replicas === undefined ? {} : { Replicas: replicas } };
    case 'replicated-job':
      return { ReplicatedJob: replicas === undefined ? {} : { MaxConcurrent: replicas, TotalCompletions: replicas } };
    case 'global':
    case 'global-job':
      if (replicas !== undefined)
        throw new ClusterError('invalid', 'replicas can only be used with replicated or replicated-job mode');
      return mode === 'global' ? { Global: {} } : { GlobalJob: {} };
    default:
      throw new ClusterError('invalid', `Unknown mode: ${mode}`);
  }
}

function updateConfig(entry: UpdateEntry | undefined): UpdateConfig | undefined {
  if (entry === undefined) return undefined;
  return {
    Parallelism: entry.parallelism ?? 1,
    ...(entry.delay === undefined ? {} : { Delay: parseDuration(entry.delay) }),
    ...(entry.failure_action === undefined ? {} : { FailureAction: entry.failure_action }),
    ...(entry.monitor === undefined ? {} : { Monitor: parseDuration(entry.monitor) }),
    ...(entry.max_failure_ratio === undefined ? {} : { MaxFailureRatio: entry.max_failure_ratio }),
    ...(entry.order === undefined ? {} : { Order: entry.order }),
  };
}

function endpoint(entry: ServiceEntry): EndpointSpec {
  const ports = (entry.ports ?? []).map(
    (port): PortConfig => ({
      ...(port.name === undefined ? {} : { Name: port.name }),
      Protocol: port.protocol ?? 'tcp',
      TargetPort: port.target,
      ...(port.published === undefined ? {} : { PublishedPort: port.published }),
      PublishMode: port.mode ?? 'ingress',
      ...hostIp(port),
      ...(port.source === undefined ? {} : { Source: checkSource(port.source) }),
    }),
  );
  ports.sort((a, b) => (a.PublishedPort ?? 0) - (b.PublishedPort ?? 0));
  const mode = entry.deploy?.endpoint_mode;
  return { ...(mode === undefined ? {} : { Mode: mode }), ...(ports.length > 0 ? { Ports: ports } : {}) };
}

function hostIp({ host_ip: text = '' }: PortEntry): Pick<PortConfig, 'HostIP'> {
  const address = text === '' ? '' : checkHostIp(text);
  return address === '' ? {} : { HostIP: address };
}

function taskSpec(key: string, entry: ServiceEntry, input: ConvertInput): TaskSpec {
  const restart = restartPolicy(entry);
  const placement = entry.deploy?.placement;
  const networks = attachments(key, entry, input);
  return {
    ContainerSpec: containerSpec(key, entry, input),
    Resources: resources(entry.deploy),
    ...(restart === undefined ? {} : { RestartPolicy: restart }),
    Placement: {
      ...list('Constraints', placement?.constraints),
      ...list(
        'Preferences',
        placement?.preferences?.map(({ spread }) => ({ Spread: { SpreadDescriptor: spread ?? '' } })),
      ),
      ...((placement?.max_replicas_per_node ?? 0) > 0 ? { MaxReplicas: placement?.max_replicas_per_node ?? 0 } : {}),
    },
    ...list('Networks', networks),
    ...(entry.logging === undefined
      ? {}
      : {
          LogDriver: {
            ...(entry.logging.driver === undefined ? {} : { Name: entry.logging.driver }),
            Options: entry.logging.options ?? {},
          },
        }),
    ForceUpdate: 0,
  };
}

function containerSpec(key: string, entry: ServiceEntry, input: ConvertInput): ContainerSpec {
  const health = healthcheck(key, entry);
  const capabilities = effectiveCapabilities(entry.cap_add ?? [], entry.cap_drop ?? []);
  const dns = {
    ...list('Nameservers', entry.dns),
    ...list('Search', entry.dns_search),
    ...list('Options', entry.dns_opt),
  };
  return {
    Image: entry.image ?? '',
    Labels: stackLabels(input.stack, entry.labels),
    ...list('Command', entry.entrypoint),
    ...list('Args', entry.command),
    ...(entry.hostname === undefined ? {} : { Hostname: entry.hostname }),
    ...list('Env', environment(key, entry, input)),
    ...(entry.working_dir === undefined ? {} : { Dir: entry.working_dir }),
    ...(entry.user === undefined ? {} : { User: entry.user }),
    ...(entry.init === undefined ? {} : { Init: entry.init }),
    ...(entry.stop_signal === undefined ? {} : { StopSignal: entry.stop_signal }),
    ...(entry.tty === true ? { TTY: true } : {}),
    ...(entry.stdin_open === true ? { OpenStdin: true } : {}),
    ...(entry.read_only === true ? { ReadOnly: true } : {}),
    ...list(
      'Mounts',
      (entry.volumes ?? []).map((use) => convertMount(use, input)),
    ),
    ...(entry.stop_grace_period === undefined ? {} : { StopGracePeriod: parseDuration(entry.stop_grace_period) }),
    ...(health === undefined ? {} : { Healthcheck: health }),
    ...list('Hosts', entry.extra_hosts?.map(hostLine)),
    ...(Object.keys(dns).length > 0 ? { DNSConfig: dns } : {}),
    ...list(
      'Secrets',
      byName(
        entry.secrets?.map((use) => secretReference(use, input)),
        (use) => use.SecretName,
      ),
    ),
    ...list(
      'Configs',
      byName(
        entry.configs?.map((use) => configReference(use, input)),
        (use) => use.ConfigName,
      ),
    ),
    ...(entry.isolation === undefined ? {} : { Isolation: entry.isolation }),
    ...(entry.sysctls === undefined ? {} : { Sysctls: entry.sysctls }),
    ...list('CapabilityAdd', capabilities.add),
    ...list('CapabilityDrop', capabilities.drop),
    ...list('Ulimits', ulimits(entry)),
    ...(entry.oom_score_adj === undefined ? {} : { OomScoreAdj: entry.oom_score_adj }),
    ...(entry.credential_spec === undefined
      ? {}
      : { Privileges: { CredentialSpec: credentialSpec(entry.credential_spec) } }),
  };
}

function credentialSpec(entry: NonNullable<ServiceEntry['credential_spec']>): Record<string, string> {
  const named = { Config: entry.config, File: entry.file, Registry: entry.registry };
  return Object.fromEntries(
    Object.entries(named).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}

/** Files first, then `environment`. A name without a value, or with an empty one, takes that of the command's environment. */
function environment(key: string, entry: ServiceEntry, input: ConvertInput): string[] {
  const merged = { ...input.envFiles[key], ...entry.environment };
  return Object.entries(merged)
    .map(([name, value]) => {
      const own = value === null || value === '' ? (input.environment[name] ?? value) : value;
      return own === null ? name : `${name}=${own}`;
    })
    .sort();
}

/** `host:ip` → `ip host`. */
function hostLine(text: string): string {
  const at = text.indexOf(':');
  if (at < 1) throw new ClusterError('invalid', `invalid extra_hosts entry "${text}": use host:ip`);
  return `${text.slice(at + 1)} ${text.slice(0, at)}`;
}

function ulimits(entry: ServiceEntry): Ulimit[] {
  return Object.entries(entry.ulimits ?? {})
    .map(([name, value]) =>
      typeof value === 'number'
        ? { Name: name, Hard: value, Soft: value }
        : { Name: name, Hard: value.hard, Soft: value.soft },
    )
    .sort((a, b) => (a.Name < b.Name ? -1 : 1));
}

function healthcheck(key: string, { healthcheck: entry }: ServiceEntry): Healthcheck | undefined {
  if (entry === undefined) return undefined;
  if (entry.disable === true) {
    if ((entry.test?.length ?? 0) > 0)
      throw new ClusterError('invalid', `services.${key}: test and disable can't be set at the same time`);
    return { Test: ['NONE'] };
  }
  return {
    ...list('Test', entry.test),
    ...(entry.interval === undefined ? {} : { Interval: parseDuration(entry.interval) }),
    ...(entry.timeout === undefined ? {} : { Timeout: parseDuration(entry.timeout) }),
    ...(entry.start_period === undefined ? {} : { StartPeriod: parseDuration(entry.start_period) }),
    ...(entry.start_interval === undefined ? {} : { StartInterval: parseDuration(entry.start_interval) }),
    ...(entry.retries === undefined ? {} : { Retries: entry.retries }),
  };
}

/** `deploy.restart_policy`, or what the key `restart` of single-host files means here. */
function restartPolicy(entry: ServiceEntry): RestartPolicy | undefined {
  const policy = entry.deploy?.restart_policy;
  if (policy !== undefined) {
    return {
      ...(policy.condition === undefined ? {} : { Condition: policy.condition }),
      ...(policy.delay === undefined ? {} : { Delay: parseDuration(policy.delay) }),
      ...(policy.max_attempts === undefined ? {} : { MaxAttempts: policy.max_attempts }),
      ...(policy.window === undefined ? {} : { Window: parseDuration(policy.window) }),
    };
  }
  const match = /^(no|always|unless-stopped|on-failure)(?::(\d+))?$/.exec(entry.restart ?? 'no');
  if (match === null) throw new ClusterError('invalid', `unknown restart policy: ${entry.restart}`);
  if (match[1] === 'no') return undefined;
  if (match[1] !== 'on-failure') return { Condition: 'any' };
  return { Condition: 'on-failure', ...(match[2] === undefined ? {} : { MaxAttempts: Number(match[2]) }) };
}

function resources(deploy: Deploy | undefined): ResourceRequirements {
  const { limits, reservations } = deploy?.resources ?? {};
  const size = (part: { readonly cpus?: string; readonly memory?: string }): Resources => ({
    ...(part.cpus === undefined ? {} : { NanoCPUs: parseCpus(part.cpus) }),
    ...(part.memory === undefined ? {} : { MemoryBytes: parseBytes(part.memory) }),
  });
  const generic = (reservations?.generic_resources ?? []).flatMap(({ discrete_resource_spec: spec }) =>
    spec === undefined ? [] : [{ DiscreteResourceSpec: { Kind: spec.kind, Value: spec.value } }],
  );
  return {
    ...(limits === undefined
      ? {}
      : { Limits: { ...size(limits), ...(limits.pids === undefined ? {} : { Pids: limits.pids }) } }),
    ...(reservations === undefined
      ? {}
      : { Reservations: { ...size(reservations), ...list('GenericResources', generic) } }),
  };
}

/** The order in the file says nothing: sorted, equal files give equal specs. */
function byName<T>(items: readonly T[] | undefined, nameOf: (item: T) => string): T[] {
  return [...(items ?? [])].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0));
}

const readOnlyForAll = 0o444;

function secretReference(use: FileUse, { stack, file }: ConvertInput): SecretReference {
  return {
    File: fileTarget(use),
    SecretID: '',
    SecretName: referenced('secret', use.source, { stack, entries: file.secrets }),
  };
}

function configReference(use: FileUse, { stack, file }: ConvertInput): ConfigReference {
  return {
    File: fileTarget(use),
    ConfigID: '',
    ConfigName: referenced('config', use.source, { stack, entries: file.configs }),
  };
}

function referenced(
  kind: string,
  source: string,
  where: { stack: string; entries: Readonly<Record<string, FileEntry>> },
): string {
  const entry = where.entries[source];
  if (entry === undefined) throw new ClusterError('invalid', `undefined ${kind} "${source}"`);
  return scopedName(where.stack, source, entry);
}

function fileTarget(use: FileUse) {
  return { Name: use.target ?? use.source, UID: use.uid ?? '0', GID: use.gid ?? '0', Mode: use.mode ?? readOnlyForAll };
}

/** The key with its list, or nothing for an empty one. */
function list<K extends string, T>(key: K, items: readonly T[] | undefined): { readonly [P in K]?: readonly T[] } {
  return items === undefined || items.length === 0 ? {} : ({ [key]: items } as { readonly [P in K]?: readonly T[] });
}
