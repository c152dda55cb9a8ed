/**
 * Keeps every replicated service at its replicas. Change events mark services and slots dirty; one run decides about all that
 * is dirty and writes it in batches. A task's change costs a look at its slot, not at its service. Delays are kept in the
 * store (`notBefore`), timers only remember to look.
 */
import type { Cancel } from '../../../lib/clock.ts';
import { messageOf } from '../../../lib/errors.ts';
import { Loop } from '../../../lib/loop.ts';
import type { Node, Service, Task, UpdateStatus } from '../../../model/objects.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import type { ChangeEvent } from '../../../model/view.ts';
import type { LeaderLoop, Transaction } from '../../store/port.ts';
import { Alarms } from '../alarms.ts';
import type { OrchestratorOptions } from '../port.ts';
import { retryMs } from '../port.ts';
import type { SlotItem } from './apply.ts';
import { applySlot, setDesired } from './apply.ts';
import { decideService } from './decide.ts';
import { decideSlot } from './slot.ts';

type Item =
  | SlotItem
  | {
      readonly kind: 'status';
      readonly serviceId: string;
      readonly specVersion: number;
      readonly status: UpdateStatus;
      readonly from: UpdateStatus | undefined;
    }
  /** The service is gone. */
  | { readonly kind: 'remove'; readonly taskId: string };

/** How many ended tasks of updates are remembered; of others the time of creation is judged. */
const endingsMax = 10_000;

