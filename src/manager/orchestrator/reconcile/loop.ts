/**
 * Keeps every service as its mode says. Change events mark services and places dirty; one run decides about all that is dirty and
 * writes it in batches. A task's change costs a look at its place, not at its service (but while an update is under way). Delays are kept in the store (`notBefore`), timers only remember to look.
 */
import { Pace } from '../../../lib/pace.ts';
import { jobSizeOf } from '../../../model/defaults.ts';
import { sameSpec } from '../../../model/equal.ts';
import type { Node, Service, Task } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import type { ChangeEvent } from '../../../model/view.ts';
import { CommitLoop } from '../../store/commit-loop.ts';
import type { LeaderLoop, Transaction } from '../../store/port.ts';
import { Alarms } from '../alarms.ts';
import type { Place } from '../place.ts';
import { isGlobal, parsePlaceKey, placeKey, placeOf, tasksAt } from '../place.ts';
import type { OrchestratorOptions } from '../port.ts';
import { lookedAtPerTurn, retryMs } from '../port.ts';
import type { PlaceItem } from './apply.ts';
import { applyPlace, setDesired } from './apply.ts';
import { JobBook, jobSlotOf } from './job.ts';
import { decideService, intentAt } from './mode.ts';
import type { Intent } from './slot.ts';
import { decideSlot } from './slot.ts';

type Item =
  | PlaceItem
  /** The service is gone. */
  | { readonly kind: 'remove'; readonly taskId: string };

/** Places of one service that are decided in one turn: enough to keep the log busy, and no beat waits for it. */
const placesPerTurn = 2_000;
/** Slots of one job that are read, or opened, in one turn. */
const jobSlotsPerTurn = 1_000;

export class ReconcileLoop implements LeaderLoop {
  readonly name = 'reconcile';
  readonly #options: OrchestratorOptions;
  readonly #loop: CommitLoop;
  readonly #alarms: Alarms;
  readonly #services = new Set<string>();
  /** See `placeKey`. */
  readonly #places = new Set<string>();
  readonly #globals = new Set<string>();
  /** What is left to look at of a large service. */
  #rest: { readonly serviceId: string; readonly intents: Iterator<[Place, Intent | undefined]> } | undefined;
  /** Of the replicated jobs. */
  readonly #jobs = new Map<string, JobBook>();
  /** Jobs in which slots may have to be opened. */
  readonly #open = new Set<string>();

