/** An OCI runtime spec with Docker's defaults, from a task, its image and what the node prepared for it. Pure. */
import { ClusterError } from '../../lib/errors.ts';
import type { AssignedTask } from '../../model/assignment.ts';
import type { ContainerSpec, GenericResource, TaskSpec, Ulimit } from '../../model/spec.ts';
import { checkUlimitName } from '../../model/ulimit.ts';
import { resolveCapabilities } from './capabilities.ts';
import type { ImageConfig } from './registry/manifest.ts';
import { defaultSeccomp, type Seccomp } from './seccomp.ts';
import { expandTemplate, type TemplateContext } from './template.ts';
import type { ProcessUser } from './user.ts';

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** What the host is; asked once. */
export interface HostFacts {
  readonly hostname: string;
  /** Node's name of the architecture. */
  readonly arch: string;
  readonly kernel: string;
  readonly capabilities: readonly string[];
  readonly swapAccounting: boolean;
  readonly cgroupV2: boolean;
  /** Open files a container may have unless it asks for another limit. */
  readonly nofile: number;
}

export interface SpecInput {
  readonly task: AssignedTask;
  readonly image: ImageConfig;
  readonly user: ProcessUser;
  readonly host: HostFacts;
  readonly hostname: string;
  readonly templates: TemplateContext;
  /** Undefined: the namespace that containerd is in. */
  readonly netnsPath: string | undefined;
  /** The host's network: its settings are not the container's to change. */
  readonly isHostNetwork?: boolean;
  readonly cgroupsPath: string;
  /** Volumes, binds, secrets, configs, /etc files. */
  readonly mounts: readonly OciMount[];
  /** Host path of the init program, when asked for. */
  readonly initPath: string | undefined;
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const initTarget = '/sbin/docker-init';
const cpuPeriodUs = 100_000;
const nanosPerCpu = 1e9;

export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
export const readonlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

export function containerSpec(input: SpecInput): Record<string, unknown> {
  const { task, host } = input;
  const container = task.spec.ContainerSpec;
  validateTask(task);
  const capabilities = resolveCapabilities(
    container.CapabilityAdd ?? [],
    container.CapabilityDrop ?? [],
    host.capabilities,
  );
  const seccomp = seccompFor(container, host, capabilities);
  return {
    ociVersion: '1.0.2',
    process: processOf(input, capabilities),
    root: { path: 'rootfs', readonly: container.ReadOnly ?? false },
    hostname: input.hostname,
    mounts: mountsOf(input),
    linux: {
      resources: resourcesOf(task, host),
      cgroupsPath: input.cgroupsPath,
      namespaces: namespacesOf(input),
      sysctl: sysctlsOf(container, input),
      maskedPaths,
      readonlyPaths,
      ...(seccomp === undefined ? {} : { seccomp }),
    },
  };
}

/** The process part: also what a health check runs with, but for its arguments. */
function processOf(input: SpecInput, capabilities: readonly string[]): Record<string, unknown> {
  const { task, image, user } = input;
  const container = task.spec.ContainerSpec;
  const args = argumentsOf(container, image);
  const first = container.Dir ?? image.workingDir;
  return {
    terminal: container.TTY ?? false,
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: input.initPath === undefined ? args : [initTarget, '--', ...args],
    env: environmentOf(input),
    cwd: first === '' ? '/' : first,
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    rlimits: rlimitsOf(container.Ulimits ?? [], input.host.nofile),
    noNewPrivileges: container.Privileges?.NoNewPrivileges ?? false,
    oomScoreAdj: container.OomScoreAdj ?? 0,
  };
}

/** Docker's rule: a new entrypoint drops the image's command. */
export function argumentsOf(container: ContainerSpec, image: ImageConfig): readonly string[] {
  const entrypoint = container.Command ?? [];
  const args = container.Args ?? [];
  const given =
    entrypoint.length > 0
      ? [...entrypoint, ...args]
      : [...image.entrypoint, ...(args.length > 0 ? args : image.command)];
  if (given.length === 0) throw new ClusterError('invalid', 'no command specified');
  return given;
}

/** Later entries win by key; a bare `K` takes the variable away. */
export function environmentOf(input: Pick<SpecInput, 'task' | 'image' | 'hostname' | 'templates'>): readonly string[] {
  const container = input.task.spec.ContainerSpec;
  const variables = new Map<string, string>();
  const set = (entry: string) => {
    const equals = entry.indexOf('=');
    if (equals < 0) variables.delete(entry);
    else variables.set(entry.slice(0, equals), entry);
  };
  set(defaultPath);
  set(`HOSTNAME=${input.hostname}`);
  if (container.TTY === true) set('TERM=xterm');
  for (const entry of input.image.env) set(entry);
  for (const entry of genericEnvironment(input.task.genericResources ?? [])) set(entry);
  for (const entry of container.Env ?? []) set(expandTemplate(entry, input.templates, 'env'));
  return [...variables.values()];
}

/** As Docker does: `DOCKER_RESOURCE_GPU=UUID1,UUID2`, or the count. */
function genericEnvironment(assigned: readonly GenericResource[]): readonly string[] {
  const values = new Map<string, string[]>();
  for (const { NamedResourceSpec: named, DiscreteResourceSpec: discrete } of assigned) {
    const one = named ?? discrete;
    if (one !== undefined) values.set(one.Kind, [...(values.get(one.Kind) ?? []), String(one.Value)]);
  }
  return [...values].map(([kind, own]) => `DOCKER_RESOURCE_${kind.toUpperCase()}=${own.join(',')}`);
}

const defaultMounts: readonly OciMount[] = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
  },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
  { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro', 'nosuid', 'noexec', 'nodev'] },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev/shm',
    type: 'tmpfs',
    source: 'shm',
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=67108864'],
  },
];

