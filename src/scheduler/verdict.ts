/** What each node says to a task, in words for people: the first filter that refuses it, why, and what would help. Pure. */
import { unreachable } from '../lib/assert.ts';
import type { NodeVerdict } from '../model/explain.ts';
import type { Node, Task } from '../model/objects.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import type { ClusterView } from '../model/view.ts';
import type { ClusterIndex } from './cluster-index.ts';
import { nodeMatches, nodeValue, readConstraints } from './constraint.ts';
import type { FilterName } from './filters.ts';
import { filtersFor, firstRefusal, hasPlugin, pluginsWanted } from './filters.ts';
import type { NodeInfo } from './node-info.ts';
import { failuresFaulty, genericCounts, groupKey, portKeys } from './node-info.ts';

interface Words {
  readonly reason: string;
  readonly remedy: string;
}

export interface VerdictContext {
  readonly view: ClusterView;
  readonly index: ClusterIndex;
  readonly now: number;
}

/** Nodes that fit first, then by name. */
export function verdicts(task: Task, context: VerdictContext): readonly NodeVerdict[] {
  const filters = filtersFor(task);
  const all = [...context.index.infos()].map((info) => verdict(info, task, { ...context, filters }));
  return all.sort((one, other) => rank(one) - rank(other) || (hostOf(one) < hostOf(other) ? -1 : 1));
}

/** The verdict of one node; undefined: there is no such node. */
export function verdictOf(nodeId: string, task: Task, context: VerdictContext): NodeVerdict | undefined {
  const info = context.index.get(nodeId);
  return info === undefined ? undefined : verdict(info, task, { ...context, filters: filtersFor(task) });
}

const rank = (one: NodeVerdict) => (one.Filter === '' ? 0 : 1);
const hostOf = (one: NodeVerdict) => `${one.Hostname} ${one.NodeID}`;

function verdict(
  info: NodeInfo,
  task: Task,
  context: VerdictContext & { readonly filters: ReturnType<typeof filtersFor> },
): NodeVerdict {
  const filter = firstRefusal(context.filters, info);
  const head = { NodeID: info.node.id, Hostname: hostname(info.node), Filter: filter ?? '' };
  if (filter !== undefined) {
    const { reason, remedy } = words(filter, info, task, context.view);
    return { ...head, Reason: reason, Remedy: remedy };
  }
  const failures = info.failures(groupKey(task), context.now);
  const note = `taken last: ${failures} tasks of this version failed here in the last 5 minutes`;
  return { ...head, Reason: '', Remedy: '', ...(failures >= failuresFaulty ? { Note: note } : {}) };
}

export function hostname(node: Node): string {
  return node.description?.hostname || node.id;
}

function words(filter: FilterName, info: NodeInfo, task: Task, view: ClusterView): Words {
  switch (filter) {
    case 'ready':
      return readyWords(info.node);
    case 'resources':
      return resourceWords(info, task);
    case 'plugin':
      return pluginWords(info.node, task);
    case 'constraint':
      return constraintWords(info.node, task);
    case 'platform':
      return platformWords(info.node, task);
    case 'hostPort':
      return portWords(info, task, view);
    case 'maxReplicas':
      return maxWords(info, task);
    default:
      return unreachable(filter);
  }
}

function readyWords(node: Node): Words {
  const { state, message } = node.status;
  if (state !== 'ready') {
    const reason = `the node is ${state}${message === '' ? '' : `: ${message}`}`;
    return {
      reason,
      remedy: `start its daemon, or see why it cannot be reached at ${node.status.addr || 'its address'}`,
    };
  }
  const reason = node.spec.Availability === 'drain' ? 'the node is drained' : 'the node is paused';
  return { reason, remedy: `node update --availability active ${hostname(node)}` };
}

