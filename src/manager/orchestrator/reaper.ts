/**
 * Deletes tasks that nobody needs: those marked for removal once they are stopped, and the oldest of a slot's history.
 * The newest task of a slot always stays: it remembers what the restart policy decided. A task that had addresses stays until these
 * have rested: it is how a new leader knows of them.
 */
import type { Cancel } from '../../lib/clock.ts';
import { DueQueue } from '../../lib/due.ts';
import { Pace } from '../../lib/pace.ts';
import { effectiveRestartPolicy } from '../../model/defaults.ts';
import { addressRestMs } from '../../model/network.ts';
import type { Service, Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import { isUpdating } from '../../model/update.ts';
import type { ChangeEvent, ClusterView } from '../../model/view.ts';
import { CommitLoop } from '../store/commit-loop.ts';
import type { LeaderLoop } from '../store/port.ts';
import { parsePlaceKey, placeKey, placeOf, tasksAt } from './place.ts';
import type { OrchestratorOptions } from './port.ts';
import { lookedAtPerTurn, retryMs } from './port.ts';
import { endedByItself } from './reconcile/slot.ts';
import { isStopped } from './task.ts';
import { crashesMax } from './update/assess.ts';

const historyDefault = 5;

/** Which tasks of a slot to delete; `tasks` are all of it, oldest first. A negative limit keeps all history. */
export function decideReap(tasks: readonly Task[], service: Service | undefined, limit: number): readonly Task[] {
  const unwanted = tasks.filter(
    (task) => isStopped(task) && (service === undefined || task.desired === TaskState.remove),
  );
  if (service === undefined) return unwanted;
  const history = tasks.filter((task) => task.desired !== TaskState.remove);
  const { maxAttempts } = effectiveRestartPolicy(service.spec.TaskTemplate.RestartPolicy);
  const max = maxAttempts > 0 ? maxAttempts + 1 : limit;
  if (max < 0) return unwanted;
  const excess = Math.max(0, history.length - max);
  const evidence = evidenceOf(history, service);
  const old = history
    .slice(0, -1)
    .filter((task) => task.desired > TaskState.running && isStopped(task) && !evidence.has(task));
  return [...unwanted, ...old.slice(0, excess)];
}

/** However short the history: what says that a job's slot is done, and what the update under way judges the place by. */
function evidenceOf(history: readonly Task[], service: Service): ReadonlySet<Task> {
  const { jobStatus, specVersion } = service;
  if (jobStatus !== undefined) {
    const done = (task: Task) => task.status.state === TaskState.complete && task.jobIteration === jobStatus.iteration;
    return new Set(history.filter(done));
  }
  if (!isUpdating(service)) return new Set();
  const isMade = (task: Task) => task.specVersion === specVersion && task.updateBegunAt !== undefined;
  return new Set(history.filter((task) => isMade(task) && endedByItself(task)).slice(-crashesMax));
}

/** When the task may be deleted, as far as its addresses go. */
export function addressesRestUntil({ attachments = [], status, meta }: Task): number {
  return attachments.length > 0 && isTerminal(status.state) ? meta.updatedAt + addressRestMs : 0;
}

export class ReaperLoop implements LeaderLoop {
  readonly name = 'reaper';
  readonly #options: OrchestratorOptions;
  readonly #loop: CommitLoop;
  readonly #pace: Pace;
  /** See `placeKey`. */
  readonly #places = new Set<string>();
  /** Places with tasks that are to be deleted, but not yet. */
  readonly #resting = new DueQueue<string>();
  #cancelTimer: Cancel = () => {};
  #timerAt: number | undefined;

  constructor(options: OrchestratorOptions) {
    this.#options = options;
    this.#pace = new Pace(options.clock, lookedAtPerTurn);
    this.#loop = new CommitLoop({
      ...options,
      doing: 'deleting old tasks',
      retryMs,
      record: (events) => this.#record(events),
      markAll: () => this.#pace.each(options.store.view.list('task'), (task) => this.#mark(task)),
      run: () => this.#run(),
    });
  }

  start(): void {
    this.#loop.start();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    this.#cancelTimer();
  }

  #record(events: readonly ChangeEvent[]): boolean {
    for (const event of events) {
      if (event.table === 'task' && event.after !== undefined) this.#mark(event.after);
      else if (event.table === 'service' && event.before !== undefined && isOver(event.before, event.after))
        this.#markService(event.before.id);
      else if (event.table === 'cluster' && limitOf(event.before) !== limitOf(event.after)) this.#loop.renew();
    }
    return this.#places.size > 0;
  }

  #mark(task: Task): void {
    this.#places.add(placeKey(task.serviceId, placeOf(task)));
  }

  #markService(id: string): void {
    for (const task of this.#options.store.view.tasksOfService(id)) this.#mark(task);
  }

  async #run(): Promise<void> {
    const { store, clock } = this.#options;
    for (const key of this.#resting.take(clock.now())) this.#places.add(key);
    const keys = [...this.#places];
    this.#places.clear();
    const dirty: string[] = [];
    await this.#pace.each(keys, (key) => {
      if (this.#isReapable(key)) dirty.push(key);
    });
    if (this.#loop.isStopped) return;
    this.#setTimer();
    if (dirty.length === 0) return;
    const { refused } = await store.batch(dirty, (tx, key) => {
      for (const task of reapable(tx, key)) if (addressesRestUntil(task) <= tx.now) tx.remove('task', task.id);
    });
    if (refused === 0) return;
    // Which ones is not told.
    for (const key of dirty) this.#resting.add(clock.now() + retryMs, key);
    this.#setTimer();
  }

  /** True where something can be deleted now; what has to rest is looked at again. */
  #isReapable(key: string): boolean {
    const { store, clock } = this.#options;
    const now = clock.now();
    const due = reapable(store.view, key).map(addressesRestUntil);
    const later = due.filter((at) => at > now);
    if (later.length > 0) this.#resting.add(Math.min(...later), key);
    return later.length < due.length;
  }

  /** One timer, for the earliest of all places. */
  #setTimer(): void {
    const at = this.#resting.next;
    if (at === this.#timerAt) return;
    this.#cancelTimer();
    this.#timerAt = at;
    if (at === undefined) return;
    const { clock } = this.#options;
    this.#cancelTimer = clock.timer(Math.max(0, at - clock.now()), () => {
      this.#timerAt = undefined;
      this.#loop.trigger();
    });
  }
}

/** Deleted, or its update has ended: what was kept for that may go. */
function isOver(before: Service, after: Service | undefined): boolean {
  return after === undefined || (isUpdating(before) && !isUpdating(after));
}

function reapable(view: ClusterView, key: string): readonly Task[] {
  const { serviceId, place } = parsePlaceKey(key);
  return decideReap(
    tasksAt(view, serviceId, place),
    view.get('service', serviceId),
    limitOf(view.cluster()) ?? historyDefault,
  );
}

function limitOf(cluster: ReturnType<ClusterView['cluster']>): number | undefined {
  return cluster?.spec.Orchestration.TaskHistoryRetentionLimit;
}
