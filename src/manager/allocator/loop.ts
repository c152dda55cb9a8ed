/**
 * The loop: looks at what lacks something, decides, writes, looks again. What is on its way into the store is held in the picture
 * beside what the store says, and is let go only when it is known what became of it, so that nothing is ever given twice.
 */
import type { Cancel, Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { Loop } from '../../lib/loop.ts';
import { Pace } from '../../lib/pace.ts';
import { clusterNetworkOf } from '../../model/cluster-labels.ts';
import { networksOf } from '../../model/network.ts';
import type { NetworkAddresses, Service, Task } from '../../model/objects.ts';
import type { LeaderLoop, Store } from '../store/port.ts';
import { type Decision, isSettled, isToldWhy, isWaiting, keyOf, wasTold, write } from './decisions.ts';
import { decideEndpoint, isServed, type Lack, lackOfNetwork, needsEndpoint } from './endpoint.ts';
import { decideNetwork } from './network.ts';
import { causes, Picture } from './picture.ts';

export interface AllocatorOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

/** A write was refused for now (no quorum, no answer): the next try. */
const retryMs = 500;
/** Objects looked at in one turn when a leader begins, and decided on in one batch. */
const perTurn = 1_000;

export class AllocatorLoop implements LeaderLoop {
  readonly name = 'allocator';
  readonly #options: AllocatorOptions;
  readonly #loop: Loop;
  readonly #picture: Picture;
  #isBuilt = false;
  #stopped = false;
  /** Decisions that may be in the store, or get there yet. */
  readonly #pending = new Map<string, Decision>();
  #unsubscribe = () => {};
  #cancelRetry: Cancel = () => {};
  #cancelTimer: Cancel = () => {};
  #timerAt: number | undefined;

  constructor(options: AllocatorOptions) {
    this.#options = options;
    this.#picture = new Picture(options.store.view, () => options.clock.now());
    this.#loop = new Loop(
      options.clock,
      () => this.#run(),
      (error) => this.#retryLater(error),
    );
  }

  start(): void {
    this.#unsubscribe = this.#options.store.subscribe(({ events }) => {
      for (const event of events) this.#picture.record(event);
      if (this.#picture.hasWork) this.#loop.trigger();
    });
    this.#loop.trigger();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#cancelRetry();
    this.#cancelTimer();
    await this.#loop.stop();
    this.#cancelRetry();
    this.#cancelTimer();
  }

  async #run(): Promise<void> {
    if (this.#stopped) return;
    if (!this.#isBuilt) {
      await this.#picture.build(new Pace(this.#options.clock, perTurn), () => this.#stopped);
      this.#isBuilt = true;
    }
    this.#cancelRetry();
    const pace = new Pace(this.#options.clock, perTurn);
    while (!this.#stopped) {
      this.#picture.wake(this.#options.clock.now());
      if (!this.#picture.hasWork) break;
      // Services and tasks need what networks are given.
      const networks = this.#decideNetworks();
      if (!(await this.#write(networks))) return this.#again();
      const rest = this.#decideRest();
      if (!(await this.#write(rest))) return this.#again();
      this.#picture.offerRest();
      const pause = pace.spend(networks.length + rest.length);
      if (pause !== undefined) await pause;
    }
    this.#setTimer();
  }

  /** False: nothing of it could be written though nothing failed. */
  async #write(decisions: readonly Decision[]): Promise<boolean> {
    if (decisions.length === 0 || this.#stopped) return true;
    for (const decision of decisions) this.#pending.set(keyOf(decision), decision);
    const written = new Set<Decision>();
    try {
      await this.#options.store.batch(decisions, (tx, decision) => {
        if (write(tx, decision)) written.add(decision);
      });
    } catch (error) {
      // Some of it may be in the store now, or get there yet: it is kept, and decided in the same way again.
      for (const { table, id } of decisions) this.#picture.mark(table, id);
      throw error;
    }
    return this.#settle(decisions, written);
  }

  #settle(decisions: readonly Decision[], written: ReadonlySet<Decision>): boolean {
    const { view } = this.#options.store;
    const done = decisions.filter((decision) => isSettled(view, decision) || wasTold(view, decision));
    // Something that was proposed later is in the store: what became of everything before is known.
    const known = done.some((decision) => written.has(decision)) ? [...this.#pending.values()] : decisions;
    for (const decision of known) this.#letGo(decision);
    return done.length > 0;
  }

  /** The store says by now who has what. */
  #letGo(decision: Decision): void {
    const { view } = this.#options.store;
    const { table, id } = decision;
    const picture = this.#picture;
    this.#pending.delete(keyOf(decision));
    picture.addresses.release(pendingHolder(decision));
    picture.ports.release(pendingHolder(decision));
    if (table === 'network' && view.get(table, id)?.allocation === undefined) picture.networks.release(id);
    if (table === 'node' && view.get(table, id)?.network === undefined) picture.places.release(id);
    if (!isSettled(view, decision) && !wasTold(view, decision)) picture.mark(table, id);
  }

  #decideNetworks(): readonly Decision[] {
    const { view } = this.#options.store;
    const picture = this.#picture;
    const books = {
      subnets: picture.networks.subnets,
      isVniTaken: (vni: number) => picture.networks.isVniTaken(vni),
      nextVni: () => picture.networks.nextVni(),
      nameOf: (id: string) => view.get('network', id)?.spec.Name ?? id,
    };
    return picture.take('network', perTurn).flatMap((id): readonly Decision[] => {
      const network = view.get('network', id);
      const table = 'network' as const;
      if (network === undefined || network.allocation !== undefined) return [];
      const kept = this.#kept(table, id);
      if (kept !== undefined) return [kept];
      const allocation = decideNetwork(network, clusterNetworkOf(view.cluster()), books);
      if (typeof allocation !== 'string') {
        picture.networks.hold(id, allocation);
        return [{ table, id, allocation }];
      }
      picture.lacks(table, id);
      return network.allocationError === allocation ? [] : [{ table, id, err: allocation }];
    });
  }

  #decideRest(): readonly Decision[] {
    return [...this.#decideNodes(), ...this.#decideServices(), ...this.#decideTasks()];
  }

  #decideNodes(): readonly Decision[] {
    const { view } = this.#options.store;
    const { places } = this.#picture;
    return this.#picture.take('node', perTurn).flatMap((id): readonly Decision[] => {
      const node = view.get('node', id);
      const table = 'node' as const;
      if (node === undefined || node.network !== undefined) return [];
      const kept = this.#kept(table, id);
      if (kept !== undefined) return [kept];
      const network = places.next();
      if (typeof network !== 'string') {
        places.hold(id, network);
        return [{ table, id, network }];
      }
      this.#picture.lacks(table, id);
      const decision = { table, id, err: network };
      return wasTold(view, decision) ? [] : [decision];
    });
  }

  #decideServices(): readonly Decision[] {
    const { view } = this.#options.store;
    return this.#picture.take('service', perTurn).flatMap((id): readonly Decision[] => {
      const service = view.get('service', id);
      return service === undefined || isServed(service, (network) => view.get('network', network))
        ? []
        : this.#decideService(service);
    });
  }

  #decideService(service: Service): readonly Decision[] {
    const { view } = this.#options.store;
    const { addresses, ports, waiting } = this.#picture;
    const { id } = service;
    const table = 'service' as const;
    const network = (networkId: string) => view.get('network', networkId);
    const books = { addresses, ports, network, service: (other: string) => view.get('service', other) };
    if (!needsEndpoint(service, network)) return [{ table, id, endpoint: undefined }];
    const kept = this.#pending.get(keyOf({ table, id }));
    const before = kept !== undefined && 'endpoint' in kept ? kept.endpoint : undefined;
    const endpoint = decideEndpoint(service, before ?? service.endpoint, books);
    if ('err' in endpoint) {
      waiting.add(
        keyOf({ table, id }),
        endpoint.networkId === undefined ? causes.ports : causes.network(endpoint.networkId),
      );
      return service.endpointError === endpoint.err ? [] : [{ table, id, err: endpoint.err }];
    }
    const decision = { table, id, endpoint };
    waiting.remove(keyOf(decision));
    // What was proposed before may yet be what it gets.
    addresses.hold(pendingHolder(decision), [...endpoint.vips, ...(before?.vips ?? [])]);
    ports.hold(pendingHolder(decision), id, [...endpoint.ports, ...(before?.ports ?? [])]);
    addresses.advance(endpoint.vips.filter((vip) => !service.endpoint?.vips.includes(vip)));
    return [decision];
  }

  #decideTasks(): readonly Decision[] {
    const { view } = this.#options.store;
    const { addresses, waiting } = this.#picture;
    return this.#picture.take('task', perTurn).flatMap((id): readonly Decision[] => {
      const task = view.get('task', id);
      const table = 'task' as const;
      if (task === undefined || !isWaiting(task)) return [];
      const kept = this.#kept(table, id);
      if (kept !== undefined) return [kept];
      const given = this.#decideTask(task);
      if ('err' in given) {
        waiting.add(keyOf({ table, id }), given.cause);
        return given.err === '' || isToldWhy(task, given.err) ? [] : [{ table, id, err: given.err }];
      }
      const decision = { table, id, attachments: given.attachments };
      waiting.remove(keyOf(decision));
      addresses.hold(pendingHolder(decision), given.attachments);
      addresses.advance(given.attachments);
      return [decision];
    });
  }

  #decideTask(
    task: Task,
  ): { readonly attachments: readonly NetworkAddresses[] } | { readonly err: string; readonly cause: string } {
    const { view } = this.#options.store;
    const { addresses } = this.#picture;
    const lack = this.#lackOfService(task);
    if (lack !== undefined) return { err: lack.err, cause: causes.service(task.serviceId) };
    const attachments: NetworkAddresses[] = [];
    for (const networkId of networksOf(task.spec)) {
      const missing = lackOfNetwork(networkId, { addresses, network: (id) => view.get('network', id) });
      const given = missing === undefined ? addresses.next(networkId) : undefined;
      const err = missing?.err ?? addresses.shortage(networkId);
      if (given === undefined) return { err, cause: causes.network(networkId) };
      attachments.push(given);
    }
    return { attachments };
  }

  /** A task of the service's spec waits for what the service is given; one of an earlier spec takes over from a task that went without. */
  #lackOfService(task: Task): Lack | undefined {
    const { view } = this.#options.store;
    const service = view.get('service', task.serviceId);
    if (service === undefined) return { err: '' };
    if (service.specVersion !== task.specVersion) return undefined;
    if (!needsEndpoint(service, (id) => view.get('network', id))) return undefined;
    const pending = this.#pending.get(keyOf({ table: 'service', id: service.id }));
    if (pending !== undefined && 'endpoint' in pending) return undefined;
    if ((service.endpoint?.specVersion ?? 0) >= task.specVersion) return undefined;
    return { err: service.endpointError ?? '' };
  }

  /** What was decided before and may be in the store, or get there yet. */
  #kept(table: Decision['table'], id: string): Decision | undefined {
    const pending = this.#pending.get(keyOf({ table, id }));
    return pending === undefined || 'err' in pending ? undefined : pending;
  }

  /** One timer: when the next of what somebody waits for has rested. */
  #setTimer(): void {
    const { clock } = this.#options;
    const at = this.#picture.nextDue;
    if (at === this.#timerAt) return;
    this.#cancelTimer();
    this.#timerAt = at;
    if (at === undefined) return;
    this.#cancelTimer = clock.timer(Math.max(0, at - clock.now()), () => {
      this.#timerAt = undefined;
      this.#loop.trigger();
    });
  }

  #retryLater(error: unknown): void {
    if (this.#stopped) return;
    this.#options.log.warn('giving out addresses', { error: messageOf(error) });
    this.#again();
  }

  #again(): void {
    this.#cancelRetry();
    if (!this.#stopped) this.#cancelRetry = this.#options.clock.timer(retryMs, () => this.#loop.trigger());
  }
}

function pendingHolder(decision: Pick<Decision, 'table' | 'id'>): string {
  return `+${keyOf(decision)}`;
}
