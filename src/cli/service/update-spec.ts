/** `service update` flags applied to the spec as it stands. Pure; references to other objects are resolved by the caller. */
import { ClusterError } from '../../lib/errors.ts';
import type {
  ContainerSpec,
  EndpointSpec,
  GenericResource,
  Labels,
  Mount,
  NetworkAttachmentConfig,
  Placement,
  PortConfig,
  ResourceRequirements,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
  Ulimit,
} from '../../model/spec.ts';
import { parsePublish, splitOnce } from '../../stack/ports.ts';
import { normalizeCapabilities, splitWords } from '../../stack/values.ts';
import { labelMap } from '../options.ts';
import { resolveEnv } from './create-spec.ts';
import type { CommonFlags } from './flags.ts';
import { withDefaultTag } from './image.ts';
import { type FileReference, parseCredentialSpec } from './parse-values.ts';
import { defined, flagLabels, healthcheck, logDriver, resources, restartPolicy, updateConfig } from './policies.ts';

export interface UpdateFlags extends CommonFlags {
  readonly args?: string;
  readonly configAdd?: FileReference[];
  readonly configRm?: string[];
  readonly constraintAdd?: string[];
  readonly constraintRm?: string[];
  readonly containerLabelAdd?: string[];
  readonly containerLabelRm?: string[];
  readonly dnsAdd?: string[];
  readonly dnsRm?: string[];
  readonly dnsOptionAdd?: string[];
  readonly dnsOptionRm?: string[];
  readonly dnsSearchAdd?: string[];
  readonly dnsSearchRm?: string[];
  readonly envAdd?: string[];
  readonly envRm?: string[];
  readonly force?: boolean;
  readonly genericResourceAdd?: GenericResource[];
  readonly genericResourceRm?: string[];
  readonly groupAdd?: string[];
  readonly groupRm?: string[];
  readonly hostAdd?: string[];
  readonly hostRm?: string[];
  readonly image?: string;
  readonly labelAdd?: string[];
  readonly labelRm?: string[];
  readonly mountAdd?: Mount[];
  readonly mountRm?: string[];
  readonly networkAdd?: NetworkAttachmentConfig[];
  readonly networkRm?: string[];
  readonly placementPrefAdd?: string[];
  readonly placementPrefRm?: string[];
  readonly publishAdd?: PortConfig[][];
  readonly publishRm?: string[];
  readonly rollback?: boolean;
  readonly secretAdd?: FileReference[];
  readonly secretRm?: string[];
  readonly sysctlAdd?: string[];
  readonly sysctlRm?: string[];
  readonly ulimitAdd?: Ulimit[];
  readonly ulimitRm?: string[];
}

type Variables = Readonly<Record<string, string | undefined>>;

export function updateSpec(spec: ServiceSpec, flags: UpdateFlags, environment: Variables): ServiceSpec {
  const update = updateConfig(flags, 'update', spec.UpdateConfig);
  const rollback = updateConfig(flags, 'rollback', spec.RollbackConfig);
  if ((spec.Mode.ReplicatedJob ?? spec.Mode.GlobalJob) !== undefined && (update ?? rollback) !== undefined)
    throw new ClusterError('invalid', 'update and rollback configuration is not supported for jobs');
  return {
    ...spec,
    Labels: { ...labels(spec.Labels, flags.labelAdd, flags.labelRm), ...flagLabels(flags) },
    TaskTemplate: task(spec, flags, environment),
    Mode: mode(spec.Mode, flags),
    ...(update === undefined ? {} : { UpdateConfig: update }),
    ...(rollback === undefined ? {} : { RollbackConfig: rollback }),
    ...endpoint(spec.EndpointSpec, flags),
  };
}

function mode(current: ServiceMode, { replicas, maxConcurrent }: UpdateFlags): ServiceMode {
  if (maxConcurrent !== undefined) return { ReplicatedJob: { ...jobOf(current), MaxConcurrent: maxConcurrent } };
  if (replicas === undefined) return current;
  if (current.Replicated === undefined)
    throw new ClusterError('invalid', 'replicas can only be used with replicated mode');
  return { Replicated: { ...current.Replicated, Replicas: replicas } };
}

