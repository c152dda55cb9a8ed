/** What a node must offer to a task, in Swarm's order and words. The first filter that turns a node down gets the blame. */
import type { Node, Task } from '../model/objects.ts';
import { matcherOf } from './constraint.ts';
import type { NodeInfo } from './node-info.ts';
import { genericCounts, portKeys } from './node-info.ts';
import { platformMatches } from './platform.ts';

export type FilterName = 'ready' | 'resources' | 'plugin' | 'constraint' | 'platform' | 'hostPort' | 'maxReplicas';

export interface Filter {
  readonly name: FilterName;
  readonly passes: (info: NodeInfo) => boolean;
}

/** The filters that this task has a use for; equal for all tasks of a group. */
export function filtersFor(task: Task): readonly Filter[] {
  return [
    readyFilter,
    ...resourceFilter(task),
    ...pluginFilter(task),
    ...constraintFilter(task),
    ...platformFilter(task),
    ...portFilter(task),
    ...maxFilter(task),
  ];
}

/** Those that look at the node object alone: what is checked again when a placement is written. */
export function nodeFiltersFor(task: Task): readonly Filter[] {
  return [readyFilter, ...pluginFilter(task), ...constraintFilter(task), ...platformFilter(task)];
}

export function firstRefusal(filters: readonly Filter[], info: NodeInfo): FilterName | undefined {
  for (const filter of filters) if (!filter.passes(info)) return filter.name;
  return undefined;
}

const readyFilter: Filter = { name: 'ready', passes: (info) => info.isReady };

function resourceFilter(task: Task): readonly Filter[] {
  const reserved = task.spec.Resources?.Reservations;
  const cpus = reserved?.NanoCPUs ?? 0;
  const memory = reserved?.MemoryBytes ?? 0;
  const generic = [...genericCounts(reserved)];
  if (cpus === 0 && memory === 0 && generic.length === 0) return [];
  const passes = (info: NodeInfo) => {
    const capacity = info.capacity;
    return (
      (cpus === 0 || info.nanoCpus + cpus <= capacity.nanoCpus) &&
      (memory === 0 || info.memoryBytes + memory <= capacity.memoryBytes) &&
      (generic.length === 0 || hasGeneric(info, generic))
    );
  };
  return [{ name: 'resources', passes }];
}

/** Whether the node has left what the task reserves. */
export function hasRoom(info: NodeInfo, task: Task): boolean {
  return resourceFilter(task).every((filter) => filter.passes(info));
}

function hasGeneric(info: NodeInfo, wanted: readonly (readonly [string, number])[]): boolean {
  const capacity = genericCounts(info.node.description?.resources);
  return wanted.every(([kind, count]) => info.genericInUse(kind) + count <= (capacity.get(kind) ?? 0));
}

function pluginFilter(task: Task): readonly Filter[] {
  const wanted = pluginsWanted(task);
  return wanted.length === 0
    ? []
    : [{ name: 'plugin', passes: (info) => wanted.every((plugin) => hasPlugin(info.node, plugin)) }];
}

interface Plugin {
  readonly type: string;
  readonly name: string;
}

export function pluginsWanted(task: Task): readonly Plugin[] {
  const wanted: Plugin[] = [];
  for (const mount of task.spec.ContainerSpec.Mounts ?? []) {
    const driver = mount.Type === 'volume' ? (mount.VolumeOptions?.DriverConfig?.Name ?? '') : '';
    if (driver !== '' && driver !== 'local') wanted.push({ type: 'Volume', name: driver });
  }
  const log = task.spec.LogDriver?.Name ?? '';
  if (log !== '' && log !== 'none') wanted.push({ type: 'Log', name: log });
  return wanted;
}

/** A node that does not say what plugins of this type it has is taken to have them all. */
export function hasPlugin(node: Node, wanted: Plugin): boolean {
  const plugins = (node.description?.engine.plugins ?? []).filter((plugin) => plugin.type === wanted.type);
  if (plugins.length === 0) return true;
  return plugins.some(({ name }) => name === wanted.name || name === `${wanted.name}:latest`);
}

function constraintFilter(task: Task): readonly Filter[] {
  const expressions = task.spec.Placement?.Constraints ?? [];
  if (expressions.length === 0) return [];
  const matches = matcherOf(expressions);
  return [{ name: 'constraint', passes: (info) => matches(info.node) }];
}

function platformFilter(task: Task): readonly Filter[] {
  const platforms = task.spec.Placement?.Platforms ?? [];
  if (platforms.length === 0) return [];
  const passes = ({ node }: NodeInfo) => {
    const actual = node.description?.platform;
    return actual !== undefined && platforms.some((wish) => platformMatches(wish, actual));
  };
  return [{ name: 'platform', passes }];
}

function portFilter(task: Task): readonly Filter[] {
  const keys = portKeys(task);
  return keys.length === 0 ? [] : [{ name: 'hostPort', passes: (info) => !keys.some((key) => info.portInUse(key)) }];
}

function maxFilter(task: Task): readonly Filter[] {
  const max = task.spec.Placement?.MaxReplicas ?? 0;
  return max === 0 ? [] : [{ name: 'maxReplicas', passes: (info) => info.presentOf(task.serviceId) < max }];
}
