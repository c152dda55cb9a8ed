/**
 * One service's update: where each of its places is, kept up to date place by place, and what to do next. Pure but for its own
 * memory, which can be rebuilt from the store at any time: so a new leader goes on where the old one stopped.
 *
 * As Swarm does it: `parallelism` lanes; a lane takes an outdated place, waits until its new task runs, waits for the delay, and
 * takes the next. New tasks that end early are failures; when more than the tolerated share of places failed, the update is
 * paused or rolled back. After the last place it watches for one more monitor period. Beyond Swarm: a new task that does not
 * run within the progress deadline has failed, places are judged and not tasks, so that a crash loop is seen as one, and
 * everything that decides is in the store.
 */
import type { Node, Service, Task, UpdateStatus } from '../../../model/objects.ts';
import { progressDeadlineMs } from '../../../model/service-labels.ts';
import { completedUpdate, isUpdating, pausedUpdate, startedUpdate, updateConfigOf } from '../../../model/update.ts';
import { isCrowdedOut } from '../../../scheduler/index.ts';
import type { Place } from '../place.ts';
import { globalIntent } from '../reconcile/global.ts';
import { hasOtherLimit, maxPerNode } from '../task.ts';
import type { Assessment, Failure } from './assess.ts';
import { assess } from './assess.ts';
import { Dirt } from './dirt.ts';

export interface RolloutPorts {
  tasksAt(place: Place): readonly Task[];
  nodeOf(id: string): Node | undefined;
  tasksOn(nodeId: string): Iterable<Task>;
}

export type Verdict =
  | { readonly kind: 'status'; readonly change: Pick<Service, 'updateStatus' | 'updateProgress'> }
  | { readonly kind: 'rollback'; readonly message: string };

export interface RolloutDecision {
  /** Places to begin now. */
  readonly begin: readonly Place[];
  readonly verdict?: Verdict;
  /** When to look again though nothing happened. */
  readonly wakeAt?: number;
}

/** Places whose failure is remembered in the store; at so many the update is over in any case. */
export const failedMax = 10_000;

export class Rollout {
  service: Service;
  readonly #ports: RolloutPorts;
  readonly #dirt: Dirt;
  /** Outdated places with nothing that runs: they go first. */
  readonly #idle = new Set<Place>();
  readonly #outdated = new Set<Place>();
  /** In the order in which they were begun. */
  readonly #underway = new Map<Place, Assessment>();
  /** Places whose new task runs, and since when; at most as long as the delay lasts. */
  readonly #cooling = new Map<Place, number>();
  #lastSince = Number.NEGATIVE_INFINITY;
  readonly #failed = new Map<Place, Failure>();

  constructor(service: Service, places: Iterable<Place>, ports: RolloutPorts) {
    this.service = service;
    this.#ports = ports;
    this.#dirt = new Dirt(service);
    for (const place of places) this.refresh(place);
  }

  /** Nothing to do, now or later, unless something changes. */
  get isIdle(): boolean {
    return !isUpdating(this.service) && this.#dirtCount === 0;
  }

