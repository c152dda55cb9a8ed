/** How far a service is on its way to what its spec says. Pure; follows the Docker client's progress display. */
import type { ApiNode, ApiService, ApiTask } from '../../client/index.ts';
import { naturally } from '../output/text.ts';

export interface SlotProgress {
  /** `1/3`, or the node's id for global services. */
  readonly label: string;
  readonly text: string;
}

export interface Progress {
  /** `overall progress` or `job progress` header. */
  readonly header: string;
  readonly slots: readonly SlotProgress[];
  readonly converged: boolean;
  readonly job: boolean;
}

const states = [
  'new',
  'allocated',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'remove',
  'orphaned',
];
const slotsShownMax = 20;
const errorWidth = 75;

export function progressOf(service: ApiService, tasks: readonly ApiTask[], nodes: readonly ApiNode[]): Progress {
  const live = new Set(nodes.filter((node) => node.Status.State !== 'down').map((node) => node.ID));
  const rollback = service.UpdateStatus?.State === 'rollback_started';
  const { Mode } = service.Spec;
  if (Mode.ReplicatedJob !== undefined || Mode.GlobalJob !== undefined) return jobProgress(service, tasks, live);
  if (Mode.Global !== undefined) return globalProgress(tasks, live, rollback);
  return replicatedProgress(Mode.Replicated?.Replicas ?? 1, tasks, { live, rollback });
}

function replicatedProgress(
  replicas: number,
  tasks: readonly ApiTask[],
  context: { live: ReadonlySet<string>; rollback: boolean },
): Progress {
  const bySlot = pick(tasks, context.live, (task) => String(task.Slot ?? 0));
  const wanted = [...bySlot.values()].filter((task) => !isTerminal(task.DesiredState));
  const running = wanted.filter((task) => task.Status.State === 'running').length;
  const slots = wanted.map((task) => ({ label: `${task.Slot ?? 0}/${replicas}`, text: slotText(task) }));
  slots.sort((a, b) => naturally(a.label, b.label));
  return {
    header: header(running, replicas, context.rollback),
    slots: replicas > slotsShownMax ? [] : slots,
    converged: running === replicas,
    job: false,
  };
}

function globalProgress(tasks: readonly ApiTask[], live: ReadonlySet<string>, rollback: boolean): Progress {
  const byNode = pick(tasks, live, (task) => task.NodeID ?? '');
  const wanted = [...byNode.values()].filter((task) => !isTerminal(task.DesiredState));
  const running = wanted.filter((task) => task.Status.State === 'running').length;
  const slots = wanted.map((task) => ({ label: (task.NodeID ?? '').slice(0, 12), text: slotText(task) }));
  if (wanted.length === 0)
    return { header: 'overall progress: waiting for new tasks', slots: [], converged: false, job: false };
  return {
    header: header(running, wanted.length, rollback),
    slots: slots.length > slotsShownMax ? [] : slots,
    converged: running === wanted.length,
    job: false,
  };
}

function jobProgress(service: ApiService, tasks: readonly ApiTask[], live: ReadonlySet<string>): Progress {
  const iteration = service.JobStatus?.JobIteration?.Index ?? 0;
  const current = tasks.filter((task) => (task.JobIteration?.Index ?? 0) === iteration);
  const isGlobal = service.Spec.Mode.GlobalJob !== undefined;
  const picked = pick(current, live, (task) => (isGlobal ? (task.NodeID ?? '') : String(task.Slot ?? 0)));
  const complete = [...picked.values()].filter((task) => task.Status.State === 'complete').length;
  const total = isGlobal ? picked.size : (service.Spec.Mode.ReplicatedJob?.TotalCompletions ?? 1);
  const slots = [...picked.values()].map((task) => ({
    label: isGlobal ? (task.NodeID ?? '').slice(0, 12) : `${(task.Slot ?? 0) + 1}/${total}`,
    text: slotText(task),
  }));
  return {
    header: `job progress: ${complete} out of ${total} complete`,
    slots: total > slotsShownMax ? [] : slots,
    converged: total > 0 ? complete === total : !isGlobal,
    job: true,
  };
}

function header(running: number, total: number, rollback: boolean): string {
  return rollback
    ? `overall progress: rolling back update: ${running} out of ${total} tasks`
    : `overall progress: ${running} out of ${total} tasks`;
}

/** One task per group: the one meant to be furthest from its end; tasks on nodes that are away do not count. */
function pick(
  tasks: readonly ApiTask[],
  live: ReadonlySet<string>,
  groupOf: (task: ApiTask) => string,
): Map<string, ApiTask> {
  const picked = new Map<string, ApiTask>();
  for (const task of tasks) {
    if (task.NodeID !== undefined && task.NodeID !== '' && !live.has(task.NodeID)) continue;
    const group = groupOf(task);
    const other = picked.get(group);
    if (other === undefined || isBefore(task, other)) picked.set(group, task);
  }
  return picked;
}

function isBefore(task: ApiTask, other: ApiTask): boolean {
  const desired = states.indexOf(task.DesiredState) - states.indexOf(other.DesiredState);
  return desired < 0 || (desired === 0 && states.indexOf(task.Status.State) < states.indexOf(other.Status.State));
}

function isTerminal(state: string): boolean {
  return states.indexOf(state) > states.indexOf('running');
}

function slotText(task: ApiTask): string {
  const error = (task.Status.Err ?? '').replaceAll('\n', ' ');
  return error === '' ? task.Status.State : [...error].slice(0, errorWidth).join('');
}
