/**
 * Brings the tasks of services to their new spec, a few at a time, and takes them back when that fails. The only part that moves
 * a place to another spec and that writes `updateStatus`. An event costs a look at one place. What it remembers can be rebuilt
 * from the store, so a new leader goes on where the old one stopped.
 */
import { Pace } from '../../../lib/pace.ts';
import type { Node, Service, Task } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import { isUpdating, rolledBack, updateConfigOf } from '../../../model/update.ts';
import type { ChangeEvent } from '../../../model/view.ts';
import { CommitLoop } from '../../store/commit-loop.ts';
import type { LeaderLoop, Transaction } from '../../store/port.ts';
import { keepRevision } from '../../store/revisions.ts';
import { Alarms } from '../alarms.ts';
import type { Place } from '../place.ts';
import { isJob, placeOf, tasksAt } from '../place.ts';
import type { OrchestratorOptions } from '../port.ts';
import { lookedAtPerTurn, retryMs } from '../port.ts';
import { applyAction } from '../reconcile/apply.ts';
import type { Action } from '../reconcile/slot.ts';
import { isDirty } from '../task.ts';
import { decideBegin } from './begin.ts';
import { decideHandover } from './handover.ts';
import type { Verdict } from './rollout.ts';
import { Rollout } from './rollout.ts';

type Item = {
  readonly serviceId: string;
  readonly specVersion: number;
  /** What it was decided on. */
  readonly from: Service['updateStatus'];
} & (
  | { readonly kind: 'begin'; readonly place: Place }
  /** A handover there depends on how the update stands, and that changed. */
  | { readonly kind: 'handover'; readonly place: Place }
  | { readonly kind: 'verdict'; readonly verdict: Verdict }
);

export class UpdateLoop implements LeaderLoop {
  readonly name = 'update';
  readonly #options: OrchestratorOptions;
  readonly #loop: CommitLoop;
  readonly #alarms: Alarms;
  /** Services of which a write was refused: somebody else was quicker, and may be so again at once. */
  readonly #retries: Alarms;
  /** Services with an update under way, or with something out of date. */
  readonly #rollouts = new Map<string, Rollout>();
  /** To be looked at as a whole. */
  readonly #services = new Set<string>();
  /** To be looked at, of services with a rollout. */
  readonly #places = new Map<string, Set<Place>>();
  /** Handovers to be looked at. */
  readonly #handovers = new Map<string, Set<Place>>();

