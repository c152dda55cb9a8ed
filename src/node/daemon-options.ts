/**
 * The daemon's settings, from flags and TSCLUSTER_* variables, checked before anything starts.
 * `src/node/daemon.ts` exports `runDaemon(options: DaemonOptions): Promise<void>`, which resolves once the daemon has
 * stopped in good order and rejects when it cannot start.
 */
import { hostname as machineName } from 'node:os';
import { ClusterError } from '../lib/errors.ts';
import type { GenericResource } from '../model/spec.ts';

export interface DaemonOptions {
  readonly dataDir: string;
  /** Path of the API's unix socket. */
  readonly socket: string;
  /** Where other nodes reach this one: address and port to listen on. */
  readonly listenAddr: string;
  /** What other nodes are told; empty = found out. */
  readonly advertiseAddr: string;
  /** Path of containerd's socket. */
  readonly containerd: string;
  readonly containerdNamespace: string;
  readonly registryMirrors: readonly string[];
  readonly insecureRegistries: readonly string[];
  /** Undefined = containerd's default. */
  readonly snapshotter: string | undefined;
  readonly hostname: string;
  /** Undefined = the runtime's default. */
  readonly cgroupParent: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** What tasks may reserve besides CPU and memory. */
  readonly genericResources: readonly GenericResource[];
  /** Changes with every boot of the host; undefined = the kernel's. For hosts that are not machines of their own, as in tests. */
  readonly bootId: string | undefined;
  /** Parts whose debug lines are logged. */
  readonly trace: readonly string[];
}

export interface DaemonFlag {
  /** As given on the command line. */
  readonly flag: string;
  readonly value: string;
  readonly variable: string;
  readonly fallback: string;
  readonly help: string;
  readonly repeatable?: true;
}

/** Every setting once: flag, variable and default are documented where they are defined. */
export const daemonFlags = {
  dataDir: flag(
    '--data-dir <dir>',
    'TSCLUSTER_DATA_DIR',
    '/var/lib/tscluster',
    'Directory of everything the node keeps',
  ),
  socket: flag(
    '--socket <path>',
    'TSCLUSTER_SOCKET',
    '/run/tscluster/tscluster.sock',
    'Unix socket that the API listens on',
  ),
  listenAddr: flag(
    '--listen-addr <addr>',
    'TSCLUSTER_LISTEN_ADDR',
    '0.0.0.0:2377',
    'Address for the other nodes (ip[:port])',
  ),
  advertiseAddr: flag(
    '--advertise-addr <addr>',
    'TSCLUSTER_ADVERTISE_ADDR',
    '',
    'Address told to other nodes (ip|interface[:port])',
  ),
  containerd: flag(
    '--containerd <path>',
    'TSCLUSTER_CONTAINERD',
    '/run/containerd/containerd.sock',
    "containerd's socket",
  ),
  containerdNamespace: flag(
    '--containerd-namespace <name>',
    'TSCLUSTER_CONTAINERD_NAMESPACE',
    'tscluster',
    'Namespace in containerd',
  ),
  registryMirrors: flag(
    '--registry-mirror <url>',
    'TSCLUSTER_REGISTRY_MIRRORS',
    '',
    'Registry mirror to try first',
    true,
  ),
  insecureRegistries: flag(
    '--insecure-registry <host>',
    'TSCLUSTER_INSECURE_REGISTRIES',
    '',
    'Registry to reach over plain HTTP',
    true,
  ),
  snapshotter: flag(
    '--snapshotter <name>',
    'TSCLUSTER_SNAPSHOTTER',
    '',
    "containerd snapshotter (default: containerd's)",
  ),
  hostname: flag('--hostname <name>', 'TSCLUSTER_HOSTNAME', '', "Name of this node (default: the machine's)"),
  cgroupParent: flag(
    '--cgroup-parent <path>',
    'TSCLUSTER_CGROUP_PARENT',
    '',
    'Control group above those of the containers',
  ),
  labels: flag('--label <key=value>', 'TSCLUSTER_LABELS', '', 'Engine label of this node', true),
  genericResources: flag(
    '--node-generic-resource <kind=value>',
    'TSCLUSTER_NODE_GENERIC_RESOURCES',
    '',
    'User defined resource of this node (SSD=3, or GPU=UUID1 for each one by name)',
    true,
  ),
  bootId: flag(
    '--boot-id <id>',
    'TSCLUSTER_BOOT_ID',
    '',
    "Identifies this boot of the host (default: the kernel's id)",
  ),
  trace: flag('--trace <parts>', 'TSCLUSTER_TRACE', '', "Parts to log in detail, e.g. raft,dispatcher, or 'all'", true),
} as const satisfies Record<keyof DaemonOptions, DaemonFlag>;

function flag(text: string, variable: string, fallback: string, help: string, repeatable?: true): DaemonFlag {
  const [name = '', value = ''] = text.split(' ');
  return { flag: name, value, variable, fallback, help, ...(repeatable === true ? { repeatable } : {}) };
}

/** What flags hold, by setting; several values for repeatable ones. Missing = not given. */
export type DaemonFlagValues = Readonly<Partial<Record<keyof DaemonOptions, string | readonly string[]>>>;
type Environment = Readonly<Record<string, string | undefined>>;

