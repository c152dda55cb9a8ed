import type { Clock } from '../../lib/clock.ts';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { Loop } from '../../lib/loop.ts';
import { Pace } from '../../lib/pace.ts';
import type { TaskReport } from '../../model/assignment.ts';
import type { ContainerStatus, Task, TaskStatus } from '../../model/objects.ts';
import type { PortConfig } from '../../model/spec.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import type { Store, Transaction } from '../store/port.ts';

interface Item {
  readonly nodeId: string;
  readonly report: TaskReport;
  readonly acknowledge: (report: TaskReport) => void;
}

export interface IntakeOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Tasks with a report that waits; more are refused. */
  readonly waitingMax: number;
}

const retryMs = 500;
/** Reports looked at before others have a turn. */
const lookedAtPerTurn = 2_000;
const states: ReadonlySet<number> = new Set(Object.values(TaskState));

/**
 * Reported statuses on their way into the store. Whatever arrives while one batch commits becomes the next, the newest per task:
 * many reports cost few entries. A report is acknowledged when the store shows it, or when it never will.
 */
export class StatusIntake {
  readonly #options: IntakeOptions;
  readonly #loop: Loop;
  #waiting = new Map<string, Item>();
  #stopped = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#loop = new Loop(
      clock,
      () => this.#flush(),
      (error) => log.error('taking in task statuses', { error }),
    );
  }

  add(nodeId: string, reports: readonly TaskReport[], acknowledge: (report: TaskReport) => void): void {
    for (const { taskId, status } of reports) {
      const item = { nodeId, report: { taskId, status: cleanStatus(status) }, acknowledge };
      // What will never be stored takes no place: a node cannot fill the queue with tasks that are not its own.
      if (!moves(this.#options.store.view, item)) acknowledge(item.report);
      else if (this.#waiting.size < this.#options.waitingMax) this.#put(item);
      else throw new ClusterError('exhausted', 'too many task statuses wait to be stored');
    }
    this.#loop.trigger();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#waiting.clear();
    await this.#loop.stop();
  }

  /** The key has the node in it: a node that speaks of another's task must not push that task's real report aside. */
  #put(item: Item): void {
    const key = `${item.nodeId} ${item.report.taskId}`;
    const before = this.#waiting.get(key);
    if (before !== undefined && before.report.status.state > item.report.status.state) return;
    this.#waiting.set(key, item);
  }

  async #flush(): Promise<void> {
    const items = [...this.#waiting.values()];
    if (items.length === 0) return;
    this.#waiting = new Map();
    const { store, log, clock } = this.#options;
    const pace = new Pace(clock, lookedAtPerTurn);
    let stored = true;
    try {
      const changing: Item[] = [];
      await pace.each(items, (item) => {
        if (moves(store.view, item)) changing.push(item);
      });
      if (changing.length > 0) await store.batch(changing, apply);
    } catch (error) {
      stored = false;
      log.debug('storing task statuses', { reason: messageOf(error), count: items.length });
    }
    let left = 0;
    await pace.each(items, (item) => {
      if (this.#stopped) return;
      if (missing(store.view, item, stored)) {
        left += 1;
        this.#keep(item);
      } else {
        item.acknowledge(item.report);
      }
    });
    if (this.#stopped) return;
    if (left > 0) clock.timer(retryMs, () => this.#loop.trigger());
    else if (this.#waiting.size > 0) this.#loop.trigger();
  }

  /** Back in the queue, unless something newer of the task came in meanwhile. */
  #keep(item: Item): void {
    if (!this.#waiting.has(`${item.nodeId} ${item.report.taskId}`)) this.#put(item);
  }
}

function moves(view: ClusterView, { nodeId, report }: Item): boolean {
  const task = view.get('task', report.taskId);
  return task !== undefined && task.nodeId === nodeId && isNews(task, report.status);
}

/** Worth another try. A mere explanation that was refused once is not. */
function missing(view: ClusterView, item: Item, stored: boolean): boolean {
  if (!moves(view, item)) return false;
  return !stored || view.get('task', item.report.taskId)?.status.state !== item.report.status.state;
}

function apply(tx: Transaction, item: Item): void {
  const task = tx.get('task', item.report.taskId);
  if (task === undefined || !moves(tx, item)) return;
  const { status } = item.report;
  const starts = status.state === TaskState.running && task.status.state < TaskState.running;
  const ends = isTerminal(status.state) && !isTerminal(task.status.state);
  const stamps = { ...(starts ? { runningSince: tx.now } : {}), ...(ends ? { endedAt: tx.now } : {}) };
  tx.update('task', { ...task, status, ...stamps });
}

/** Forward moves of the states that are an agent's to report; or, in the same state, another explanation. */
function isNews(task: Task, status: TaskStatus): boolean {
  const { state } = status;
  if (!states.has(state) || state < TaskState.accepted || state > TaskState.rejected) return false;
  if (state !== task.status.state) return state > task.status.state;
  if (isTerminal(state)) return false;
  const { message, err, container, ports } = task.status;
  return (
    JSON.stringify([message, err, container, ports]) !==
    JSON.stringify([status.message, status.err, status.container, status.ports])
  );
}

const textMax = 4096;

/** Only the known fields, of bounded length: it goes into the log of every manager. */
function cleanStatus(status: TaskStatus): TaskStatus {
  const { state, timestamp, message, err, container, ports } = status;
  return {
    state,
    timestamp,
    message: message.slice(0, textMax),
    err: err.slice(0, textMax),
    ...(container === undefined ? {} : { container: cleanContainer(container) }),
    ...(ports === undefined ? {} : { ports: ports.map(cleanPort) }),
  };
}

function cleanContainer({ containerId, pid, exitCode, gateway }: ContainerStatus): ContainerStatus {
  return { containerId, pid, exitCode, ...(gateway === undefined ? {} : { gateway }) };
}

function cleanPort({ Protocol, TargetPort, PublishedPort, PublishMode, HostIP }: PortConfig): PortConfig {
  return {
    ...(Protocol === undefined ? {} : { Protocol }),
    TargetPort,
    ...(PublishedPort === undefined ? {} : { PublishedPort }),
    ...(PublishMode === undefined ? {} : { PublishMode }),
    ...(HostIP === undefined ? {} : { HostIP }),
  };
}