function mountsOf(input: SpecInput): readonly OciMount[] {
  const init: readonly OciMount[] =
    input.initPath === undefined
      ? []
      : [{ destination: initTarget, type: 'bind', source: input.initPath, options: ['bind', 'ro'] }];
  const own = [...input.mounts, ...init];
  const taken = new Set(own.map((mount) => mount.destination));
  const depth = (mount: OciMount) => mount.destination.split('/').filter((part) => part !== '').length;
  // Parents first, or a mount would hide the ones below it.
  const sorted = own.toSorted((a, b) => depth(a) - depth(b));
  return [...defaultMounts.filter((mount) => !taken.has(mount.destination)), ...sorted];
}

function namespacesOf(input: SpecInput): readonly Record<string, string>[] {
  const own = ['mount', 'uts', 'pid', 'ipc', ...(input.host.cgroupV2 ? ['cgroup'] : [])].map((type) => ({ type }));
  return input.netnsPath === undefined ? own : [...own, { type: 'network', path: input.netnsPath }];
}

function sysctlsOf(
  container: ContainerSpec,
  { netnsPath, isHostNetwork }: Pick<SpecInput, 'netnsPath' | 'isHostNetwork'>,
): Readonly<Record<string, string>> {
  const isHost = netnsPath === undefined || isHostNetwork === true;
  const hosts = Object.keys(container.Sysctls ?? {}).find((name) => name.startsWith('net.'));
  if (isHost && hosts !== undefined) {
    throw new ClusterError('invalid', `sysctl '${hosts}' is not allowed in the host's network namespace`);
  }
  const network = isHost
    ? {}
    : { 'net.ipv4.ip_unprivileged_port_start': '0', 'net.ipv4.ping_group_range': '0 2147483647' };
  return { ...network, ...container.Sysctls };
}

const deviceRules = [
  { allow: false, access: 'rwm' },
  { allow: true, type: 'c', major: 5, minor: 1, access: 'rwm' },
];

function resourcesOf(task: AssignedTask, host: HostFacts): Record<string, unknown> {
  const limits = task.spec.Resources?.Limits;
  const reservation = task.spec.Resources?.Reservations?.MemoryBytes ?? 0;
  const memory = limits?.MemoryBytes ?? 0;
  const cpus = limits?.NanoCPUs ?? 0;
  const pids = limits?.Pids ?? 0;
  const swap = host.swapAccounting && memory > 0 ? { swap: memory * 2 } : {};
  return {
    devices: deviceRules,
    ...(memory > 0 || reservation > 0
      ? {
          memory: {
            ...(memory > 0 ? { limit: memory, ...swap } : {}),
            ...(reservation > 0 ? { reservation } : {}),
          },
        }
      : {}),
    ...(cpus > 0 ? { cpu: { quota: Math.round((cpus * cpuPeriodUs) / nanosPerCpu), period: cpuPeriodUs } } : {}),
    ...(pids > 0 ? { pids: { limit: pids } } : {}),
  };
}

