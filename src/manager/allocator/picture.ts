/**
 * What is given to whom, kept in memory: built from the store when a leader begins and then kept by what is committed. Also
 * says what has to be looked at: objects that lack something, and those that waited for what has become free.
 */
import type { Pace } from '../../lib/pace.ts';
import { clusterNetworkOf } from '../../model/cluster-labels.ts';
import { withoutPrefix } from '../../model/ip.ts';
import { addressRestMs } from '../../model/network.ts';
import type { Cluster, Network, NetworkAddresses, Node, NodeNetwork, Service, Task } from '../../model/objects.ts';
import { publishMode } from '../../model/ports.ts';
import { isTerminal } from '../../model/task-state.ts';
import type { ChangeEvent, ClusterView } from '../../model/view.ts';
import { AddressBook } from './book.ts';
import { type Decision, isWaiting, keyOf } from './decisions.ts';
import { isServed } from './endpoint.ts';
import { NetworkBook } from './network-book.ts';
import { NodePlaces } from './places.ts';
import { PortBook } from './ports.ts';
import { Waiting } from './waiting.ts';

export type Kind = Decision['table'];

export class Picture {
  readonly addresses = new AddressBook((id) => void this.#changed.add(causes.network(id)));
  readonly ports = new PortBook(() => void this.#changed.add(causes.ports));
  readonly networks = new NetworkBook();
  readonly places: NodePlaces;
  readonly waiting = new Waiting();
  readonly #view: ClusterView;
  readonly #now: () => number;
  /** Ids of objects to look at. */
  readonly #dirty: Readonly<Record<Kind, Set<string>>> = {
    network: new Set(),
    node: new Set(),
    service: new Set(),
    task: new Set(),
  };
  /** Causes of waiting that changed since they were last looked at. */
  readonly #changed = new Set<string>();
  /** Networks whose waiters are being looked at. */
  readonly #woken = new Set<string>();
  /** Objects that could not be given anything, of which there are few kinds of causes. */
  readonly #lacking: Readonly<Record<'network' | 'node', Set<string>>> = { network: new Set(), node: new Set() };

  constructor(view: ClusterView, now: () => number) {
    this.#view = view;
    this.#now = now;
    this.places = new NodePlaces(clusterNetworkOf(view.cluster()));
  }

  /** In pieces; events that come meanwhile may be recorded at once. The newest objects come last: the rings go on behind them. */
  async build(pace: Pace, isOver: () => boolean): Promise<void> {
    this.#recordCluster(undefined, this.#view.cluster());
    for (const table of ['network', 'node', 'service', 'task'] as const) {
      for (const id of Array.from(this.#view.list(table), (object) => object.id)) {
        this.#adopt(table, id);
        const pause = pace.spend();
        if (pause === undefined) continue;
        await pause;
        if (isOver()) return;
      }
    }
  }

  record(event: ChangeEvent): void {
    switch (event.table) {
      case 'cluster':
        return this.#recordCluster(event.before, event.after);
      case 'network':
        return this.#recordNetwork(event.before, event.after);
      case 'node':
        return this.#recordNode(event.before, event.after);
      case 'service':
        return this.#recordService(event.before, event.after);
      case 'task':
        return this.#recordTask(event.before, event.after);
      default:
        return; // the others have no addresses
    }
  }

  mark(table: Kind, id: string): void {
    this.#dirty[table].add(id);
  }

  /** Could not be given anything: looked at again when something of the kind becomes free. */
  lacks(table: 'network' | 'node', id: string): void {
    this.#lacking[table].add(id);
  }

  /** When something that somebody lacks has rested. */
  get nextDue(): number | undefined {
    const due = [
      this.waiting.size > 0 ? this.addresses.nextDue : undefined,
      this.#lacking.network.size > 0 ? this.networks.nextDue : undefined,
      this.#lacking.node.size > 0 ? this.places.nextDue : undefined,
    ].filter((at) => at !== undefined);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  get hasWork(): boolean {
    return this.#changed.size > 0 || Object.values(this.#dirty).some((ids) => ids.size > 0);
  }

  /** Takes out up to `limit` ids of those to look at. */
  take(table: Kind, limit: number): readonly string[] {
    const taken: string[] = [];
    for (const id of this.#dirty[table]) {
      if (taken.length >= limit) break;
      taken.push(id);
    }
    for (const id of taken) this.#dirty[table].delete(id);
    return taken;
  }

  /** Time goes on: what has rested is free, and who waited for it is looked at again, before those who came later. */
  wake(now: number): void {
    this.addresses.expire(now);
    if (this.networks.expire(now)) this.#retry('network');
    if (this.places.expire(now)) this.#retry('node');
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const cause of changed) this.#wakeWaiters(cause);
  }

  /** Some of those who were woken lacked something else: the addresses that they did not take are the next ones'. */
  offerRest(): void {
    for (const cause of this.#woken) {
      const { id } = parseCause(cause);
      const isLeft = this.addresses.knows(id) && this.addresses.free(id) > 0;
      if (isLeft && this.waiting.first(cause, 1).length > 0) this.#changed.add(cause);
    }
    this.#woken.clear();
  }

  #wakeWaiters(cause: string): void {
    const { kind, id } = parseCause(cause);
    if (kind === 'network') this.#woken.add(cause);
    // No more than there are addresses for: thousands may wait for one.
    const limit = kind === 'network' && this.addresses.knows(id) ? this.addresses.free(id) : Number.POSITIVE_INFINITY;
    const woken = this.waiting.first(cause, limit);
    for (const table of ['service', 'task'] as const) {
      const ids = woken
        .filter((waiter) => waiter.startsWith(`${table}/`))
        .map((waiter) => waiter.slice(table.length + 1));
      if (ids.length > 0) this.#markFirst(table, ids);
    }
  }

  #markFirst(table: Kind, ids: readonly string[]): void {
    const dirty = this.#dirty[table];
    const others = [...dirty];
    dirty.clear();
    for (const id of [...ids, ...others]) dirty.add(id);
  }