/** Flags win over variables, variables over defaults; lists in variables are separated by commas. */
export function parseDaemonOptions(flags: DaemonFlagValues, env: Environment): DaemonOptions {
  const one = (key: keyof DaemonOptions) => {
    const given = flags[key];
    return typeof given === 'string' ? given : env[daemonFlags[key].variable] || daemonFlags[key].fallback;
  };
  const many = (key: keyof DaemonOptions) => {
    const given = flags[key];
    const text = env[daemonFlags[key].variable] ?? '';
    const list = given === undefined ? text.split(',') : [given].flat();
    return list.map((entry) => entry.trim()).filter((entry) => entry !== '');
  };
  return {
    dataDir: absolute('dataDir', one('dataDir')),
    socket: checkSocket(absolute('socket', one('socket'))),
    listenAddr: listenAddress(one('listenAddr')),
    advertiseAddr: one('advertiseAddr'),
    containerd: absolute('containerd', one('containerd').replace(/^unix:\/\//, '')),
    containerdNamespace: matching(
      'containerdNamespace',
      one('containerdNamespace'),
      /^[A-Za-z0-9]+(?:[-_.][A-Za-z0-9]+)*$/,
    ),
    registryMirrors: many('registryMirrors').map(mirror),
    insecureRegistries: many('insecureRegistries').map((host) =>
      matching('insecureRegistries', host, /^[^/\s]+(\/\d+)?$/),
    ),
    snapshotter: matching('snapshotter', one('snapshotter'), /^[A-Za-z0-9._-]*$/) || undefined,
    hostname: matching('hostname', one('hostname') || machineName(), /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/),
    cgroupParent: matching('cgroupParent', one('cgroupParent'), /^[^\s\0]*$/) || undefined,
    labels: labels(many('labels')),
    genericResources: genericResources(many('genericResources')),
    bootId: matching('bootId', one('bootId'), /^[A-Za-z0-9-]*$/) || undefined,
    trace: many('trace')
      .flatMap((entry) => entry.split(','))
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  };
}

function refuse(key: keyof DaemonOptions, value: string, reason: string): ClusterError {
  const { flag: name, variable } = daemonFlags[key];
  return new ClusterError('invalid', `invalid argument "${value}" for ${name} (or ${variable}): ${reason}`);
}

function absolute(key: keyof DaemonOptions, path: string): string {
  if (!path.startsWith('/') || path.includes('\0')) throw refuse(key, path, 'must be an absolute path');
  return path === '/' ? path : path.replace(/\/+$/, '');
}

/** The kernel's limit for the path of a unix socket. */
const socketPathMax = 107;

function checkSocket(path: string): string {
  if (Buffer.byteLength(path) > socketPathMax)
    throw refuse('socket', path, `longer than ${socketPathMax} bytes, the limit for sockets`);
  return path;
}

function matching(key: keyof DaemonOptions, value: string, pattern: RegExp): string {
  if (!pattern.test(value)) throw refuse(key, value, 'not a valid value');
  return value;
}

const defaultPort = 2377;

function listenAddress(text: string): string {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)(?::(\d+))?$/.exec(text);
  const port = Number(match?.[2] ?? defaultPort);
  if (match === null || port < 1 || port > 65_535)
    throw refuse('listenAddr', text, 'must be ip[:port] or interface[:port]');
  return `${match[1]}:${port}`;
}

function mirror(url: string): string {
  const text = url.includes('://') ? url : `https://${url}`;
  if (!/^https?:\/\/[^/\s]+(\/\S*)?$/.test(text)) throw refuse('registryMirrors', url, 'must be http(s)://host[:port]');
  return text.replace(/\/+$/, '');
}

function labels(pairs: readonly string[]): Record<string, string> {
  const result: Record<string, string> = {};
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    if (at < 1) throw refuse('labels', pair, 'must be key=value');
    result[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return result;
}

const genericKindsMax = 1_000;

/** `kind=number` is a count, anything else the name of one. A kind is either counted or named. */
function genericResources(pairs: readonly string[]): readonly GenericResource[] {
  const seen = new Map<string, 'counted' | 'named'>();
  if (pairs.length > genericKindsMax)
    throw refuse('genericResources', String(pairs.length), `more than ${genericKindsMax} resources`);
  return [...new Set(pairs)].map((pair) => {
    const match = /^([A-Za-z0-9][\w.-]{0,62})=([\w./:-]{1,128})$/.exec(pair);
    const [, Kind = '', Value = ''] = match ?? [];
    if (match === null) throw refuse('genericResources', pair, 'must be kind=count or kind=name');
    const kind = /^\d+$/.test(Value) ? 'counted' : 'named';
    const before = seen.get(Kind);
    if (before !== undefined && (before === 'counted' || kind === 'counted'))
      throw refuse('genericResources', pair, `${Kind} is given twice`);
    seen.set(Kind, kind);
    if (kind === 'named') return { NamedResourceSpec: { Kind, Value } };
    if (!Number.isSafeInteger(Number(Value)) || Number(Value) < 1)
      throw refuse('genericResources', pair, 'the count must be at least 1');
    return { DiscreteResourceSpec: { Kind, Value: Number(Value) } };
  });
}