/** Stands for unlimited: JSON numbers from here cannot hold RLIM_INFINITY (2^64 − 1), and nothing reaches this either. */
const unlimited = 2 ** 63;

function rlimitsOf(ulimits: readonly Ulimit[], nofile: number): readonly Record<string, unknown>[] {
  const given = ulimits.map((ulimit) => {
    checkUlimitName(ulimit.Name);
    const value = (number: number) => (number < 0 ? unlimited : number);
    return { type: `RLIMIT_${ulimit.Name.toUpperCase()}`, soft: value(ulimit.Soft), hard: value(ulimit.Hard) };
  });
  if (given.some((limit) => limit.type === 'RLIMIT_NOFILE')) return given;
  // containerd's own limit is often unlimited, which makes programs that close every descriptor crawl.
  return [{ type: 'RLIMIT_NOFILE', soft: nofile, hard: nofile }, ...given];
}

function seccompFor(container: ContainerSpec, host: HostFacts, capabilities: readonly string[]): Seccomp | undefined {
  const mode = container.Privileges?.Seccomp?.Mode ?? 'default';
  if (mode === 'unconfined') return undefined;
  if (mode !== 'default' && mode !== '') throw unsupported(`seccomp mode "${mode}"`);
  return defaultSeccomp({ arch: host.arch, kernel: host.kernel, capabilities });
}

/** Refuses what this driver cannot do, before anything is pulled or made. */
export function validateTask(task: AssignedTask): void {
  const container = task.spec.ContainerSpec;
  const privileges = container.Privileges;
  if (privileges?.CredentialSpec) throw unsupported('a credential spec');
  if (privileges?.SELinuxContext && privileges.SELinuxContext['Disable'] !== true)
    throw unsupported('an SELinux context');
  const appArmor = privileges?.AppArmor?.Mode ?? '';
  if (!['', 'default', 'disabled'].includes(appArmor)) throw unsupported(`AppArmor mode "${appArmor}"`);
  if (container.OpenStdin === true) throw unsupported('an open standard input');
  if (!['', 'default'].includes(container.Isolation ?? '')) {
    throw new ClusterError('invalid', `invalid isolation "${container.Isolation ?? ''}": only 'default' is supported`);
  }
  if (task.spec.Runtime !== undefined && !['', 'container'].includes(task.spec.Runtime)) {
    throw unsupported(`runtime "${task.spec.Runtime}"`);
  }
  logLimits(task.spec.LogDriver);
}

export interface LogLimits {
  readonly fileBytesMax: number;
  readonly filesMax: number;
}

const logDefaults: LogLimits = { fileBytesMax: 10 * 1024 * 1024, filesMax: 3 };
const logFilesMax = 100;

/** The json-file driver's `max-size` and `max-file`; logs here are always bounded. */
export function logLimits(driver: TaskSpec['LogDriver']): LogLimits {
  const name = driver?.Name ?? '';
  if (!['', 'json-file'].includes(name)) throw unsupported(`log driver "${name}"`);
  const { 'max-size': size, 'max-file': files, ...others } = driver?.Options ?? {};
  const [other] = Object.keys(others);
  if (other !== undefined) throw unsupported(`log option "${other}"`);
  const filesMax = files === undefined ? logDefaults.filesMax : Number(files);
  if (!Number.isInteger(filesMax) || filesMax < 1 || filesMax > logFilesMax) {
    throw new ClusterError('invalid', `invalid log option max-file: "${files ?? ''}"`);
  }
  return { fileBytesMax: size === undefined ? logDefaults.fileBytesMax : sizeBytes(size), filesMax };
}

function sizeBytes(text: string): number {
  const match = /^(\d+)([kmg]?)b?$/i.exec(text);
  const factor = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[match?.[2]?.toLowerCase() ?? ''];
  const bytes = Number(match?.[1] ?? 0) * (factor ?? 0);
  if (bytes <= 0) throw new ClusterError('invalid', `invalid log option max-size: "${text}"`);
  return bytes;
}

function unsupported(thing: string): ClusterError {
  return new ClusterError('unimplemented', `${thing} is not supported yet`);
}