/** Docker's client takes the flag and does nothing with it. */
function jobOf({ ReplicatedJob }: ServiceMode): NonNullable<ServiceMode['ReplicatedJob']> {
  if (ReplicatedJob === undefined)
    throw new ClusterError('invalid', 'max-concurrent can only be used with replicated-job mode');
  return ReplicatedJob;
}

function task(spec: ServiceSpec, flags: UpdateFlags, environment: Variables): TaskSpec {
  const current = spec.TaskTemplate;
  const restart = restartPolicy(flags, current.RestartPolicy);
  const driver = logDriver(flags, current.LogDriver);
  return {
    ...current,
    ContainerSpec: container(current.ContainerSpec, flags, environment),
    ...taskResources(current.Resources, flags),
    ...(restart === undefined ? {} : { RestartPolicy: restart }),
    ...placement(current.Placement, flags),
    ...(driver === undefined ? {} : { LogDriver: driver }),
    ...(flags.force === true ? { ForceUpdate: (current.ForceUpdate ?? 0) + 1 } : {}),
  };
}

function taskResources(
  current: ResourceRequirements | undefined,
  flags: UpdateFlags,
): { Resources?: ResourceRequirements } {
  const plain = [flags.limitCpu, flags.limitMemory, flags.limitPids, flags.reserveCpu, flags.reserveMemory];
  const base = plain.some((value) => value !== undefined) ? resources(flags, current) : current;
  const { genericResourceAdd: add = [], genericResourceRm: remove = [] } = flags;
  if (add.length === 0 && remove.length === 0) return base === undefined ? {} : { Resources: base };
  const kinds = new Map((base?.Reservations?.GenericResources ?? []).map((resource) => [kindOf(resource), resource]));
  for (const kind of remove) {
    if (!kinds.delete(kind))
      throw new ClusterError('invalid', `could not find generic-resource \`${kind}\` to remove it`);
  }
  for (const resource of add) kinds.set(kindOf(resource), resource);
  return { Resources: { ...base, Reservations: { ...base?.Reservations, GenericResources: [...kinds.values()] } } };
}

function kindOf(resource: GenericResource): string {
  return resource.DiscreteResourceSpec?.Kind ?? resource.NamedResourceSpec?.Kind ?? '';
}

function placement(current: Placement | undefined, flags: UpdateFlags): { Placement?: Placement } {
  const changes = {
    ...(flags.constraintAdd === undefined && flags.constraintRm === undefined
      ? {}
      : { Constraints: addThenRemove(current?.Constraints, flags.constraintAdd, flags.constraintRm).sort() }),
    ...(flags.placementPrefAdd === undefined && flags.placementPrefRm === undefined
      ? {}
      : {
          Preferences: removeThenAdd(
            current?.Preferences?.map((preference) => preference.Spread?.SpreadDescriptor ?? ''),
            flags.placementPrefAdd,
            flags.placementPrefRm,
          ).map((descriptor) => ({ Spread: { SpreadDescriptor: descriptor } })),
        }),
    ...(flags.replicasMaxPerNode === undefined ? {} : { MaxReplicas: flags.replicasMaxPerNode }),
  };
  return Object.keys(changes).length === 0 ? {} : { Placement: { ...current, ...changes } };
}

function container(current: ContainerSpec, flags: UpdateFlags, environment: Variables): ContainerSpec {
  const health = healthcheck(flags, current.Healthcheck);
  return {
    ...current,
    ...(flags.image === undefined ? {} : { Image: withDefaultTag(flags.image) }),
    ...(flags.args === undefined ? {} : { Args: splitWords(flags.args) }),
    ...(flags.entrypoint === undefined ? {} : { Command: splitWords(flags.entrypoint) }),
    ...defined({
      Hostname: flags.hostname,
      Dir: flags.workdir,
      User: flags.user,
      Init: flags.init,
      StopSignal: flags.stopSignal,
      StopGracePeriod: flags.stopGracePeriod,
      Isolation: flags.isolation,
      OomScoreAdj: flags.oomScoreAdj,
      TTY: flags.tty,
      ReadOnly: flags.readOnly,
      Healthcheck: health,
    }),
    ...containerLists(current, flags, environment),
    ...(flags.credentialSpec === undefined
      ? {}
      : { Privileges: { ...current.Privileges, CredentialSpec: parseCredentialSpec(flags.credentialSpec) } }),
  };
}

