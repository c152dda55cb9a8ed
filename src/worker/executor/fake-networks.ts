/** The networks of a host in memory: what its kernel would have in place, and what containers are attached to. Outlives agents. */
import { type Clock, sleep } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import { between, type Random } from '../../lib/random.ts';
import type { AssignedTask } from '../../model/assignment.ts';
import { addressAt, contains, parseBlock, withoutPrefix } from '../../model/ip.ts';
import { emptyNetworkState, hasIngressPorts, type NetworkState } from '../../model/network.ts';
import type { NetworkAddresses, NetworkProblem } from '../../model/objects.ts';
import { Gate } from '../gate.ts';
import type { NodeNetworks } from './port.ts';

export interface FakeNetworksOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Shortest and longest time that a new state takes, ms. */
  readonly applyMs: readonly [number, number];
}

interface Attached {
  readonly attachments: readonly NetworkAddresses[];
  readonly gateway: string | undefined;
}

export class FakeNetworks implements NodeNetworks {
  readonly #options: FakeNetworksOptions;
  readonly #gate = new Gate();
  readonly #attached = new Map<string, Attached>();
  #state: NetworkState = emptyNetworkState;
  #problems: readonly NetworkProblem[] = [];
  #handle: (problems: readonly NetworkProblem[]) => void = () => {};
  #calls = 0;
  #applied = 0;

  constructor(options: FakeNetworksOptions) {
    this.#options = options;
  }

  async apply(state: NetworkState): Promise<readonly NetworkProblem[]> {
    const call = ++this.#calls;
    const { clock, random, applyMs } = this.#options;
    await sleep(clock, between(random, ...applyMs));
    if (call > this.#applied) {
      this.#applied = call;
      this.#state = state;
      this.#gate.signal();
    }
    return this.#problems;
  }

  onProblems(handle: (problems: readonly NetworkProblem[]) => void): void {
    this.#handle = handle;
  }

  // What tests and the simulator do to it.

  /** What is in place. */
  get state(): NetworkState {
    return this.#state;
  }

  get attached(): ReadonlyMap<string, Attached> {
    return this.#attached;
  }

  /** From now on this cannot be done; the agent is told at once. */
  setProblems(problems: readonly NetworkProblem[]): void {
    this.#problems = problems;
    this.#handle(problems);
  }

  // What containers do.

  /** Waits for the networks, as the real driver does. Refuses what cannot be right. */
  async attach(task: AssignedTask, signal: AbortSignal): Promise<void> {
    const { attachments = [], id, endpoint } = task;
    const needsPlace = attachments.length > 0 || hasIngressPorts(endpoint);
    const ready = () =>
      (!needsPlace || this.#state.self !== undefined) &&
      attachments.every(({ networkId }) => this.#state.networks.has(networkId));
    await this.#gate.until(ready, signal);
    if (this.#attached.has(id)) return;
    for (const { networkId, addresses } of attachments)
      for (const address of addresses) this.#check(networkId, withoutPrefix(address));
    this.#attached.set(id, { attachments, gateway: this.#freeGateway() });
  }

  gatewayOf(taskId: string): string | undefined {
    return this.#attached.get(taskId)?.gateway;
  }

  detach(taskId: string): void {
    this.#attached.delete(taskId);
  }

  #check(networkId: string, address: string): void {
    const subnets = this.#state.networks.get(networkId)?.subnets ?? [];
    const inside = subnets.some(({ subnet }) => {
      const block = parseBlock(subnet);
      return block !== undefined && contains(block, address);
    });
    if (!inside) throw new ClusterError('internal', `${address} is not an address of network ${networkId}`);
  }

  #freeGateway(): string | undefined {
    const block = parseBlock(this.#state.self?.gatewaySubnet ?? '');
    if (block === undefined) return undefined;
    const taken = new Set([...this.#attached.values()].map(({ gateway }) => gateway));
    for (let offset = 2n; offset < block.size - 1n; offset++) {
      const address = addressAt(block, offset);
      if (!taken.has(address)) return address;
    }
    throw new ClusterError('exhausted', 'no gateway address is left on this node');
  }
}
