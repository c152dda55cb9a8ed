/**
 * Deletes tasks that nobody needs: those marked for removal once they are stopped, and the oldest of a slot's history.
 * The newest task of a slot always stays: it remembers what the restart policy decided.
 */
import type { Cancel } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { Loop } from '../../lib/loop.ts';
import { Pace } from '../../lib/pace.ts';
import { effectiveRestartPolicy } from '../../model/defaults.ts';
import type { Service, Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import type { LeaderLoop } from '../store/port.ts';
import { parsePlaceKey, placeKey, placeOf, tasksAt } from './place.ts';
import type { OrchestratorOptions } from './port.ts';
import { lookedAtPerTurn, retryMs } from './port.ts';
import { isStopped } from './task.ts';

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
  const old = history.slice(0, -1).filter((task) => task.desired > TaskState.running && isStopped(task));
  return [...unwanted, ...old.slice(0, excess)];
}

export class ReaperLoop implements LeaderLoop {
  readonly name = 'reaper';
  readonly #options: OrchestratorOptions;
  readonly #loop: Loop;
  /** See `placeKey`. */
  readonly #places = new Set<string>();
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
  }

  start(): void {
    this.#unsubscribe = this.#options.store.subscribe(({ events }) => {
      for (const event of events) {
        if (event.table === 'task' && event.after !== undefined) this.#mark(event.after);
        else if (event.table === 'service' && event.after === undefined && event.before !== undefined)
          this.#markService(event.before.id);
        else if (event.table === 'cluster' && limitOf(event.before) !== limitOf(event.after)) this.#isNew = true;
      }
      if (this.#isNew || this.#places.size > 0) this.#loop.trigger();
    });
    this.#loop.trigger();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#cancelRetry();
    await this.#loop.stop();
  }

  #mark(task: Task): void {
    this.#places.add(placeKey(task.serviceId, placeOf(task)));
  }

  #markService(id: string): void {
    for (const task of this.#options.store.view.tasksOfService(id)) this.#mark(task);
  }

  async #markAll(pace: Pace): Promise<void> {
    for (const task of [...this.#options.store.view.list('task')]) {
      this.#mark(task);
      const pause = pace.spend();
      if (pause !== undefined) await pause;
    }
  }

  async #run(): Promise<void> {
    const { store, clock } = this.#options;
    const pace = new Pace(clock, lookedAtPerTurn);
    if (this.#isNew) {
      this.#isNew = false;
      await this.#markAll(pace);
    }
    const keys = [...this.#places];
    this.#places.clear();
    const dirty: string[] = [];
    for (const key of keys) {
      if (reapable(store.view, key).length > 0) dirty.push(key);
      const pause = pace.spend();
      if (pause !== undefined) await pause;
    }
    if (dirty.length === 0 || this.#stopped) return;
    await store.batch(dirty, (tx, key) => {
      for (const task of reapable(tx, key)) tx.remove('task', task.id);
    });
  }

  #retryLater(error: unknown): void {
    if (this.#stopped) return;
    this.#options.log.warn('deleting old tasks', { error: messageOf(error) });
    this.#cancelRetry();
    this.#cancelRetry = this.#options.clock.timer(retryMs, () => {
      this.#isNew = true;
      this.#loop.trigger();
    });
  }
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