function containerLists(current: ContainerSpec, flags: UpdateFlags, environment: Variables): Partial<ContainerSpec> {
  const parts: { -readonly [K in keyof ContainerSpec]?: ContainerSpec[K] } = {};
  if (given(flags.containerLabelAdd, flags.containerLabelRm)) {
    parts.Labels = labels(current.Labels ?? {}, flags.containerLabelAdd, flags.containerLabelRm);
  }
  if (given(flags.envAdd, flags.envRm)) parts.Env = changedEnv(current.Env ?? [], flags, environment);
  if (given(flags.groupAdd, flags.groupRm))
    parts.Groups = addThenRemove(current.Groups, flags.groupAdd, flags.groupRm).sort();
  if (given(flags.hostAdd, flags.hostRm)) parts.Hosts = changedHosts(current.Hosts ?? [], flags);
  if (given(flags.mountAdd, flags.mountRm)) parts.Mounts = changedMounts(current.Mounts ?? [], flags);
  if (given(flags.sysctlAdd, flags.sysctlRm))
    parts.Sysctls = labels(current.Sysctls ?? {}, flags.sysctlAdd, flags.sysctlRm);
  if (given(flags.ulimitAdd, flags.ulimitRm)) {
    parts.Ulimits = keyedChange(current.Ulimits ?? [], (limit) => limit.Name, {
      add: flags.ulimitAdd,
      remove: flags.ulimitRm,
    });
  }
  if (given(flags.capAdd, flags.capDrop)) Object.assign(parts, changedCapabilities(current, flags));
  if (
    given(flags.dnsAdd, flags.dnsRm) ||
    given(flags.dnsOptionAdd, flags.dnsOptionRm) ||
    given(flags.dnsSearchAdd, flags.dnsSearchRm)
  ) {
    parts.DNSConfig = {
      Nameservers: addThenRemove(current.DNSConfig?.Nameservers, flags.dnsAdd, flags.dnsRm).sort(),
      Search: addThenRemove(current.DNSConfig?.Search, flags.dnsSearchAdd, flags.dnsSearchRm).sort(),
      Options: addThenRemove(current.DNSConfig?.Options, flags.dnsOptionAdd, flags.dnsOptionRm).sort(),
    };
  }
  return parts;
}

function given(...lists: readonly (readonly unknown[] | undefined)[]): boolean {
  return lists.some((list) => list !== undefined);
}

export function labels(
  current: Labels,
  add: readonly string[] | undefined,
  remove: readonly string[] | undefined,
): Labels {
  const result: Record<string, string> = { ...current };
  for (const key of remove ?? []) delete result[key];
  return { ...result, ...labelMap(add) };
}

/** Unlike Docker's client, the order stays: an update that changes nothing restarts nothing. */
function changedEnv(current: readonly string[], flags: UpdateFlags, environment: Variables): string[] {
  const nameOf = (entry: string) => entry.split('=', 1)[0] ?? '';
  const add = (flags.envAdd ?? []).map((entry) => resolveEnv(entry, environment));
  return keyedChange(current, nameOf, { add, remove: flags.envRm });
}

/** Removed by key first, then added ones replace those of the same key in place. */
function keyedChange<T>(
  current: readonly T[],
  keyOf: (item: T) => string,
  change: { readonly add: readonly T[] | undefined; readonly remove: readonly string[] | undefined },
): T[] {
  const items = new Map(current.map((item) => [keyOf(item), item]));
  for (const key of change.remove ?? []) items.delete(key);
  for (const item of change.add ?? []) items.set(keyOf(item), item);
  return [...items.values()];
}

/** In Docker's client this is the order for constraints, groups and DNS: what is added and removed at once is not there. */
function addThenRemove(
  current: readonly string[] | undefined,
  add: readonly string[] | undefined,
  remove: readonly string[] | undefined,
): string[] {
  return [...new Set([...(current ?? []), ...(add ?? [])])].filter((item) => !(remove ?? []).includes(item));
}