export class ReplicatedLoop implements LeaderLoop {
  readonly name = 'replicated';
  readonly #options: OrchestratorOptions;
  readonly #loop: Loop;
  readonly #alarms: Alarms;
  readonly #services = new Set<string>();
  /** Keys are `service/slot`. */
  readonly #slots = new Set<string>();
  readonly #ranMs = new Map<string, number>();
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
    this.#alarms = new Alarms(options.clock, (key) => this.#ring(key));
  }

  start(): void {
    const { store } = this.#options;
    this.#unsubscribe = store.subscribe(({ events }) => {
      for (const event of events) this.#record(event);
      this.#triggerIfDirty();
    });
    this.#markAll();
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

  #markAll(): void {
    const { view } = this.#options.store;
    for (const service of view.list('service')) this.#services.add(service.id);
    for (const task of view.list('task'))
      if (view.get('service', task.serviceId) === undefined) this.#services.add(task.serviceId);
  }

  #record(event: ChangeEvent): void {
    if (event.table === 'service') this.#recordService(event.before, event.after);
    else if (event.table === 'task') this.#recordTask(event.before, event.after);
    else if (event.table === 'node') this.#recordNode(event.before, event.after);
  }

  #recordService(before: Service | undefined, after: Service | undefined): void {
    const service = after ?? before;
    if (service !== undefined) this.#services.add(service.id);
  }

  #recordTask(before: Task | undefined, after: Task | undefined): void {
    const task = after ?? before;
    if (task === undefined) return;
    this.#slots.add(slotKey(task));
    const service = this.#options.store.view.get('service', task.serviceId);
    if (service === undefined || service.updateStatus?.state === 'updating') this.#services.add(task.serviceId);
    if (after === undefined) this.#ranMs.delete(task.id);
    else if (before !== undefined) this.#recordEnd(before, after);
  }

  #recordEnd(before: Task, after: Task): void {
    if (isTerminal(before.status.state) || !isTerminal(after.status.state)) return;
    const ran = before.status.state === TaskState.running ? after.status.timestamp - before.status.timestamp : 0;
    this.#ranMs.set(after.id, ran);
    if (this.#ranMs.size <= endingsMax) return;
    for (const oldest of this.#ranMs.keys()) {
      this.#ranMs.delete(oldest);
      break;
    }
  }

  #recordNode(before: Node | undefined, after: Node | undefined): void {
    const node = after ?? before;
    if (node === undefined) return;
    const same = before?.status.state === after?.status.state && before?.spec.Availability === after?.spec.Availability;
    if (same && before !== undefined && after !== undefined) return;
    for (const task of this.#options.store.view.tasksOfNode(node.id)) {
      this.#slots.add(slotKey(task));
      if (this.#options.store.view.get('service', task.serviceId) === undefined) this.#services.add(task.serviceId);
    }
  }

  #ring(key: string): void {
    if (key.includes('/')) this.#slots.add(key);
    else this.#services.add(key);
    this.#loop.trigger();
  }

  #triggerIfDirty(): void {
    if (this.#services.size > 0 || this.#slots.size > 0) this.#loop.trigger();
  }

  async #run(): Promise<void> {
    if (this.#stopped) return;
    const items = this.#decide();
    if (items.length === 0) return;
    await this.#options.store.batch(items, (tx, item) => this.#apply(tx, item));
  }

  /** At most one item per slot: items of a batch are built without sight of each other. */
  #decide(): readonly Item[] {
    const { view } = this.#options.store;
    const now = this.#options.clock.now();
    const items = new Map<string, Item>();
    const slots = [...this.#slots];
    this.#slots.clear();
    for (const key of slots) this.#decideSlot(key, now, items);
    const services = [...this.#services];
    this.#services.clear();
    for (const id of services) {
      const service = view.get('service', id);
      if (service === undefined) this.#decideRemoved(id, items);
      else if (service.spec.Mode.Replicated !== undefined) this.#decideService(service, now, items);
    }
    return [...items.values()];
  }

  #decideSlot(key: string, now: number, items: Map<string, Item>): void {
    const { view } = this.#options.store;
    const at = key.lastIndexOf('/');
    const serviceId = key.slice(0, at);
    const slot = Number(key.slice(at + 1));
    const service = view.get('service', serviceId);
    const taken = view.tasksOfSlot(serviceId, slot).some((task) => task.desired < TaskState.remove);
    if (!taken || service === undefined) {
      this.#alarms.set(key, undefined);
      this.#services.add(serviceId);
      return;
    }
    if (service.spec.Mode.Replicated === undefined || this.#services.has(serviceId)) return;
    this.#consider({ kind: 'slot', serviceId, slot, intent: 'keep' }, service, { now, items });
  }

  #decideService(service: Service, now: number, items: Map<string, Item>): void {
    const { view } = this.#options.store;
    const context = { now, nodeOf: (id: string) => view.get('node', id), ranMs: (id: string) => this.#ranMs.get(id) };
    const decision = decideService(service, view.tasksOfService(service.id), context);
    this.#alarms.set(service.id, decision.wakeAt);
    if (decision.status !== undefined) {
      const { id: serviceId, specVersion, updateStatus: from } = service;
      items.set(serviceId, { kind: 'status', serviceId, specVersion, status: decision.status, from });
    }
    for (const [slot, intent] of decision.slots) {
      this.#consider({ kind: 'slot', serviceId: service.id, slot, intent }, service, { now, items });
    }
  }

  #consider(
    item: SlotItem,
    service: Service,
    { now, items }: { readonly now: number; readonly items: Map<string, Item> },
  ): void {
    const { view } = this.#options.store;
    const context = { now, service, nodeOf: (id: string) => view.get('node', id) };
    const { actions, wakeAt } = decideSlot(view.tasksOfSlot(item.serviceId, item.slot), context, item.intent);
    const key = slotKey(item);
    this.#alarms.set(key, wakeAt);
    if (actions.length > 0) items.set(key, item);
  }

  #decideRemoved(serviceId: string, items: Map<string, Item>): void {
    this.#alarms.set(serviceId, undefined);
    for (const task of this.#options.store.view.tasksOfService(serviceId)) {
      this.#alarms.set(slotKey(task), undefined);
      this.#ranMs.delete(task.id);
      if (task.desired < TaskState.remove) items.set(task.id, { kind: 'remove', taskId: task.id });
    }
  }

  #apply(tx: Transaction, item: Item): void {
    if (item.kind === 'slot') return applySlot(tx, item, this.#options.random);
    if (item.kind === 'status') return applyStatus(tx, item);
    const task = tx.get('task', item.taskId);
    if (task !== undefined && tx.get('service', task.serviceId) === undefined)
      setDesired(tx, item.taskId, TaskState.remove);
  }

  /** Dirt was taken before the failed write: look at everything again. */
  #retryLater(error: unknown): void {
    if (this.#stopped) return;
    this.#options.log.warn('reconciling services', { error: messageOf(error) });
    this.#cancelRetry();
    this.#cancelRetry = this.#options.clock.timer(retryMs, () => {
      this.#markAll();
      this.#loop.trigger();
    });
  }
}

function slotKey({ serviceId, slot }: { readonly serviceId: string; readonly slot: number }): string {
  return `${serviceId}/${slot}`;
}

/** Only on top of the status it was decided from: a newer change of the service starts afresh. */
function applyStatus(tx: Transaction, item: Item & { readonly kind: 'status' }): void {
  const service = tx.get('service', item.serviceId);
  if (service === undefined || service.specVersion !== item.specVersion) return;
  if (service.updateStatus?.state !== item.from?.state || service.updateStatus?.startedAt !== item.from?.startedAt)
    return;
  const { meta: _, ...draft } = service;
  tx.update('service', { ...draft, updateStatus: item.status });
}