  constructor(options: OrchestratorOptions) {
    this.#options = options;
    this.#loop = new CommitLoop({
      ...options,
      doing: 'updating services',
      retryMs,
      record: (events) => this.#record(events),
      markAll: () => this.#markAll(),
      run: () => this.#run(),
    });
    this.#alarms = new Alarms(options.clock, (serviceId) => {
      this.#placesOf(serviceId);
      this.#loop.trigger();
    });
    this.#retries = new Alarms(options.clock, (serviceId) => {
      this.#services.add(serviceId);
      this.#loop.trigger();
    });
  }

  start(): void {
    this.#loop.start();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    this.#alarms.clear();
    this.#retries.clear();
  }

  #markAll(): void {
    for (const service of this.#options.store.view.list('service')) this.#services.add(service.id);
  }

  #record(events: readonly ChangeEvent[]): boolean {
    for (const event of events) {
      if (event.table === 'service') this.#recordService(event.before, event.after);
      else if (event.table === 'task') this.#recordTask(event.before, event.after);
      else if (event.table === 'node') this.#recordNode(event.before, event.after);
    }
    return this.#services.size > 0 || this.#places.size > 0;
  }

  #recordService(before: Service | undefined, after: Service | undefined): void {
    const service = after ?? before;
    if (service === undefined) return;
    const rollout = this.#rollouts.get(service.id);
    const same =
      before?.specVersion === after?.specVersion && before?.updateStatus?.startedAt === after?.updateStatus?.startedAt;
    if (after === undefined || rollout === undefined || !same) {
      this.#services.add(service.id);
    } else {
      rollout.service = after;
      this.#placesOf(after.id);
      this.#recordVerdict(rollout, before, after);
    }
  }

  /** The reconciler does not look at a service whose update merely stands otherwise: that could be every place of thousands. */
  #recordVerdict(rollout: Rollout, before: Service | undefined, after: Service): void {
    const judged = after.updateProgress?.failed.slice(before?.updateProgress?.failed.length ?? 0) ?? [];
    const ended = before?.updateStatus?.state !== after.updateStatus?.state && !isUpdating(after);
    const places = ended ? [...judged, ...rollout.underway()] : judged;
    if (places.length > 0)
      this.#handovers.set(after.id, new Set([...(this.#handovers.get(after.id) ?? []), ...places]));
  }

  #recordTask(before: Task | undefined, after: Task | undefined): void {
    const task = after ?? before;
    const rollout = task === undefined ? undefined : this.#rollouts.get(task.serviceId);
    if (task === undefined || rollout === undefined) return;
    this.#placesOf(task.serviceId).add(placeOf(task));
  }

  /** What is out of date can depend on the node; and a node that takes tasks again may have some that are. */
  #recordNode(before: Node | undefined, after: Node | undefined): void {
    const node = after ?? before;
    if (node === undefined || (before !== undefined && after !== undefined && isAlike(before, after))) return;
    const { view } = this.#options.store;
    for (const task of view.tasksOfNode(node.id)) {
      if (this.#rollouts.has(task.serviceId)) this.#placesOf(task.serviceId).add(placeOf(task));
      else if (isLeft(task, view.get('service', task.serviceId), after)) this.#services.add(task.serviceId);
    }
  }

  #placesOf(serviceId: string): Set<Place> {
    const places = this.#places.get(serviceId) ?? new Set();
    this.#places.set(serviceId, places);
    return places;
  }

  async #run(): Promise<void> {
    await this.#rebuildAll();
    const items = this.#loop.isStopped ? [] : this.#decide();
    if (items.length === 0) return;
    const { refused } = await this.#options.store.batch(items, (tx, item) => this.#apply(tx, item));
    if (refused > 0) this.#lookAgain(items);
  }

  /** Which were refused is not told: all of them, a little later. */
  #lookAgain(items: readonly Item[]): void {
    for (const item of items) {
      const { serviceId } = item;
      if (item.kind === 'handover')
        this.#handovers.set(serviceId, new Set([...(this.#handovers.get(serviceId) ?? []), item.place]));
      this.#retries.set(serviceId, this.#options.clock.now() + retryMs);
    }
  }

  #decide(): readonly Item[] {
    const now = this.#options.clock.now();
    const items: Item[] = [];
    const dirty = [...this.#places];
    this.#places.clear();
    for (const [serviceId, places] of dirty) {
      const rollout = this.#rollouts.get(serviceId);
      if (rollout === undefined) continue;
      for (const place of places) rollout.refresh(place);
      items.push(...this.#decideOne(rollout, now));
    }
    return items;
  }

  async #rebuildAll(): Promise<void> {
    await new Pace(this.#options.clock, lookedAtPerTurn * 10).each(this.#services, (id) => {
      if (this.#loop.isStopped) return 0;
      this.#services.delete(id);
      return 1 + this.#rebuild(id);
    });
  }

  /** How many tasks were looked at. */
  #rebuild(serviceId: string): number {
    const { view } = this.#options.store;
    const service = view.get('service', serviceId);
    this.#rollouts.delete(serviceId);
    this.#alarms.set(serviceId, undefined);
    if (service === undefined || isJob(service)) return 0;
    const tasks = [...view.tasksOfService(serviceId)];
    if (isUpdating(service) || tasks.some((task) => task.specVersion !== service.specVersion))
      this.#begin(service, new Set(tasks.map(placeOf)));
    return tasks.length;
  }

  #begin(service: Service, places: ReadonlySet<Place>): void {
    const { view } = this.#options.store;
    const { id: serviceId } = service;
    const rollout = new Rollout(service, [...places].sort(inOrder), {
      tasksAt: (place) => tasksAt(view, serviceId, place),
      nodeOf: (id) => view.get('node', id),
      tasksOn: (id) => view.tasksOfNode(id),
    });
    if (rollout.isIdle) return;
    this.#rollouts.set(serviceId, rollout);
    this.#placesOf(serviceId);
  }

  #decideOne(rollout: Rollout, now: number): readonly Item[] {
    const { service } = rollout;
    if (rollout.isIdle) {
      this.#rollouts.delete(service.id);
      this.#alarms.set(service.id, undefined);
      return [];
    }
    const handovers = [...(this.#handovers.get(service.id) ?? [])];
    this.#handovers.delete(service.id);
    const { begin, verdict, wakeAt } = rollout.decide(now);
    this.#alarms.set(service.id, wakeAt);
    const common = { serviceId: service.id, specVersion: service.specVersion, from: service.updateStatus };
    const status: Item[] = verdict === undefined ? [] : [{ ...common, kind: 'verdict', verdict }];
    return [
      ...status,
      ...handovers.map((place): Item => ({ ...common, kind: 'handover', place })),
      ...begin.map((place): Item => ({ ...common, kind: 'begin', place })),
    ];
  }

  #apply(tx: Transaction, item: Item): void {
    const service = tx.get('service', item.serviceId);
    // A newer change of the service starts afresh.
    if (service === undefined || service.specVersion !== item.specVersion) return;
    if (item.kind === 'begin') return this.#beginPlace(tx, service, item.place);
    if (item.kind === 'handover') return this.#handOver(tx, service, item.place);
    const { from } = item;
    if (service.updateStatus?.state !== from?.state || service.updateStatus?.startedAt !== from?.startedAt) return;
    applyVerdict(tx, service, item.verdict);
  }

  #beginPlace(tx: Transaction, service: Service, place: Place): void {
    if (service.updateStatus?.state === 'paused' || service.updateStatus?.state === 'rollback_paused') return;
    const { order } = updateConfigOf(service);
    const context = { now: tx.now, service, order, nodeOf: (id: string) => tx.get('node', id) };
    this.#act(tx, service, { place, actions: decideBegin(keptAt(tx, service, place), context) });
  }

  #handOver(tx: Transaction, service: Service, place: Place): void {
    const context = { now: tx.now, service, place, nodeOf: (id: string) => tx.get('node', id) };
    const decision = decideHandover(keptAt(tx, service, place), context);
    this.#act(tx, service, { place, actions: decision?.actions ?? [] });
  }

  #act(tx: Transaction, service: Service, { place, actions }: { place: Place; actions: readonly Action[] }): void {
    for (const action of actions) applyAction(tx, service, { place, action, random: this.#options.random });
  }
}