function removeThenAdd(
  current: readonly string[] | undefined,
  add: readonly string[] | undefined,
  remove: readonly string[] | undefined,
): string[] {
  const kept = (current ?? []).filter((item) => !(remove ?? []).includes(item));
  return [...new Set([...kept, ...(add ?? [])])];
}

/** Entries look like `ip host…`; what is removed is named `host` or `host:ip`, and takes along no other host of its entry. */
function changedHosts(current: readonly string[], flags: UpdateFlags): string[] {
  const removals = (flags.hostRm ?? []).map((word) => splitOnce(word, ':'));
  const kept = current.flatMap((entry) => {
    const [ip = '', ...hosts] = entry.split(/\s+/).filter((word) => word !== '');
    const isRemoved = (host: string) =>
      removals.some(([name, address = '']) => name === host && (address === '' || address === ip));
    const left = hosts.filter((host) => !isRemoved(host));
    return left.length === 0 ? [] : [`${ip} ${left.join(' ')}`];
  });
  return [...new Set([...kept, ...(flags.hostAdd ?? [])])];
}

/** As in Docker's client, what is added and removed at once is not there. */
function changedMounts(current: readonly Mount[], flags: UpdateFlags): Mount[] {
  const { mountAdd: add = [], mountRm: remove = [] } = flags;
  if (new Set(add.map((mount) => mount.Target)).size < add.length)
    throw new ClusterError('invalid', 'duplicate mount target');
  const mounts = keyedChange(current, (mount) => mount.Target, { add, remove: undefined });
  return mounts
    .filter((mount) => !remove.includes(mount.Target))
    .sort((a, b) => compare(a.Source ?? '', b.Source ?? '') || compare(a.Target, b.Target));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Three states: adding a dropped capability only takes back the drop, and the other way round. */
function changedCapabilities(
  current: ContainerSpec,
  flags: UpdateFlags,
): Pick<ContainerSpec, 'CapabilityAdd' | 'CapabilityDrop'> {
  const add = new Set(current.CapabilityAdd ?? []);
  const drop = new Set(current.CapabilityDrop ?? []);
  const toAdd = normalizeCapabilities(flags.capAdd ?? []);
  for (const name of toAdd) if (!drop.delete(name)) add.add(name);
  for (const name of normalizeCapabilities(flags.capDrop ?? [])) {
    if (!toAdd.includes(name) && !add.delete(name)) drop.add(name);
  }
  return { CapabilityAdd: normalizeCapabilities([...add]), CapabilityDrop: normalizeCapabilities([...drop]) };
}

function endpoint(current: EndpointSpec | undefined, flags: UpdateFlags): { EndpointSpec?: EndpointSpec } {
  const { publishAdd, publishRm, endpointMode } = flags;
  if (publishAdd === undefined && publishRm === undefined && endpointMode === undefined) return {};
  const removals = (publishRm ?? []).flatMap(parsePublish);
  const before = current?.Ports ?? [];
  const kept = before.filter((port) => !removals.some((removal) => removes(removal, port)));
  // As in Docker's client: what is there and removed is not added by the same command.
  const isGone = (port: PortConfig) =>
    before.some((other) => !kept.includes(other) && portKey(other) === portKey(port));
  const added = (publishAdd ?? []).flat().filter((port) => !isGone(port));
  const replaced = kept.filter((port) => !added.some((other) => portKey(other) === portKey(port)));
  const ports = [...replaced, ...added].sort((a, b) => (a.PublishedPort ?? 0) - (b.PublishedPort ?? 0));
  return {
    EndpointSpec: { ...current, ...(endpointMode === undefined ? {} : { Mode: endpointMode }), Ports: ports },
  };
}

function portKey(port: PortConfig): string {
  const { HostIP = '', PublishedPort = 0, TargetPort, Protocol = 'tcp', PublishMode = 'ingress' } = port;
  return `${HostIP}:${PublishedPort}:${TargetPort}/${Protocol}/${PublishMode}`;
}

/** By target port, protocol and mode: `80` means the ingress port of tcp, as in Docker's client. */
function removes(removal: PortConfig, port: PortConfig): boolean {
  return (
    port.TargetPort === removal.TargetPort &&
    (port.Protocol || 'tcp') === (removal.Protocol || 'tcp') &&
    (port.PublishMode || 'ingress') === (removal.PublishMode || 'ingress')
  );
}
