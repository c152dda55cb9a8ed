/** Composes the parts: observe → plan → difference → change, tables before the settings that they guard. */
import type { Clock } from '../../../lib/clock.ts';
import { ClusterError } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import { contains, parseBlock } from '../../../model/ip.ts';
import type { NetworkState, SelfRecord } from '../../../model/network.ts';
import type { NetworkProblem } from '../../../model/objects.ts';
import {
  allFailed,
  type Desired,
  type Failures,
  failuresOf,
  type Plane,
  type SandboxRecord,
  type SyncOptions,
  without,
} from '../planes.ts';
import { StaleConnections } from './conntrack.ts';
import { removeAccepts, syncFirewalls } from './firewall.ts';
import { isMissing, type Kernel } from './kernel.ts';
import { type GatewayLink, gatewayLink, isInternal } from './link.ts';
import { canonical, dnsPort, gatewayAddress, linkName, linkPrefix, tableName } from './names.ts';
import { changeOf, type TablePlan, type TableView, withoutTable } from './nft.ts';
import { type HostView, observeHost, observeTable } from './observe.ts';
import { type HostPlan, innerMtu, overlapProblems, planHost } from './plan.ts';
import { listenersOf, PublishedPorts } from './published.ts';
import { removeHost, syncHost, wireNewLinks } from './sync.ts';
import { hostTable, hostTable6 } from './table.ts';

export interface PlaneOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly again?: () => void;
}

/** Until the underlay's own is known. */
const usualMtu = 1450;

export class HostPlane implements Plane {
  readonly #kernel: Kernel;
  readonly #options: PlaneOptions;
  readonly #ports: PublishedPorts;
  readonly #stale: StaleConnections;
  #mtu = usualMtu;
  /** What this process made the kernel agree with last, besides tables and links; undefined: it does not know what the kernel holds. */
  #synced: string | undefined;
  /** The tables as they were seen, and were as wanted: until something else is wanted nobody but a whole comparison looks again. */
  #settled: { readonly view: TableView | undefined; readonly digest: string } | undefined;
  /** Likewise of links: name → alias. */
  readonly #wired = new Map<string, string>();
  /** Found by the last whole comparison. */
  #problems: readonly NetworkProblem[] = [];
  #cancelRetry: (() => void) | undefined;
  #isClosed = false;
  /** Addresses here that connections were sent to: forgetting them is a pass over all connections of the host. */
  readonly #served = new Set<string>();
  /** Ids of tasks that have no way out. */
  readonly #internal = new Set<string>();

  constructor(kernel: Kernel, options: PlaneOptions) {
    this.#kernel = kernel;
    this.#options = options;
    this.#ports = new PublishedPorts(kernel, options.clock);
    this.#stale = new StaleConnections(kernel, options);
  }

