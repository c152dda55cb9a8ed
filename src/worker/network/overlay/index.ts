/**
 * The node's share of overlay networks: for each network that has a container here a namespace with a bridge and a VXLAN device, static
 * entries for endpoints on other nodes, virtual addresses of services, a guard against forged addresses; and macvlan and ipvlan
 * interfaces. The managers' records say all of it: nothing is learnt from packets. Namespaces are made for the first container of a
 * network and go with the last. What this process has done is remembered, so that a change needs no reading; a full sync reads.
 */
import type { Cancel, Clock } from '../../../lib/clock.ts';
import { ClusterError, messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import type { NetworkRecord, SelfRecord } from '../../../model/network.ts';
import type { NetworkAddresses, NetworkProblem } from '../../../model/objects.ts';
import { createKernel, type Kernel } from '../host/kernel.ts';
import { addNetns, isNetns, listNetns, removeNetns } from '../netns.ts';
import {
  type Desired,
  type Failures,
  failuresOf,
  type Plane,
  type SandboxRecord,
  type SyncOptions,
  without,
} from '../planes.ts';
import { changesOf, isEmpty } from './changes.ts';
import { ConnectionCleaner } from './connections.ts';
import { linkOf, wireLink } from './lan.ts';
import { networkNetns, networkNetnsBegin, portName, vxlanName } from './names.ts';
import {
  asObserved,
  linkNames,
  type Observed,
  observeAliases,
  observeNetwork,
  observeUnderlay,
  settingsOf,
} from './observe.ts';
import { type NetworkPlan, networksInUse, planNetwork, type Underlay } from './plan.ts';
import { carryOut } from './sync.ts';

export interface OverlayPlaneOptions {
  /** Distinguishes several daemons on one machine: prefix of namespaces. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Asks for a full sync. */
  readonly again?: () => void;
  /** For tests. */
  readonly kernel?: Kernel;
}

export function createOverlayPlane(options: OverlayPlaneOptions): Plane {
  return new OverlayPlane(options);
}

const retryMinMs = 1_000;
const retryMaxMs = 60_000;
const networksAtATime = 4;

class OverlayPlane implements Plane {
  readonly #options: OverlayPlaneOptions;
  readonly #kernel: Kernel;
  readonly #connections: ConnectionCleaner;
  /** What the kernel holds, as far as this process put or read it there; absent: unknown. By network. */
  readonly #known = new Map<string, Observed>();
  #underlay: { readonly address: string; readonly facts: Underlay } | undefined;
  #bridgeNetfilter: boolean | undefined;
  #isBehind = false;
  #retryMs = retryMinMs;
  #cancelRetry: Cancel | undefined;

  constructor(options: OverlayPlaneOptions) {
    this.#options = options;
    this.#kernel = options.kernel ?? createKernel();
    this.#connections = new ConnectionCleaner(options);
  }

  /** A network that could not be changed leads to endpoints of an older state. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** A network is brought up to date once for all of them; where that fails for each alone, so that one fails for its own reasons only. */
  async wire(sandboxes: readonly SandboxRecord[], desired: Desired): Promise<Failures> {
    const failed = await this.#wireTogether(sandboxes, desired);
    if (failed.size < 2) return failed;
    const alone = new Map<string, unknown>();
    const waiting = new Map(sandboxes.flatMap((one) => (failed.has(one.taskId) ? [[one.taskId, one] as const] : [])));
    for (const sandbox of [...waiting.values()]) {
      waiting.delete(sandbox.taskId);
      const others = [...waiting.values(), ...[...alone.keys()].map((taskId) => ({ taskId }))];
      for (const [taskId, error] of await this.#wireTogether([sandbox], without(others, desired))) {
        alone.set(taskId, error);
      }
    }
    return alone;
  }

  async #wireTogether(sandboxes: readonly SandboxRecord[], desired: Desired): Promise<Failures> {
    const bringing = new Map<string, Promise<void>>();
    const bring = (network: NetworkRecord) => {
      const work = bringing.get(network.id) ?? this.#bring(network, selfOf(desired), desired);
      bringing.set(network.id, work);
      return work;
    };
    return failuresOf(sandboxes, async (sandbox) => {
      const work = sandbox.attachments.map(async (attachment, index) => {
        const network = desired.state.networks.get(attachment.networkId);
        if (network === undefined) throw unknownNetwork(attachment);
        if (network.driver === 'overlay') await bring(network);
        else await wireLink(this.#kernel, linkOf(sandbox, network, index));
      });
      const results = await Promise.allSettled(work);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    });
  }

  async unwire(sandbox: SandboxRecord): Promise<void> {
    await Promise.all(sandbox.attachments.map(({ networkId }) => this.#unplug(sandbox.taskId, networkId)));
  }

  async sync(desired: Desired, how: SyncOptions = { full: true }): Promise<readonly NetworkProblem[]> {
    const problems: NetworkProblem[] = [];
    const { self } = desired.state;
    if (how.full) {
      this.#known.clear();
      this.#underlay = undefined;
      this.#bridgeNetfilter = undefined;
    }
    // Before new ones are made: a network made again under the same VXLAN id could not be while the old one is there.
    await this.#collect(desired, how.full);
    this.#isBehind = false;
    if (self === undefined) return problems;
    const networks = networksInUse(desired).filter(({ driver }) => driver === 'overlay');
    await eachOf(networks, networksAtATime, async (network) => {
      try {
        await this.#bring(network, self, desired);
      } catch (error) {
        this.#options.log.warn('bringing a network up to date', { network: network.name, error: messageOf(error) });
        this.#isBehind = true;
        problems.push({ networkId: network.id, message: `network ${network.name}: ${messageOf(error)}` });
      }
    });
    if (how.full) problems.push(...(await this.#syncLinks(desired)));
    this.#scheduleRetry(problems.length > 0);
    return [...problems, ...this.#missing(networks, desired)];
  }

  async close(): Promise<void> {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    await this.#connections.close();
  }

  async destroy(): Promise<void> {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#known.clear();
    const { names, broken } = await listNetns(networkNetnsBegin(this.#options.prefix));
    await this.#remove(names, broken);
  }

  /** Makes one network right; what is known to be so already costs nothing. */
  async #bring(network: NetworkRecord, self: SelfRecord, desired: Desired): Promise<void> {
    const plan = await this.#plan(network, self, desired);
    const settings = settingsOf(plan.ipv6, await this.#hasBridgeNetfilter());
    this.#connections.note(network.id, plan.netns, desired.state);
    let before = this.#known.get(network.id);
    if (before === undefined && !(await addNetns(plan.netns))) before = await observeNetwork(this.#kernel, plan);
    const changes = changesOf(plan, before, settings);
    this.#known.delete(network.id);
    if (!isEmpty(changes)) await carryOut(this.#kernel, plan, changes);
    this.#known.set(network.id, asObserved(plan, before, settings));
    this.#connections.clean(network.id);
  }

  async #plan(network: NetworkRecord, self: SelfRecord, desired: Desired): Promise<NetworkPlan> {
    if (this.#underlay?.address !== self.underlay) {
      this.#underlay = { address: self.underlay, facts: await observeUnderlay(this.#kernel, self.underlay) };
    }
    const underlay = this.#underlay.facts;
    return planNetwork(network, self, { desired, prefix: this.#options.prefix, underlay });
  }

  /** The rules of the network follow with the next sync: what they allow a link that is gone does no harm. */
  async #unplug(taskId: string, networkId: string): Promise<void> {
    const netns = networkNetns(this.#options.prefix, networkId);
    const name = portName(taskId, networkId);
    const known = this.#known.get(networkId);
    if (!(await isNetns(netns))) return;
    if (known !== undefined && !known.ports.has(name)) return;
    await this.#kernel.change('ip', ['-n', netns, 'link', 'delete', name]).catch((error: unknown) => {
      if (!/Cannot find device|does not exist/.test(messageOf(error))) throw error;
    });
    if (known === undefined) return;
    const ports = new Map([...known.ports].filter(([port]) => port !== name));
    const statics = new Set([...known.statics].filter((entry) => !entry.startsWith(`${name} `)));
    this.#known.set(networkId, { ...known, ports, statics });
  }

  /** Namespaces of networks that no container here is on. */
  async #collect(desired: Desired, full: boolean): Promise<void> {
    const ids = [...desired.sandboxes.values()].flatMap(({ attachments }) => attachments.map((one) => one.networkId));
    const wanted = new Set(ids.map((id) => networkNetns(this.#options.prefix, id)));
    const inUse = new Set(ids);
    for (const id of [...this.#known.keys()]) {
      if (inUse.has(id)) continue;
      this.#known.delete(id);
      this.#connections.forget(id);
    }
    const { names, broken } = await listNetns(networkNetnsBegin(this.#options.prefix));
    const unwanted = names.filter((name) => !wanted.has(name));
    if (unwanted.length > 0 || (full && broken.length > 0)) await this.#remove(unwanted, broken);
  }

  /** The VXLAN device goes first: a namespace that something still keeps alive would hold its id. */
  async #remove(names: readonly string[], broken: readonly string[]): Promise<void> {
    await eachOf(names, networksAtATime, async (name) => {
      const links = await linkNames(this.#kernel, name);
      for (const link of links.filter((one) => one.startsWith(vxlanName(0).slice(0, -1)))) {
        await this.#kernel.change('ip', ['-n', name, 'link', 'delete', link]);
      }
    });
    await removeNetns([...names, ...broken]);
  }

  /** macvlan and ipvlan interfaces, which live in the containers' namespaces alone. */
  async #syncLinks(desired: Desired): Promise<readonly NetworkProblem[]> {
    const problems: NetworkProblem[] = [];
    for (const sandbox of desired.sandboxes.values()) {
      const links = sandbox.attachments.flatMap(({ networkId }, index) => {
        const network = desired.state.networks.get(networkId);
        return network === undefined || network.driver === 'overlay' ? [] : [linkOf(sandbox, network, index)];
      });
      if (links.length === 0) continue;
      const have = await observeAliases(this.#kernel, sandbox.netns);
      for (const link of links.filter(({ device, alias }) => have.get(device) !== alias)) {
        await wireLink(this.#kernel, link).catch((error: unknown) => {
          problems.push({ networkId: link.network.id, message: messageOf(error) });
        });
      }
    }
    return problems;
  }

  async #hasBridgeNetfilter(): Promise<boolean> {
    const look = async () => (await this.#kernel.setting('bridge/bridge-nf-call-iptables')) !== undefined;
    if (this.#bridgeNetfilter === undefined) {
      this.#bridgeNetfilter = await look();
      if (!this.#bridgeNetfilter) {
        await this.#kernel.change('modprobe', ['br_netfilter']).catch(() => {});
        this.#bridgeNetfilter = await look();
      }
    }
    return this.#bridgeNetfilter;
  }

  #missing(networks: readonly NetworkRecord[], { state }: Desired): readonly NetworkProblem[] {
    const virtual = networks.filter(({ id }) =>
      [...state.services.values()].some(
        ({ mode, networks: own }) => mode === 'vip' && own.some(({ networkId }) => networkId === id),
      ),
    );
    const problems: NetworkProblem[] = [];
    if (virtual.length > 0 && this.#bridgeNetfilter === false) {
      problems.push({
        message:
          "virtual addresses of services do not work on this node: its kernel has no br_netfilter, and 'modprobe br_netfilter' did not bring it; load the module, or use --endpoint-mode dnsrr",
      });
    }
    if (networks.length > 0 && this.#connections.missing) {
      problems.push({
        message:
          'connections to endpoints that are gone are not cut on this node: conntrack is not installed (apt-get install conntrack)',
      });
    }
    return problems;
  }

  #scheduleRetry(needed: boolean): void {
    if (!needed) this.#retryMs = retryMinMs;
    const { again, clock } = this.#options;
    if (!needed || again === undefined || this.#cancelRetry !== undefined) return;
    this.#cancelRetry = clock.timer(this.#retryMs, () => {
      this.#cancelRetry = undefined;
      again();
    });
    this.#retryMs = Math.min(this.#retryMs * 2, retryMaxMs);
  }
}

function selfOf({ state }: Desired): SelfRecord {
  if (state.self !== undefined) return state.self;
  throw new ClusterError('failed_precondition', 'this node has no place in the network yet', { retryable: true });
}

function unknownNetwork({ networkId }: NetworkAddresses): ClusterError {
  return new ClusterError('failed_precondition', `network ${networkId} is not known on this node`, { retryable: true });
}

async function eachOf<T>(items: readonly T[], atATime: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(atATime, items.length) }, worker));
}