  get #dirtCount(): number {
    return this.#idle.size + this.#outdated.size;
  }

  /** Places whose new task does not run yet. */
  underway(): Iterable<Place> {
    return this.#underway.keys();
  }

  /** Looks at one place again. What stays where it was keeps its turn. */
  refresh(place: Place): void {
    const assessment = this.#assess(place);
    const { stage, running, since, failure } = assessment;
    const waits = stage === 'outdated' && this.#isOpen(place, assessment);
    put(this.#idle, place, waits && !running);
    put(this.#outdated, place, waits && running);
    if (stage === 'underway') this.#underway.set(place, assessment);
    else this.#underway.delete(place);
    if (stage === 'updated' && since !== undefined) this.#noteRunning(place, since);
    else this.#cooling.delete(place);
    if (failure === undefined) this.#failed.delete(place);
    else this.#failed.set(place, failure);
  }

  #noteRunning(place: Place, since: number): void {
    this.#cooling.set(place, since);
    this.#lastSince = Math.max(this.#lastSince, since);
  }

  decide(now: number): RolloutDecision {
    const { updateStatus: status } = this.service;
    if (status === undefined) return this.#dirtCount === 0 ? { begin: [] } : this.#start(startedUpdate(now), now);
    if (!isUpdating(this.service)) return this.#straggle(now);
    if (this.service.updateProgress === undefined) return this.#start(status, now);
    const failure = this.#newFailure(now);
    const verdict = failure === undefined ? undefined : this.#judge(status, failure);
    if (verdict !== undefined && !isTolerated(verdict)) return { begin: [], verdict };
    const lanes = this.#lanes(now);
    const begin = this.#next(lanes.free);
    if (begin.length === 0 && this.#dirtCount === 0 && lanes.busy === 0) return this.#finish(status, now);
    return {
      begin,
      ...(verdict === undefined ? {} : { verdict }),
      ...(lanes.wakeAt === undefined ? {} : { wakeAt: lanes.wakeAt }),
    };
  }

  #assess(place: Place): Assessment {
    const { service } = this;
    return assess(this.#ports.tasksAt(place), {
      service,
      startedAt: isUpdating(service) ? service.updateStatus?.startedAt : undefined,
      monitorMs: updateConfigOf(service).monitorMs,
      isDirty: (task, node) => this.#dirt.isDirty(task, node) || this.#isCrowdedOut(task),
      nodeOf: (id) => this.#ports.nodeOf(id),
    });
  }

  /** Under a lower limit per node, those above it have to go, and only those. */
  #isCrowdedOut(task: Task): boolean {
    const { service } = this;
    return (
      hasOtherLimit(task, service) &&
      isCrowdedOut(task, maxPerNode(service.spec.TaskTemplate), this.#ports.tasksOn(task.nodeId))
    );
  }

  /** A place that was begun by this update and failed for good stays as it is; a node that takes nothing new has to wait. */
  #isOpen(place: Place, { begunAt }: Assessment): boolean {
    const { updateStatus: status } = this.service;
    if (begunAt !== undefined && status !== undefined && begunAt >= (status.startedAt ?? 0)) return false;
    if (typeof place === 'number') return true;
    const node = this.#ports.nodeOf(place);
    return globalIntent(this.service, node) === 'keep';
  }

  /** A rollback is under way before it is seen here; what it has to do is counted first, too. */
  #start(updateStatus: UpdateStatus, now: number): RolloutDecision {
    const change = { updateStatus, updateProgress: { total: this.#dirtCount, failed: [] } };
    return { begin: this.#next(this.#lanes(now).free), verdict: { kind: 'status', change } };
  }

  /** A node that was paused or away during the update takes part now. */
  #straggle(now: number): RolloutDecision {
    const { state } = this.service.updateStatus ?? {};
    if (state !== 'completed' && state !== 'rollback_completed') return { begin: [] };
    const lanes = this.#lanes(now);
    return { begin: this.#next(lanes.free), ...(lanes.wakeAt === undefined ? {} : { wakeAt: lanes.wakeAt }) };
  }

  /** Lanes in use: places under way, and those whose new task runs for less than the delay. */
  #lanes(now: number): { readonly free: number; readonly busy: number; readonly wakeAt?: number } {
    const { parallelism, delayMs } = updateConfigOf(this.service);
    let busy = 0;
    let wakeAt = Number.POSITIVE_INFINITY;
    for (const [place, assessment] of this.#underway) {
      if (this.#failed.has(place)) continue;
      busy += 1;
      wakeAt = Math.min(wakeAt, this.#overdueAt(assessment));
    }
    for (const [place, since] of this.#cooling) {
      if (since + delayMs <= now) this.#cooling.delete(place);
      else if (this.#dirtCount > 0) {
        busy += 1;
        wakeAt = Math.min(wakeAt, since + delayMs);
      }
    }
    const free = parallelism === 0 ? Number.POSITIVE_INFINITY : Math.max(0, parallelism - busy);
    return { free, busy, ...(Number.isFinite(wakeAt) ? { wakeAt } : {}) };
  }

  /** One that was begun before the update was resumed has the whole time again. */
  #overdueAt({ begunAt = Number.POSITIVE_INFINITY }: Assessment): number {
    return Math.max(begunAt, this.service.updateStatus?.startedAt ?? 0) + this.#deadlineMs;
  }

  get #deadlineMs(): number {
    return progressDeadlineMs(this.service.spec.Labels);
  }

  #next(free: number): readonly Place[] {
    const places: Place[] = [];
    for (const set of [this.#idle, this.#outdated]) {
      for (const place of set) {
        if (places.length >= free) return places;
        // Whether a task has to go for the limit per node can change with another place.
        if (maxPerNode(this.service.spec.TaskTemplate) > 0) this.refresh(place);
        if (set.has(place)) places.push(place);
      }
    }
    return places;
  }

  /** A failure that was not judged yet. */
  #newFailure(now: number): Failure | undefined {
    for (const [place, assessment] of this.#underway) {
      if (this.#overdueAt(assessment) > now || this.#failed.has(place)) continue;
      const { taskId = '', err = '' } = assessment;
      const waited = `it does not run after ${this.#deadlineMs / 1000} s`;
      this.#failed.set(place, { taskId, why: err === '' ? waited : `${waited}: ${err}` });
    }
    if (updateConfigOf(this.service).failureAction === 'continue' || this.#failed.size === 0) return undefined;
    const judged = new Set(this.service.updateProgress?.failed);
    for (const [place, failure] of this.#failed) if (!judged.has(place)) return failure;
    return undefined;
  }

  #failedPlaces(): readonly Place[] {
    const judged = this.service.updateProgress?.failed ?? [];
    const known = new Set(judged);
    const fresh = [...this.#failed.keys()].filter((place) => !known.has(place));
    return fresh.length === 0 ? judged : [...judged, ...fresh].slice(0, failedMax);
  }

  /** What the failures so far come to. */
  #judge(status: UpdateStatus, { taskId, why }: Failure): Verdict {
    const { failureAction, maxFailureRatio } = updateConfigOf(this.service);
    const failed = this.#failedPlaces();
    const total = Math.max(1, this.service.updateProgress?.total ?? 1);
    if (failed.length / total <= maxFailureRatio)
      return { kind: 'status', change: { updateStatus: status, updateProgress: { total, failed } } };
    const cause = `due to failure or early termination of task ${taskId}${why === '' ? '' : `: ${why}`}`;
    if (failureAction === 'pause') return pause(status, `update paused ${cause}`);
    if (status.state === 'rollback_started') return pause(status, `rollback paused ${cause}`);
    if (this.service.previousSpec === undefined)
      return pause(status, `update paused ${cause}; there is no previous spec to roll back to`);
    return { kind: 'rollback', message: `update rolled back ${cause}` };
  }

  /** All places are done: over once the last new task has run for the monitor period. */
  #finish(status: UpdateStatus, now: number): RolloutDecision {
    const endsAt = this.#lastSince + updateConfigOf(this.service).monitorMs;
    if (endsAt > now) return { begin: [], wakeAt: endsAt };
    return { begin: [], verdict: { kind: 'status', change: { updateStatus: completedUpdate(status, now) } } };
  }
}

function pause(status: UpdateStatus, message: string): Verdict {
  return { kind: 'status', change: { updateStatus: pausedUpdate(status, message) } };
}

function isTolerated(verdict: Verdict): boolean {
  return verdict.kind === 'status' && verdict.change.updateProgress !== undefined;
}

function put(set: Set<Place>, place: Place, isIn: boolean): void {
  if (isIn) set.add(place);
  else set.delete(place);
}