  async wire(sandboxes: readonly SandboxRecord[], desired: Desired): Promise<Failures> {
    const alone = sandboxes.filter(({ mode }) => mode === 'none');
    const own = sandboxes.filter(({ mode }) => mode === 'own');
    const failed = await failuresOf(alone, ({ netns }) =>
      this.#kernel.change('ip', ['-netns', netns, 'link', 'set', 'lo', 'up']),
    );
    return new Map([...failed, ...(await this.#wireOwn(own, desired).catch((error) => allFailed(own, error)))]);
  }

  async #wireOwn(sandboxes: readonly SandboxRecord[], desired: Desired): Promise<Failures> {
    if (sandboxes.length === 0) return new Map();
    const { self } = desired.state;
    if (self === undefined) throw new ClusterError('unavailable', 'this node has no place in the network yet');
    if (this.#synced === undefined) await this.sync(without(sandboxes, desired), { full: true });
    const failed = new Map<string, unknown>();
    const links: GatewayLink[] = [];
    for (const sandbox of sandboxes) {
      try {
        const link = gatewayLink(sandbox, gatewayAddress(self.gatewaySubnet), this.#internalTasks(desired));
        if (link === undefined) throw new ClusterError('internal', `task ${sandbox.taskId} has no gateway address`);
        await this.#ports.takeForTask(sandbox, desired);
        links.push(link);
      } catch (error) {
        failed.set(sandbox.taskId, error);
      }
    }
    for (const [taskId, error] of await wireNewLinks(this.#kernel, links, this.#mtu)) failed.set(taskId, error);
    const wired = links.filter(({ taskId }) => !failed.has(taskId));
    for (const { name, alias } of wired) this.#wired.set(name, alias);
    const guarded = wired.filter(
      ({ taskId, internal }) => internal || (desired.sandboxes.get(taskId)?.hostPorts.length ?? 0) > 0,
    );
    if (guarded.length > 0) {
      const broken = sandboxes.filter(({ taskId }) => failed.has(taskId));
      await this.#syncTables(self, without(broken, desired)).catch((error: unknown) => {
        for (const { taskId } of guarded) failed.set(taskId, error);
      });
    }
    return failed;
  }

  async unwire(sandbox: SandboxRecord, desired: Desired): Promise<void> {
    if (sandbox.mode === 'none') return;
    const { self } = desired.state;
    if (self !== undefined && this.#synced !== undefined) await this.#syncTables(self, without([sandbox], desired));
    await this.#ports.releaseOfTask(sandbox.taskId);
    this.#wired.delete(linkName(sandbox.taskId));
    try {
      await this.#kernel.change('ip', ['link', 'delete', linkName(sandbox.taskId)]);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    const { gateway } = sandbox;
    if (gateway !== undefined && this.#served.delete(gateway)) this.#stale.isGone(gateway);
  }

  async sync(desired: Desired, { full }: SyncOptions = { full: true }): Promise<readonly NetworkProblem[]> {
    const { self } = desired.state;
    if (self === undefined) return [];
    const ports = await this.#ports.takeAll(desired);
    const plan = planHost(self, desired, this.#internalTasks(desired));
    const digest = digestOf(plan);
    if (full || digest !== this.#synced || !this.#isWired(plan)) {
      this.#synced = undefined;
      this.#wired.clear();
      this.#problems = await this.#syncAll(plan, desired);
      this.#synced = digest;
    } else {
      await this.#syncTables(self, desired);
    }
    await this.#ports.releaseUnwanted();
    this.#scheduleRetry();
    return [...ports, ...this.#problems, ...(this.#stale.isMissing ? [conntrackMissing] : [])];
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    await this.#stale.close();
    await this.#ports.releaseAll();
  }

  async destroy(): Promise<void> {
    this.#synced = undefined;
    this.#settled = undefined;
    this.#wired.clear();
    this.#problems = [];
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    await this.#stale.close();
    const view = await observeHost(this.#kernel);
    await removeAccepts(this.#kernel, view.chains);
    await removeHost(this.#kernel, view);
    const families = new Set(view.chains.filter(({ table }) => table === tableName).map(({ family }) => family));
    for (const family of ['ip', 'ip6'] as const) {
      if (families.has(family)) await this.#nft(withoutTable({ family, name: tableName }));
    }
    await this.#ports.releaseAll();
  }

  async #syncAll(plan: HostPlan, desired: Desired): Promise<readonly NetworkProblem[]> {
    const view = await observeHost(this.#kernel);
    this.#mtu = mtuOf(plan.self, view) ?? this.#mtu;
    this.#settled = undefined;
    await this.#syncTables(plan.self, desired, plan);
    const { problems, wired } = await syncHost(this.#kernel, plan, { view, mtu: this.#mtu });
    for (const { name, alias } of wired) this.#wired.set(name, alias);
    return [
      ...problems,
      ...(await syncFirewalls(this.#kernel, view.chains)),
      ...overlapProblems(desired, view.allRoutes),
      ...(await this.#namesProblems()),
    ];
  }

  async #syncTables(self: SelfRecord, desired: Desired, made?: HostPlan): Promise<void> {
    const { links, marks, macs } = made ?? planHost(self, desired, this.#internalTasks(desired));
    const tableFor = (view: TableView | undefined) =>
      hostTable({ self, desired, links, marks, macs, refused: this.#ports.refused, view });
    const wanted6 = hostTable6(self, desired);
    const settled = this.#settled;
    if (settled !== undefined && digestOfTables([tableFor(settled.view).plan, wanted6]) === settled.digest) return;
    this.#settled = undefined;
    const view = await observeTable(this.#kernel, 'ip');
    const wanted = tableFor(view);
    const isSame = await this.#syncTable(wanted.plan, view);
    this.#noteConnections(view, wanted.backends, { self, peers: desired.state.peers });
    for (const { address } of links) if (wanted.backends.has(address)) this.#served.add(address);
    const isSame6 = wanted6 === undefined || (await this.#syncTable(wanted6, await observeTable(this.#kernel, 'ip6')));
    if (isSame && isSame6) this.#settled = { view, digest: digestOfTables([wanted.plan, wanted6]) };
  }

  /** True when there was nothing to change. */
  async #syncTable(plan: TablePlan, view: TableView | undefined): Promise<boolean> {
    const change = changeOf(plan, view);
    if (change !== undefined) await this.#nft(change);
    return change === undefined;
  }

  /** What is known of a task's networks stays known while it is here, also when the managers have taken them away. */
  #internalTasks({ sandboxes, state }: Desired): ReadonlySet<string> {
    for (const taskId of [...this.#internal]) if (!sandboxes.has(taskId)) this.#internal.delete(taskId);
    for (const sandbox of sandboxes.values()) {
      const internal = isInternal(sandbox, state);
      if (internal === true) this.#internal.add(sandbox.taskId);
      else if (internal === false) this.#internal.delete(sandbox.taskId);
    }
    return this.#internal;
  }

  #isWired({ links }: HostPlan): boolean {
    return links.length === this.#wired.size && links.every(({ name, alias }) => this.#wired.get(name) === alias);
  }

  #nft(text: string): Promise<string> {
    return this.#kernel.change('nft', ['-f', '-'], text);
  }

  /** Who was behind a port and is not any more. */
  #noteConnections(
    view: TableView | undefined,
    backends: ReadonlySet<string>,
    { self, peers }: { readonly self: SelfRecord; readonly peers: NetworkState['peers'] },
  ): void {
    for (const address of backends) this.#stale.returns(address);
    // A node that was removed is in no record at all: what is on none of those that are there is gone.
    const there = [self, ...[...peers.values()].filter(({ down }) => down !== true)];
    const blocks = there.flatMap(({ gatewaySubnet }) => parseBlock(gatewaySubnet) ?? []);
    for (const address of formerBackends(view)) {
      if (backends.has(address)) continue;
      if (blocks.some((block) => contains(block, address))) this.#stale.leaves(address);
      else this.#stale.isGone(address);
    }
  }

  /** Names are answered on one address; a program that has the port on all of them is in the way. */
  async #namesProblems(): Promise<readonly NetworkProblem[]> {
    const listeners = await listenersOf(this.#kernel, ['-tu'], dnsPort);
    const clash = listeners.find(({ isWildcard }) => isWildcard);
    if (clash === undefined) return [];
    const message = `names: ${clash.program ?? 'a program'} has port ${dnsPort} on all addresses of this host, where the names of services are answered: give it another port`;
    return [{ message }];
  }

  #scheduleRetry(): void {
    const delayMs = this.#ports.retryInMs();
    const { again, clock } = this.#options;
    if (delayMs === undefined || again === undefined || this.#cancelRetry !== undefined || this.#isClosed) return;
    this.#cancelRetry = clock.timer(delayMs, () => {
      this.#cancelRetry = undefined;
      again();
    });
  }
}

const conntrackMissing: NetworkProblem = {
  message:
    'conntrack is not installed: connections to tasks that are gone hang until they time out: apt-get install conntrack',
};

/** Of everything but links. */
function digestOf({ gateway, ingress, routes, rules, forwarding, neighbours }: HostPlan): string {
  const ways = [...routes].filter((route) => !route.includes(` dev ${linkPrefix}`));
  return JSON.stringify([gateway, ingress, ways, [...rules], [...forwarding], [...neighbours]]);
}

function digestOfTables(tables: readonly (TablePlan | undefined)[]): string {
  return JSON.stringify(tables, (_, value: unknown) =>
    value instanceof Map || value instanceof Set ? [...value] : value,
  );
}

function mtuOf({ underlay }: SelfRecord, view: HostView): number | undefined {
  const device = [...view.links.values()].find(({ addresses }) =>
    addresses.some(({ address }) => address === canonical(underlay)),
  );
  return device === undefined ? undefined : innerMtu(Math.min(device.mtu, 65_535), underlay);
}

/** Addresses that the table sent connections to. */
function formerBackends(view: TableView | undefined): ReadonlySet<string> {
  const hostPorts = ['hports', 'hports_ip'].flatMap((map) => [...(view?.sets.get(map)?.values() ?? [])]);
  const branches = [...(view?.targets.values() ?? [])].flat();
  return new Set([...hostPorts, ...branches].map((target) => target.split(' . ')[0] ?? ''));
}