  #adopt<T extends Kind>(table: T, id: string): void {
    const after = this.#view.get(table, id);
    if (after === undefined) return;
    this.record({ table, after } as ChangeEvent);
    if (table === 'service') this.addresses.advance((after as Service).endpoint?.vips ?? []);
    else if (table === 'task') this.addresses.advance((after as Task).attachments ?? []);
  }

  #recordCluster(before: Cluster | undefined, after: Cluster | undefined): void {
    const pools = (cluster: Cluster | undefined) => clusterNetworkOf(cluster).addressPools.join();
    if (pools(before) !== pools(after)) this.#retry('network');
    if (before?.restingPlaces === after?.restingPlaces) return;
    for (const [nodeId, { until, ...place }] of Object.entries(after?.restingPlaces ?? {})) {
      if (before?.restingPlaces?.[nodeId]?.until !== until) this.#restPlace(nodeId, place, until);
    }
  }

  #restPlace(nodeId: string, place: NodeNetwork, until: number): void {
    if (until > this.#now()) this.places.hold(`resting/${nodeId}`, place, until);
  }

  #recordNetwork(before: Network | undefined, after: Network | undefined): void {
    if (after === undefined) {
      if (before !== undefined) this.#forgetNetwork(before.id);
      return;
    }
    if (after.allocation === undefined) {
      this.mark('network', after.id);
    } else {
      this.networks.hold(after.id, after.allocation);
      this.addresses.putNetwork(after, after.allocation);
    }
    if (before?.allocationError !== after.allocationError) this.#changed.add(causes.network(after.id));
    for (const [address, until] of Object.entries(after.resting ?? {})) {
      if (before?.resting?.[address] !== until) this.#rest({ networkId: after.id, addresses: [address] }, until);
    }
  }

  #forgetNetwork(id: string): void {
    this.networks.remove(id, this.#now());
    this.addresses.removeNetwork(id);
    this.#dirty.network.delete(id);
    this.#lacking.network.delete(id);
    this.#changed.add(causes.network(id));
    this.#retry('network');
  }

  #recordNode(before: Node | undefined, after: Node | undefined): void {
    if (after === undefined) {
      if (before === undefined) return;
      this.#dirty.node.delete(before.id);
      this.#lacking.node.delete(before.id);
      if (before.network !== undefined) this.#restPlace(before.id, before.network, this.#now() + addressRestMs);
      this.places.release(before.id);
      return this.#retry('node');
    }
    if (after.network === undefined) {
      if (!this.#lacking.node.has(after.id)) this.mark('node', after.id);
    } else {
      this.places.hold(after.id, after.network);
      this.#lacking.node.delete(after.id);
    }
  }

  #recordService(before: Service | undefined, after: Service | undefined): void {
    const id = after?.id ?? before?.id ?? '';
    const holder = keyOf({ table: 'service', id });
    if (after === undefined) {
      for (const vip of before?.endpoint?.vips ?? []) this.#rest(vip, this.#now() + addressRestMs);
      this.addresses.release(holder);
      this.ports.release(holder);
      this.#dirty.service.delete(id);
      this.waiting.remove(holder);
      return;
    }
    this.addresses.hold(holder, after.endpoint?.vips ?? []);
    this.ports.hold(holder, id, claimsOf(after));
    const isSame = before?.endpoint === after.endpoint && before?.endpointError === after.endpointError;
    if (!isSame || before?.spec !== after.spec) this.#changed.add(causes.service(id));
    if (isServed(after, (networkId) => this.#view.get('network', networkId))) {
      this.#dirty.service.delete(id);
      this.waiting.remove(holder);
    } else if (before === undefined || before.spec !== after.spec) {
      this.mark('service', id);
    }
  }

  #recordTask(before: Task | undefined, after: Task | undefined): void {
    const id = after?.id ?? before?.id ?? '';
    this.#holdForTask(before, after);
    if (after !== undefined && isWaiting(after)) {
      if (before === undefined) this.mark('task', id);
      return;
    }
    if (before !== undefined && !isWaiting(before)) return;
    this.#dirty.task.delete(id);
    this.waiting.remove(keyOf({ table: 'task', id }));
  }

  /** As long as it may run, and for a while after it ended. */
  #holdForTask(before: Task | undefined, after: Task | undefined): void {
    const task = after ?? before;
    if (task?.attachments === undefined) return;
    const holder = keyOf({ table: 'task', id: task.id });
    const ended = isTerminal(task.status.state);
    if (!ended && before !== undefined && before.attachments === after?.attachments) return;
    if (after !== undefined && !ended) return this.addresses.hold(holder, task.attachments);
    const until = (ended ? task.meta.updatedAt : this.#now()) + addressRestMs;
    if (until > this.#now()) this.addresses.hold(holder, task.attachments, until);
    else this.addresses.release(holder);
  }

  #rest({ networkId, addresses }: NetworkAddresses, until: number): void {
    for (const address of addresses) {
      const holder = `resting/${networkId}/${withoutPrefix(address)}`;
      if (until > this.#now()) this.addresses.hold(holder, [{ networkId, addresses: [address] }], until);
    }
  }

  #retry(table: 'network' | 'node'): void {
    for (const id of this.#lacking[table]) this.mark(table, id);
    this.#lacking[table].clear();
  }
}

/** What somebody may wait for. */
export const causes = {
  network: (id: string) => `network/${id}`,
  service: (id: string) => `service/${id}`,
  ports: 'ports/',
};

function parseCause(cause: string): { readonly kind: string; readonly id: string } {
  const at = cause.indexOf('/');
  return { kind: cause.slice(0, at), id: cause.slice(at + 1) };
}

/** Ports that it has been given, and those of hosts that it takes. */
function claimsOf({ spec, endpoint }: Service) {
  const onHosts = (spec.EndpointSpec?.Ports ?? []).filter((port) => publishMode(port) === 'host');
  return [...(endpoint?.ports ?? []), ...onHosts];
}