function keptAt(tx: Transaction, service: Service, place: Place): readonly Task[] {
  return tasksAt(tx, service.id, place).filter((task) => task.desired < TaskState.remove);
}

function applyVerdict(tx: Transaction, service: Service, verdict: Verdict): void {
  if (verdict.kind === 'rollback') {
    const { previousSpec: spec, updateStatus } = service;
    if (spec === undefined) return;
    keepRevision(tx, service);
    const startedAt = updateStatus?.startedAt ?? tx.now;
    tx.update('service', rolledBack(service, { spec, message: verdict.message, startedAt, by: 'failure' }, tx.now));
    return;
  }
  const { meta: _, updateProgress: __, ...draft } = service;
  tx.update('service', { ...draft, ...verdict.change });
}

/**
 * Of another spec, and the node decides whether an update has to come to it after all: a node that took nothing new, or a change of
 * the placement that moved nothing and so never began.
 */
function isLeft(task: Task, service: Service | undefined, node: Node | undefined): boolean {
  if (service === undefined || task.specVersion === service.specVersion) return false;
  return task.pinned === true || (service.updateStatus === undefined && isDirty(task, service, node));
}

/** As far as updates are concerned. */
function isAlike(one: Node, other: Node): boolean {
  return one.status.state === other.status.state && one.spec === other.spec && one.description === other.description;
}

/** Slots by number, then nodes by id. */
function inOrder(one: Place, other: Place): number {
  if (typeof one === 'number' && typeof other === 'number') return one - other;
  return String(one) < String(other) ? -1 : 1;
}
