/**
 * Looks after tasks whose node changed under them. A node that is gone, or down for a day, will not report on its tasks: they
 * become orphaned. A node that no longer meets a service's constraints (a label, its role) has that service's tasks rejected, and
 * one that became smaller the newest of those that no longer fit. That is not the tasks' fault: they move at once, uncounted.
 */
import type { Cancel } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { Loop } from '../../lib/loop.ts';
import { Pace } from '../../lib/pace.ts';
import type { Node, Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import { constraintsMatch, hasRoom, holds, NodeInfo } from '../../scheduler/index.ts';
import type { LeaderLoop, Transaction } from '../store/port.ts';
import { Alarms } from './alarms.ts';
import type { OrchestratorOptions } from './port.ts';
import { lookedAtPerTurn, retryMs } from './port.ts';
import { orphan } from './reconcile/apply.ts';
import { isWanted } from './task.ts';

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
  // The constraints of the service count, not the task's copy; a task of an older spec is the rollout's business.
  if (service === undefined || service.specVersion !== task.specVersion) return 'fine';
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
  readonly #loop: Loop;
  readonly #alarms: Alarms;
  readonly #nodes = new Set<string>();
  /** Everything is to be looked at. */
  #isNew = true;
  #stopped = false;
  #unsubscribe = () => {};
  #cancelRetry: Cancel = () => {};

  constructor(options: OrchestratorOptions) {
    this.#options = options;
    this.#loop = new Loop(
      options.clock,
      () => this.#run(),
      (error) => this.#retryLater(error),
    );
    this.#alarms = new Alarms(options.clock, (nodeId) => this.#mark(nodeId));
  }

  start(): void {
    this.#unsubscribe = this.#options.store.subscribe(({ events }) => {
      for (const event of events) {
        const node = event.table === 'node' ? (event.after ?? event.before) : undefined;
        if (node !== undefined) this.#mark(node.id);
        const task = event.table === 'task' ? event.after : undefined;
        if (task !== undefined && task.nodeId !== '' && this.#options.store.view.get('node', task.nodeId) === undefined)
          this.#mark(task.nodeId);
      }
    });
    this.#loop.trigger();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#cancelRetry();
    this.#alarms.clear();
    await this.#loop.stop();
    this.#alarms.clear();
  }

  #mark(nodeId: string): void {
    this.#nodes.add(nodeId);
    this.#loop.trigger();
  }

  async #markAll(pace: Pace): Promise<void> {
    const { view } = this.#options.store;
    for (const node of view.list('node')) this.#nodes.add(node.id);
    for (const { nodeId } of [...view.list('task')]) {
      if (nodeId !== '' && view.get('node', nodeId) === undefined) this.#nodes.add(nodeId);
      const pause = pace.spend(1 / 10);
      if (pause !== undefined) await pause;
    }
  }

  async #run(): Promise<void> {
    if (this.#stopped) return;
    const { store, clock } = this.#options;
    const pace = new Pace(clock, lookedAtPerTurn);
    if (this.#isNew) {
      this.#isNew = false;
      await this.#markAll(pace);
    }
    const now = clock.now();
    const nodeIds = [...this.#nodes];
    this.#nodes.clear();
    const tasks: Task[] = [];
    for (const id of nodeIds) {
      this.#alarms.set(id, orphanAt(store.view.get('node', id), now));
      const pause = pace.spend(1 + this.#look(id, now, tasks));
      if (pause !== undefined) await pause;
      if (this.#stopped) return;
    }
    if (tasks.length > 0) await store.batch(tasks, enforce);
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

  #retryLater(error: unknown): void {
    if (this.#stopped) return;
    this.#options.log.warn('looking after the tasks of nodes', { error: messageOf(error) });
    this.#cancelRetry();
    this.#cancelRetry = this.#options.clock.timer(retryMs, () => {
      this.#isNew = true;
      this.#loop.trigger();
    });
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
    status: { ...task.status, state: TaskState.rejected, timestamp: tx.now, message, err: message },
  });
}