function resourceWords(info: NodeInfo, task: Task): Words {
  const wanted = task.spec.Resources?.Reservations;
  const { nanoCpus, memoryBytes } = info.capacity;
  const lacks: string[] = [];
  if ((wanted?.NanoCPUs ?? 0) > nanoCpus - info.nanoCpus) {
    lacks.push(amount('CPUs', wanted?.NanoCPUs ?? 0, { free: nanoCpus - info.nanoCpus, all: nanoCpus }, cpus));
  }
  if ((wanted?.MemoryBytes ?? 0) > memoryBytes - info.memoryBytes) {
    const room = { free: memoryBytes - info.memoryBytes, all: memoryBytes };
    lacks.push(amount('memory', wanted?.MemoryBytes ?? 0, room, bytes));
  }
  const capacity = genericCounts(info.node.description?.resources);
  for (const [kind, count] of genericCounts(wanted)) {
    const all = capacity.get(kind) ?? 0;
    const free = all - info.genericInUse(kind);
    if (count > free) lacks.push(amount(kind, count, { free, all }, String));
  }
  return { reason: `not enough left: ${lacks.join(', ')}`, remedy: 'reserve less, free some, or add a larger node' };
}

function amount(
  what: string,
  wanted: number,
  { free, all }: { readonly free: number; readonly all: number },
  show: (value: number) => string,
): string {
  return `${what} ${show(wanted)} wanted, ${show(Math.max(0, free))} of ${show(all)} free`;
}

const cpus = (nanos: number) => String(Math.round(nanos / 1e7) / 100);

function bytes(count: number): string {
  if (count >= 2 ** 30) return `${Math.round((count / 2 ** 30) * 100) / 100} GiB`;
  return `${Math.round((count / 2 ** 20) * 10) / 10} MiB`;
}

function pluginWords(node: Node, task: Task): Words {
  const missing = pluginsWanted(task).filter((plugin) => !hasPlugin(node, plugin));
  const names = missing.map(({ type, name }) => `${type.toLowerCase()} plugin ${name}`).join(', ');
  return { reason: `missing: ${names}`, remedy: 'install it there, or use another driver' };
}

function constraintWords(node: Node, task: Task): Words {
  const constraints = readConstraints(task.spec.Placement?.Constraints ?? []);
  const broken = constraints.filter((constraint) => !nodeMatches([constraint], node));
  const reasons = broken.map((constraint) => {
    const { key, operator, value } = constraint;
    const actual = nodeValue(constraint, node);
    const is = actual === undefined ? 'there is no such key' : actual === '' ? 'it is not set' : `it is ${actual}`;
    return `${key} ${operator} ${value}, but ${is}`;
  });
  const label = broken.length === 1 ? broken.find(({ key }) => /^node\.labels\./i.test(key)) : undefined;
  const host = hostname(node);
  if (label === undefined) return { reason: reasons.join('; '), remedy: 'change the constraint, or use another node' };
  const name = label.key.slice('node.labels.'.length);
  const change = label.operator === '==' ? `--label-add ${name}=${label.value}` : `--label-rm ${name}`;
  return { reason: reasons.join('; '), remedy: `node update ${change} ${host}` };
}

function platformWords(node: Node, task: Task): Words {
  const wanted = (task.spec.Placement?.Platforms ?? []).map(
    ({ OS = 'any', Architecture = 'any' }) => `${OS || 'any'}/${Architecture || 'any'}`,
  );
  const actual = node.description?.platform;
  const is = actual === undefined ? 'unknown' : `${actual.os}/${actual.architecture}`;
  return { reason: `the image is for ${wanted.join(', ')}, the node is ${is}`, remedy: `use an image for ${is}` };
}

function portWords(info: NodeInfo, task: Task, view: ClusterView): Words {
  const taken = portKeys(task).filter((key) => info.portInUse(key));
  const holder = [...view.tasksOfNode(info.node.id)].find(
    (other) =>
      other.status.state >= TaskState.assigned &&
      !isTerminal(other.status.state) &&
      portKeys(other).some((key) => taken.includes(key)),
  );
  const by =
    holder === undefined
      ? 'a task that is being placed'
      : `${holder.serviceName}.${holder.slot || hostname(info.node)}`;
  return { reason: `host port ${taken.join(', ')} is taken by ${by}`, remedy: 'publish another port, or add a node' };
}

function maxWords(info: NodeInfo, task: Task): Words {
  const max = task.spec.Placement?.MaxReplicas ?? 0;
  return {
    reason: `it has ${info.presentOf(task.serviceId)} of at most ${max} tasks of this service`,
    remedy: 'allow more replicas per node, or add a node',
  };
}
