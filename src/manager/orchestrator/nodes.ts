/**
 * Looks after tasks whose node changed under them. A node that is gone, or down for a day, will not report on its tasks: they
 * become orphaned. A node that no longer meets a service's constraints (a label, its role) has that service's tasks rejected, and
 * one that became smaller the newest of those that no longer fit. That is not the tasks' fault: they move at once, uncounted.
 */
import { Pace } from '../../lib/pace.ts';
import type { Node, Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ChangeEvent, ClusterView } from '../../model/view.ts';
import { constraintsMatch, hasRoom, holds, NodeInfo } from '../../scheduler/index.ts';
import { CommitLoop } from '../store/commit-loop.ts';
import type { LeaderLoop, Transaction } from '../store/port.ts';
import { Alarms } from './alarms.ts';
import type { OrchestratorOptions } from './port.ts';
import { lookedAtPerTurn, retryMs } from './port.ts';
import { orphan } from './reconcile/apply.ts';
import { isSettled, isWanted } from './task.ts';

/** SwarmKit's time after which the tasks of a node that stays down no longer hold anything. */
export const orphanAfterMs = 24 * 3600 * 1000;

export type Verdict = 'fine' | 'node removed' | 'node down too long' | 'constraints' | 'resources';

export function judge(task: Task, view: ClusterView, now: number): Verdict {
  if (task.nodeId === '' || isTerminal(task.status.state)) return 'fine';
  const node = view.get('node', task.nodeId);
  if (node === undefined) return 'node removed';
  if (node.status.state === 'down') return now >= node.status.since + orphanAfterMs ? 'node down too long' : 'fine';
  if (node.spec.Availability !== 'active' || !isWanted(task)) return 'fine';
  const service = view.get('service', task.serviceId);
  // The constraints of the service count, not the task's copy; a task that an update moves is the rollout's business.
  if (service === undefined || !isSettled(task, service)) return 'fine';
  if (!constraintsMatch(service.spec.TaskTemplate.Placement?.Constraints, node)) return 'constraints';
  return 'fine';
}

/** Tasks that the node is too small for by now: the oldest stay. Resources that a task does not reserve do not matter to it. */
export function crowdedOut(node: Node, view: ClusterView): ReadonlySet<string> {
  const out = new Set<string>();
  if (node.description === undefined || node.spec.Availability !== 'active' || node.status.state !== 'ready')
    return out;
  const info = new NodeInfo(node);
  const tasks = [...view.tasksOfNode(node.id)].filter((task) => isWanted(task) && holds(task));
  for (const task of tasks) {
    // It starts only once the task that it takes over from has given way.
    if (task.handover === 'stop-first' && tasks.some((old) => old.id === task.replaces)) continue;
    if (hasRoom(info, task)) info.put(task);
    else out.add(task.id);
  }
  return out;
}

export class NodesLoop implements LeaderLoop {
  readonly name = 'nodes';
  readonly #options: OrchestratorOptions;
  readonly #loop: CommitLoop;
  readonly #pace: Pace;
  readonly #alarms: Alarms;
  readonly #nodes = new Set<string>();

  constructor(options: OrchestratorOptions) {
    this.#options = options;
    this.#pace = new Pace(options.clock, lookedAtPerTurn);
    this.#loop = new CommitLoop({
      ...options,
      doing: 'looking after the tasks of nodes',
      retryMs,
      record: (events) => this.#record(events),
      markAll: () => this.#markAll(),
      run: () => this.#run(),
    });
    this.#alarms = new Alarms(options.clock, (nodeId) => {
      this.#nodes.add(nodeId);
      this.#loop.trigger();
    });
  }

  start(): void {
    this.#loop.start();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    this.#alarms.clear();
  }

  #record(events: readonly ChangeEvent[]): boolean {
    for (const event of events) {
      const node = event.table === 'node' ? (event.after ?? event.before) : undefined;
      if (node !== undefined) this.#nodes.add(node.id);
      if (event.table === 'task' && event.after !== undefined) this.#markStray(event.after);
    }
    return this.#nodes.size > 0;
  }

  /** The node of the task is gone. */
  #markStray({ nodeId }: Task): void {
    if (nodeId !== '' && this.#options.store.view.get('node', nodeId) === undefined) this.#nodes.add(nodeId);
  }

  async #markAll(): Promise<void> {
    const { view } = this.#options.store;
    for (const node of view.list('node')) this.#nodes.add(node.id);
    await this.#pace.each(view.list('task'), (task) => {
      this.#markStray(task);
      return 1 / 10;
    });
  }

  async #run(): Promise<void> {
    const { store, clock } = this.#options;
    const now = clock.now();
    const nodeIds = [...this.#nodes];
    this.#nodes.clear();
    const tasks: Task[] = [];
    await this.#pace.each(nodeIds, (id) => {
      if (this.#loop.isStopped) return 0;
      this.#alarms.set(id, orphanAt(store.view.get('node', id), now));
      return 1 + this.#look(id, now, tasks);
    });
    if (tasks.length === 0 || this.#loop.isStopped) return;
    const { refused } = await store.batch(tasks, enforce);
    // Which ones is not told. Looking sets the node's own alarm again.
    if (refused > 0) for (const { nodeId } of tasks) this.#alarms.set(nodeId, clock.now() + retryMs);
  }

  /** Finds the misplaced ones among the tasks of a node; how many it looked at. */
  #look(nodeId: string, now: number, misplaced: Task[]): number {
    const { view } = this.#options.store;
    const node = view.get('node', nodeId);
    const out = node === undefined ? new Set<string>() : crowdedOut(node, view);
    let count = 0;
    for (const task of view.tasksOfNode(nodeId)) {
      count += 1;
      if (out.has(task.id) || judge(task, view, now) !== 'fine') misplaced.push(task);
    }
    return count;
  }
}

function orphanAt(node: Node | undefined, now: number): number | undefined {
  const at = node?.status.state === 'down' ? node.status.since + orphanAfterMs : undefined;
  return at !== undefined && at > now ? at : undefined;
}

function enforce(tx: Transaction, { id }: Task): void {
  const task = tx.get('task', id);
  if (task === undefined) return;
  const node = tx.get('node', task.nodeId);
  const crowded = node !== undefined && crowdedOut(node, tx).has(id);
  const verdict = crowded ? 'resources' : judge(task, tx, tx.now);
  if (verdict === 'node removed') return orphan(tx, id, 'Task belonged to a node that has been deleted.');
  if (verdict === 'node down too long') return orphan(tx, id, 'Task belonged to a node that has been down for a day.');
  if (verdict === 'fine') return;
  const { meta: _, ...draft } = task;
  const message = 'assigned node no longer meets constraints';
  tx.update('task', {
    ...draft,
    evicted: true,
    endedAt: tx.now,
    status: { ...task.status, state: TaskState.rejected, timestamp: tx.now, message, err: message },
  });
}
