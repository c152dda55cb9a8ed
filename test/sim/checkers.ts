/**
 * What must hold at every moment of a simulated run, judged from outside: replicas, acknowledged writes, running
 * containers. Checkers only look; none of them uses the code under test to judge it.
 */
import { createHash } from 'node:crypto';
import type { MemoryStore } from '../../src/manager/store/store.ts';
import type { World } from './world.ts';

/** How long two containers of one slot may run at once while their nodes are connected and managers agree, ms. */
const doubleLimitMs = 45_000;
/** Comparing whole states is the dearest check: every so many steps. */
const replicaCheckEvery = 40;

export class Checkers {
  readonly #world: World;
  #steps = 0;
  readonly #termLeaders = new Map<number, string>();
  readonly #acknowledged = new Set<string>();
  readonly #doubleSince = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  acknowledged(configName: string): void {
    this.#acknowledged.add(configName);
  }

  /** After every step. */
  step(): void {
    this.#oneLeaderPerTerm();
    this.#raftInvariants();
    this.#noLongDoubles();
    if (this.#steps++ % replicaCheckEvery === 0) this.#replicasAgree();
  }

  /** Once faults have stopped and the cluster had time. */
  final(): void {
    const world = this.#world;
    const digests = new Map(world.managers.map((host) => [host.name, digestOf(host.process?.store)]));
    if (new Set(digests.values()).size !== 1) world.fail(`replicas differ: ${JSON.stringify([...digests])}`);
    const store = world.managers[0]?.process?.store;
    const names = new Set([...(store?.view.list('config') ?? [])].map((config) => config.spec.Name));
    for (const name of this.#acknowledged) if (!names.has(name)) world.fail(`acknowledged write lost: config ${name}`);
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.size;
  }

  #oneLeaderPerTerm(): void {
    for (const host of this.#world.managers) {
      const status = host.process?.raft.status();
      if (status?.role !== 'leader') continue;
      const known = this.#termLeaders.get(status.term);
      if (known !== undefined && known !== host.name) this.#world.fail(`two leaders in term ${status.term}: ${known} and ${host.name}`);
      this.#termLeaders.set(status.term, host.name);
    }
  }

  /** Replicas that have applied the same entries hold the same objects. */
  #replicasAgree(): void {
    const seen = new Map<number, { readonly name: string; readonly digest: string }>();
    for (const host of this.#world.managers) {
      const store = host.process?.store;
      if (store === undefined) continue;
      const digest = digestOf(store);
      const other = seen.get(store.view.version);
      if (other !== undefined && other.digest !== digest) this.#world.fail(`${other.name} and ${host.name} differ at version ${store.view.version}`);
      seen.set(store.view.version, { name: host.name, digest });
    }
  }

  #raftInvariants(): void {
    for (const host of this.#world.managers) {
      const broken = host.process?.raft.invariants() ?? [];
      if (broken.length > 0) this.#world.fail(`${host.name}: ${broken.join('; ')}`);
    }
  }

  /** A slot may run twice while a node is away (nobody can tell it to stop); once all is connected it must end. */
  #noLongDoubles(): void {
    const { clock } = this.#world;
    const running = new Map<string, number>();
    for (const agent of this.#world.agents) {
      if (!agent.connected) continue;
      for (const slot of agent.runningSlots()) running.set(slot, (running.get(slot) ?? 0) + 1);
    }
    for (const [slot, count] of running) {
      if (count < 2 || !this.#world.calm) this.#doubleSince.delete(slot);
      else if (!this.#doubleSince.has(slot)) this.#doubleSince.set(slot, clock.monotonic());
      const since = this.#doubleSince.get(slot);
      if (since !== undefined && clock.monotonic() - since > doubleLimitMs) this.#world.fail(`slot ${slot} runs ${count} times for more than ${doubleLimitMs} ms`);
    }
    for (const slot of this.#doubleSince.keys()) if (!running.has(slot)) this.#doubleSince.delete(slot);
  }
}

/** Everything a replica holds, in an order of its own making. */
function digestOf(store: MemoryStore | undefined): string {
  if (store === undefined) return 'down';
  const hash = createHash('sha1');
  for (const table of ['cluster', 'node', 'service', 'task', 'secret', 'config'] as const) {
    const objects = [...store.view.list(table)].sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const object of objects) hash.update(JSON.stringify(sortKeys(object)));
  }
  return hash.digest('hex');
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, sortKeys(inner)]));
}
