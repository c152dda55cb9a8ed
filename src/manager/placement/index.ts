/**
 * Feeds the pure scheduler: keeps its index of nodes by change events, places pending tasks in batches, and writes why a task
 * has no place. Promises: a placement is written only while its node is still fit for new tasks; an explanation only when it
 * changed; a task without a place is tried again when a node changes, or on a node where something is freed. It never waits for a
 * while first.
 */
import type { Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { Pace } from '../../lib/pace.ts';
import type { Node, Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ChangeEvent } from '../../model/view.ts';
import type { Placement } from '../../scheduler/index.ts';
import {
  ClusterIndex,
  confirmGroup,
  explanation,
  failureWindowMs,
  filtersFor,
  firstRefusal,
  holds,
  NodeInfo,
  nodeFiltersFor,
  scheduleGroup,
} from '../../scheduler/index.ts';
import { CommitLoop } from '../store/commit-loop.ts';
import type { LeaderLoop, Store, Transaction } from '../store/port.ts';
import type { PendingGroup } from './pending.ts';
import { Pending } from './pending.ts';

export interface PlacementOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

const retryMs = 500;
/** Tasks looked at in one turn when a leader begins. */
const indexedPerTurn = 500;
/** Nodes looked at in one turn: each group of tasks looks at all of them, and a task that is placed costs as much as some. */
const nodesPerTurn = 30_000;
const nodesPerTask = 20;
const assignedMessage = 'scheduler assigned task to node';
const confirmedMessage = 'scheduler confirmed task can run on preassigned node';
const pendingMessage = 'pending task scheduling';

export function createPlacement(options: PlacementOptions): LeaderLoop {
  return new PlacementLoop(options);
}

interface Decided {
  readonly placed: readonly Placement[];
  readonly refused: readonly Refused[];
}

interface Refused {
  readonly task: Task;
  readonly err: string;
}

class PlacementLoop implements LeaderLoop {
  readonly name = 'placement';
  readonly #options: PlacementOptions;
  readonly #loop: CommitLoop;
  readonly #index = new ClusterIndex();
  #isBuilt = false;
  readonly #pending = new Pending();
  /** Something changed since the last run that may let a pending task be placed. */
  #stale = false;
  /** Nodes on which something was freed since the last run. */
  #freed = new Set<string>();
  /** Nodes themselves changed: everything is tried again, also for what is said about it. */
  #allAgain = true;

  constructor(options: PlacementOptions) {
    this.#options = options;
    this.#loop = new CommitLoop({
      ...options,
      doing: 'placing tasks',
      retryMs,
      record: (events) => this.#record(events),
      markAll: () => this.#tryAll(),
      run: () => this.#run(),
    });
  }

  start(): void {
    this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  #record(events: readonly ChangeEvent[]): boolean {
    for (const event of events) {
      if (event.table === 'node') this.#recordNode(event.before, event.after);
      else if (event.table === 'task') this.#recordTask(event.before, event.after);
    }
    return this.#stale;
  }

  async #tryAll(): Promise<void> {
    if (!this.#isBuilt) await this.#build();
    this.#allAgain = true;
    this.#stale = true;
  }

  #recordNode(before: Node | undefined, after: Node | undefined): void {
    if (after !== undefined) this.#index.putNode(after);
    else if (before !== undefined) this.#index.removeNode(before.id);
    this.#allAgain = true;
    this.#stale = true;
  }

  #recordTask(before: Task | undefined, after: Task | undefined): void {
    this.#index.changeTask(before, after);
    if (before !== undefined && after !== undefined && endsNow(before, after)) {
      this.#index.noteFailure(after, this.#options.clock.now());
    }
    if (after !== undefined && waits(after)) {
      if (this.#pending.put(after)) this.#stale = true;
    } else if (before !== undefined && waits(before)) {
      this.#pending.delete(before);
    }
    if (before !== undefined && holds(before) && frees(before, after)) this.#noteFreed(before.nodeId);
    // From now on the old task does not count against replicas per node.
    const over = after?.handover === undefined ? undefined : this.#index.infoOfTask(after.replaces ?? '');
    if (over !== undefined && before === undefined) this.#noteFreed(over.node.id);
  }

  #noteFreed(nodeId: string): void {
    this.#freed.add(nodeId);
    this.#stale = true;
  }

  /** In pieces: events keep what is indexed already as it is, and the rest is read when its turn comes. */
  async #build(): Promise<void> {
    const { store, clock } = this.#options;
    const { view } = store;
    const began = { version: view.version, now: clock.now() };
    for (const node of view.list('node')) this.#index.putNode(node);
    await new Pace(clock, indexedPerTurn).each(view.list('task'), ({ id }) => {
      if (this.#loop.isStopped) return 0;
      const task = view.get('task', id);
      if (task !== undefined) this.#adopt(task, began);
      return 1;
    });
    this.#isBuilt = true;
  }

  #adopt(task: Task, began: { readonly version: number; readonly now: number }): void {
    this.#index.changeTask(undefined, task);
    if (waits(task)) this.#pending.put(task);
    const isRecent = task.meta.updatedAt > began.now - failureWindowMs;
    // A later failure was noted when it happened.
    if (isRecent && task.meta.version <= began.version) this.#index.noteFailure(task, task.meta.updatedAt);
  }

  async #run(): Promise<void> {
    if (!this.#stale) return;
    this.#stale = false;
    const freed = this.#allAgain ? undefined : this.#freed;
    this.#allAgain = false;
    this.#freed = new Set();
    let placed: Placement[] = [];
    let refused: Refused[] = [];
    let looked = 0;
    for (const group of this.#pending.groups()) {
      if (freed !== undefined && this.#isHopeless(group, freed)) {
        looked += 1 + freed.size;
      } else {
        const isPinned = group.sample?.pinned === true;
        const tasks = isPinned && freed !== undefined ? group.concernedBy(freed) : group.tasks;
        const decided = isPinned ? this.#confirm(group, tasks) : this.#choose(group, tasks);
        for (const one of decided.placed) placed.push(one);
        for (const one of decided.refused) refused.push(one);
        looked += tasks.length * nodesPerTask + (isPinned ? 1 : this.#index.size);
      }
      if (looked < nodesPerTurn) continue;
      await this.#write(placed, refused);
      await new Promise<void>((resolve) => this.#options.clock.defer(resolve));
      if (this.#loop.isStopped) return;
      [placed, refused, looked] = [[], [], 0];
    }
    await this.#write(placed, refused);
  }

  async #write(placed: readonly Placement[], refused: readonly Refused[]): Promise<void> {
    try {
      await this.#options.store.batch([...placed, ...refused], write);
    } finally {
      this.#settle(placed);
    }
  }

  #choose(group: PendingGroup, tasks: readonly Task[]): Decided {
    const now = this.#options.clock.now();
    const { placed, unplaced, refusals } = scheduleGroup(this.#index.infos(), tasks, now, (id) =>
      this.#index.infoOfTask(id),
    );
    const err = explanation(refusals);
    for (const task of unplaced) group.noteTried(task.id);
    return { placed, refused: unplaced.filter((task) => !explained(task, err)).map((task) => ({ task, err })) };
  }

  /** No node would take them, and none of those where something was freed since takes them now: nodes × groups is too much for each. */
  #isHopeless({ sample, isTried }: PendingGroup, freed: ReadonlySet<string>): boolean {
    if (sample === undefined || sample.pinned === true || !isTried) return false;
    const filters = filtersFor(sample);
    for (const id of freed) {
      const info = this.#index.get(id);
      if (info !== undefined && firstRefusal(filters, info) === undefined) return false;
    }
    return true;
  }

  #confirm(group: PendingGroup, tasks: readonly Task[]): Decided {
    const placed: Placement[] = [];
    const refused: Refused[] = [];
    for (const { task, refusals, generic = [] } of confirmGroup(this.#index, tasks)) {
      if (refusals !== undefined) group.noteTried(task.id);
      if (refusals === undefined) placed.push({ task, nodeId: task.nodeId, generic });
      else if (!explained(task, explanation(refusals))) refused.push({ task, err: explanation(refusals) });
    }
    return { placed, refused };
  }

  /** What was not written is given back, and everything that waits is tried again: it may have been refused because of it. */
  #settle(placed: readonly Placement[]): void {
    for (const { task, nodeId } of placed) {
      const current = this.#options.store.view.get('task', task.id);
      if (current !== undefined && current.nodeId === nodeId && holds(current)) continue;
      this.#index.release(nodeId, task.id);
      this.#noteFreed(nodeId);
    }
    if (this.#stale) this.#loop.trigger();
  }
}