  constructor(options: OrchestratorOptions) {
    this.#options = options;
    this.#loop = new CommitLoop({
      ...options,
      doing: 'reconciling services',
      retryMs,
      record: (events) => this.#record(events),
      markAll: () => this.#markAll(),
      run: () => this.#run(),
    });
    this.#alarms = new Alarms(options.clock, (key) => this.#ring(key));
  }

  start(): void {
    this.#loop.start();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    this.#alarms.clear();
  }

  async #markAll(): Promise<void> {
    const { store, clock } = this.#options;
    const { view } = store;
    this.#rest = undefined;
    for (const service of view.list('service')) this.#recordService(undefined, service);
    await new Pace(clock, lookedAtPerTurn * 10).each(view.list('task'), ({ serviceId }) => {
      if (view.get('service', serviceId) === undefined) this.#services.add(serviceId);
    });
  }

  #record(events: readonly ChangeEvent[]): boolean {
    for (const event of events) {
      if (event.table === 'service') this.#recordService(event.before, event.after);
      else if (event.table === 'task') this.#recordTask(event.before, event.after);
      else if (event.table === 'node') this.#recordNode(event.before, event.after);
    }
    return this.#isDirty;
  }

  #recordService(before: Service | undefined, after: Service | undefined): void {
    const service = after ?? before;
    if (service === undefined) return;
    // How an update stands is the update loop's business, and a look at every place of a service is dear.
    if (before !== undefined && after !== undefined && isAlike(before, after)) return;
    this.#services.add(service.id);
    this.#jobs.delete(service.id);
    this.#open.delete(service.id);
    if (after !== undefined && isGlobal(after)) this.#globals.add(after.id);
    else this.#globals.delete(service.id);
  }

  #recordTask(before: Task | undefined, after: Task | undefined): void {
    const task = after ?? before;
    if (task === undefined) return;
    this.#readSlot(task.serviceId, placeOf(task));
    this.#mark(task.serviceId, placeOf(task));
  }

  /** A place is looked at by itself, and whether a job may open another. */
  #mark(serviceId: string, place: Place): void {
    if (this.#options.store.view.get('service', serviceId) === undefined) this.#services.add(serviceId);
    else this.#places.add(placeKey(serviceId, place));
    if (this.#jobs.has(serviceId)) this.#open.add(serviceId);
  }

  /** As the slot of a job is now; its own intent. */
  #readSlot(serviceId: string, place: Place): Intent | undefined {
    const { view } = this.#options.store;
    const book = this.#jobs.get(serviceId);
    if (book === undefined || typeof place !== 'number') return undefined;
    const { state, intent } = jobSlotOf(tasksAt(view, serviceId, place), iterationOf(view.get('service', serviceId)));
    book.put(place, state);
    return intent;
  }

  #recordNode(before: Node | undefined, after: Node | undefined): void {
    const node = after ?? before;
    if (node === undefined) return;
    for (const serviceId of this.#globals) this.#mark(serviceId, node.id);
    const same = before?.status.state === after?.status.state && before?.spec.Availability === after?.spec.Availability;
    if (same && before !== undefined && after !== undefined) return;
    for (const task of this.#options.store.view.tasksOfNode(node.id)) this.#mark(task.serviceId, placeOf(task));
  }

  #ring(key: string): void {
    const { serviceId, place } = parsePlaceKey(key);
    this.#mark(serviceId, place);
    this.#loop.trigger();
  }

  async #run(): Promise<void> {
    const { store, clock } = this.#options;
    while (!this.#loop.isStopped && this.#isDirty) {
      const items = this.#decide();
      if (items.length > 0) {
        const { refused } = await store.batch(items, (tx, item) => this.#apply(tx, item));
        if (refused > 0) this.#lookAgain(items);
      } else if (this.#isDirty) await new Promise<void>((resolve) => clock.defer(resolve));
    }
  }

  /** Which were refused is not told, and whoever was quicker may be so again at once: all of them, a little later. */
  #lookAgain(items: readonly Item[]): void {
    const { store, clock } = this.#options;
    for (const item of items) {
      const task = item.kind === 'remove' ? store.view.get('task', item.taskId) : undefined;
      const at = item.kind === 'place' ? item : task && { serviceId: task.serviceId, place: placeOf(task) };
      if (at === undefined) continue;
      this.#open.delete(at.serviceId);
      this.#alarms.set(placeKey(at.serviceId, at.place), clock.now() + retryMs);
    }
  }

  get #isDirty(): boolean {
    return this.#services.size > 0 || this.#places.size > 0 || this.#open.size > 0 || this.#rest !== undefined;
  }

  /**
   * As much of the dirt as fits in one turn; what is decided is written before more is, so that nothing is written that was
   * decided long ago. At most one item per place: items of a batch are built without sight of each other.
   */
  #decide(): readonly Item[] {
    const { view } = this.#options.store;
    const now = this.#options.clock.now();
    const items = new Map<string, Item>();
    let looked = 0;
    for (const key of this.#places) {
      if (looked >= lookedAtPerTurn) return [...items.values()];
      this.#places.delete(key);
      this.#decidePlace(key, now, items);
      looked += 1;
    }
    looked += this.#decideRest(now, items);
    for (const id of this.#services) {
      if (looked >= lookedAtPerTurn || this.#rest !== undefined) break;
      this.#services.delete(id);
      const service = view.get('service', id);
      if (service === undefined) looked += this.#decideRemoved(id, items);
      else looked += 1 + this.#decideService(service, now, items);
    }
    for (const id of this.#open) {
      if (looked >= lookedAtPerTurn) break;
      looked += 1 + this.#openSlots(id, now, items);
    }
    return [...items.values()];
  }

  /** The next places of a large service. Once anything about it changed as a whole, it is looked at afresh instead. */
  #decideRest(now: number, items: Map<string, Item>): number {
    const { serviceId, intents } = this.#rest ?? {};
    if (serviceId === undefined || intents === undefined) return 0;
    const service = this.#options.store.view.get('service', serviceId);
    if (service === undefined || this.#services.has(serviceId)) {
      this.#rest = undefined;
      return 0;
    }
    const most = this.#jobs.has(serviceId) ? jobSlotsPerTurn : placesPerTurn;
    let looked = 0;
    for (; looked < most; looked++) {
      const { done, value } = intents.next();
      if (done === true) {
        this.#rest = undefined;
        break;
      }
      const [place, intent] = value;
      if (intent !== undefined) this.#consider({ kind: 'place', serviceId, place, intent }, service, { now, items });
    }
    return looked;
  }

  /** The next slots of a job, as many as may run at a time. */
  #openSlots(serviceId: string, now: number, items: Map<string, Item>): number {
    this.#open.delete(serviceId);
    const service = this.#options.store.view.get('service', serviceId);
    const book = this.#jobs.get(serviceId);
    if (service === undefined || book === undefined || !book.isComplete) return 0;
    const { maxConcurrent, totalCompletions } = jobSizeOf(service.spec);
    const count = Math.min(maxConcurrent - book.active, jobSlotsPerTurn);
    const slots = book.firstFree(count, totalCompletions);
    // What is opened now is heard of once it is written, which has the rest looked at.
    for (const place of slots)
      this.#consider({ kind: 'place', serviceId, place, intent: 'keep' }, service, { now, items });
    return slots.length;
  }

  #decidePlace(key: string, now: number, items: Map<string, Item>): void {
    const { view } = this.#options.store;
    const { serviceId, place } = parsePlaceKey(key);
    if (this.#services.has(serviceId)) return;
    const service = view.get('service', serviceId);
    if (service !== undefined && this.#jobs.has(serviceId)) {
      const own = this.#readSlot(serviceId, place);
      if (own === undefined) this.#alarms.set(key, undefined);
      else this.#consider({ kind: 'place', serviceId, place, intent: own }, service, { now, items });
      return;
    }
    const node = typeof place === 'string' ? view.get('node', place) : undefined;
    const intent = service === undefined ? undefined : intentAt(service, place, node);
    const taken = tasksAt(view, serviceId, place).some((task) => task.desired < TaskState.remove);
    // A slot without a task may not be wanted any more; a node is wanted for what it is.
    const known = intent !== undefined && (taken || typeof place === 'string');
    if (service === undefined || !known) {
      this.#alarms.set(key, undefined);
      this.#services.add(serviceId);
      return;
    }
    this.#consider({ kind: 'place', serviceId, place, intent }, service, { now, items });
  }

  /** How many places were looked at. */
  #decideService(service: Service, now: number, items: Map<string, Item>): number {
    const { view } = this.#options.store;
    if (service.spec.Mode.ReplicatedJob !== undefined) {
      const book = new JobBook();
      this.#jobs.set(service.id, book);
      this.#rest = { serviceId: service.id, intents: this.#slotsOf(service.id, book) };
      return this.#decideRest(now, items);
    }
    const intents = decideService(service, view.tasksOfService(service.id), {
      now,
      nodes: () => view.list('node'),
      nodeOf: (id) => view.get('node', id),
    });
    this.#rest = { serviceId: service.id, intents: intents.entries() };
    return this.#decideRest(now, items);
  }

  /** All slots of a job that have tasks, each as it is when its turn comes; events tell of those that get some meanwhile. */
  *#slotsOf(serviceId: string, book: JobBook): Generator<[Place, Intent | undefined], undefined> {
    const places = new Set(Array.from(this.#options.store.view.tasksOfService(serviceId), placeOf));
    for (const place of places) yield [place, this.#readSlot(serviceId, place)];
    book.isComplete = true;
    this.#open.add(serviceId);
    return undefined;
  }

  #consider(
    item: PlaceItem,
    service: Service,
    { now, items }: { readonly now: number; readonly items: Map<string, Item> },
  ): void {
    const { view } = this.#options.store;
    const { serviceId, place, intent } = item;
    const context = { now, service, place, nodeOf: (id: string) => view.get('node', id) };
    const { actions, wakeAt } = decideSlot(tasksAt(view, serviceId, place), context, intent);
    const key = placeKey(serviceId, place);
    this.#alarms.set(key, wakeAt);
    if (actions.length > 0) items.set(key, item);
  }

  /** How many tasks are removed now; the rest of a large service comes after them. */
  #decideRemoved(serviceId: string, items: Map<string, Item>): number {
    let removed = 0;
    for (const task of this.#options.store.view.tasksOfService(serviceId)) {
      this.#alarms.set(placeKey(serviceId, placeOf(task)), undefined);
      if (task.desired >= TaskState.remove) continue;
      if (removed === placesPerTurn) {
        this.#services.add(serviceId);
        break;
      }
      items.set(task.id, { kind: 'remove', taskId: task.id });
      removed += 1;
    }
    return removed;
  }

  #apply(tx: Transaction, item: Item): void {
    if (item.kind === 'place') return applyPlace(tx, item, this.#options.random);
    const task = tx.get('task', item.taskId);
    if (task !== undefined && tx.get('service', task.serviceId) === undefined)
      setDesired(tx, item.taskId, TaskState.remove);
  }
}

function iterationOf(service: Service | undefined): number | undefined {
  return service?.jobStatus?.iteration;
}

/** But for how its update stands. */
function isAlike(one: Service, other: Service): boolean {
  return (
    one.specVersion === other.specVersion &&
    one.jobStatus?.iteration === other.jobStatus?.iteration &&
    sameSpec(one.spec, other.spec)
  );
}