function write(tx: Transaction, item: Placement | Refused): void {
  const task = tx.get('task', item.task.id);
  if (task === undefined || !waits(task)) return;
  if ('err' in item) return writeRefusal(tx, task, item.err);
  const node = tx.get('node', item.nodeId);
  if (node === undefined || firstRefusal(nodeFiltersFor(task), new NodeInfo(node)) !== undefined) {
    throw new ClusterError('conflict', `node ${item.nodeId} is not available for new tasks any more`);
  }
  const { meta: _, ...draft } = task;
  const generic = item.generic.length === 0 ? {} : { genericResources: item.generic };
  const message = task.pinned === true ? confirmedMessage : assignedMessage;
  const status = { ...task.status, state: TaskState.assigned, timestamp: tx.now, message, err: '' };
  tx.update('task', { ...draft, ...generic, nodeId: item.nodeId, status });
}

function writeRefusal(tx: Transaction, task: Task, err: string): void {
  if (explained(task, err)) return;
  const { meta: _, ...draft } = task;
  tx.update('task', { ...draft, status: { ...task.status, message: pendingMessage, err } });
}

function explained(task: Task, err: string): boolean {
  return task.status.err === err && task.status.message === pendingMessage;
}

function waits(task: Task): boolean {
  const isOpen = task.nodeId === '' || task.pinned === true;
  return isOpen && task.status.state === TaskState.pending && task.desired <= TaskState.complete;
}

function endsNow(before: Task, after: Task): boolean {
  return !isTerminal(before.status.state) && isTerminal(after.status.state);
}

function frees(before: Task, after: Task | undefined): boolean {
  return after === undefined || !holds(after) || after.desired !== before.desired;
}
