/** Makes things go wrong: each kind of fault at its own pace, from its own stream of chance. */
import type { NodeId } from '../core/types.ts';
import type { Chance } from './chance.ts';
import { partitionKinds } from './network.ts';
import type { SimNode } from './sim-node.ts';
import type { Timed } from './swarm.ts';
import { timedFaults } from './swarm.ts';
import type { World } from './world.ts';

/** Something that a fault may not touch just now, e.g. while membership changes. */
export interface FaultHost {
  /** May this node be lost for good? */
  expendable(node: SimNode): boolean;
  /** It has been; someone should take its place. */
  lost(node: SimNode): void;
  change(): void;
  transfer(): void;
}

export class Faults {
  readonly #world: World;
  readonly #host: FaultHost;
  #stopped = false;

  constructor(world: World, host: FaultHost) {
    this.#world = world;
    this.#host = host;
  }

  start(): void {
    const repairs = this.#world.chance('repair');
    this.#world.onBroken = (node) => this.#after(repairs.exponential(1500), () => this.#repair(node, repairs));
    for (const fault of timedFaults) {
      const meanMs = this.#world.swarm.meanMs[fault];
      if (meanMs > 0) this.#again(fault, meanMs, this.#world.chance(`fault:${fault}`));
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  #again(fault: Timed, meanMs: number, chance: Chance): void {
    this.#world.schedule.add(chance.exponential(meanMs), () => {
      if (this.#stopped) return;
      this.#strike(fault, chance);
      this.#again(fault, meanMs, chance);
    });
  }

  /** Ends by itself, unless the safety phase ends first: then everything is healed anyway. */
  #after(delayMs: number, run: () => void): void {
    this.#world.schedule.add(delayMs, () => {
      if (!this.#stopped) run();
    });
  }

  #strike(fault: Timed, chance: Chance): void {
    const world = this.#world;
    if (fault === 'membership') return this.#host.change();
    if (fault === 'transfer') return this.#host.transfer();
    if (fault === 'partition') return this.#partition(chance);
    const node = this.#victim(chance);
    if (node === undefined) return;
    switch (fault) {
      case 'crash':
        return this.#crash(node, chance);
      case 'slow-disk':
        node.disk.slowness = chance.pick([10, 50, 300]) ?? 10;
        world.hit('disk slow');
        return this.#after(chance.exponential(1500), () => (node.disk.slowness = 1));
      case 'full-disk':
        node.disk.full = true;
        return this.#after(chance.exponential(1000), () => (node.disk.full = false));
      case 'disk-error':
        node.disk.failNext = true;
        return undefined;
      case 'jump':
        world.hit('clock jumped');
        return node.process?.clock.jump(chance.exponential(1500));
      case 'pause':
        return this.#pause(node, chance);
      case 'read-error':
        node.disk.failNextRead = true;
        return undefined;
      case 'damage':
        return this.#damage(node, chance);
      case 'lost':
        return this.#lose(node);
      default:
        throw new RangeError(`unknown fault: ${String(fault satisfies never)}`);
    }
  }

  /** Leaders are more interesting. */
  #victim(chance: Chance): SimNode | undefined {
    const leader = this.#world.leader();
    if (leader !== undefined && chance.chance(0.35)) return leader;
    return chance.pick([...this.#world.nodes.values()].filter((node) => node.process !== undefined));
  }

  #partition(chance: Chance): void {
    const { network, nodes } = this.#world;
    const ids: NodeId[] = [...nodes.values()].filter((node) => !node.lost).map(({ id }) => id);
    network.heal();
    const kind = chance.pick(partitionKinds) ?? 'halves';
    network.partition(kind, ids);
    this.#world.note('network', 'partition', kind);
    this.#after(chance.exponential(2000), () => network.heal());
  }

  #crash(node: SimNode, chance: Chance): void {
    const all = chance.chance(0.1);
    const victims = all ? this.#world.up : [node];
    if (all) this.#world.hit('all nodes crash at once');
    for (const victim of victims) {
      victim.crash(chance.chance(this.#world.swarm.powerShare));
      // Often within its own recovery: the next crash may come soon.
      const soon = chance.chance(0.3);
      this.#after(chance.exponential(soon ? 20 : 1200), () => victim.start());
      if (soon) this.#after(chance.exponential(30), () => this.#crashAgain(victim, chance));
    }
  }

  #crashAgain(node: SimNode, chance: Chance): void {
    if (node.process === undefined || node.process.raft !== undefined) return;
    node.crash(chance.chance(this.#world.swarm.powerShare));
    this.#after(chance.exponential(500), () => node.start());
  }

  #pause(node: SimNode, chance: Chance): void {
    const clock = node.process?.clock;
    if (clock === undefined || clock.paused) return;
    clock.paused = true;
    this.#world.hit('process paused');
    this.#world.note(`node ${node.id}`, 'paused');
    this.#after(chance.exponential(1500), () => {
      clock.resume();
      this.#world.note(`node ${node.id}`, 'resumed');
    });
  }

  /** Whoever stopped for a disk error is started again, or replaced where that can be afforded. */
  #repair(node: SimNode, chance: Chance): void {
    if (node.process?.broken !== true) return;
    if (this.#world.swarm.meanMs.lost > 0 && chance.chance(0.2)) this.#lose(node);
    if (node.lost) return;
    node.crash(chance.chance(0.5));
    node.start();
    this.#world.hit('node started again after a disk error');
  }

  /** A damaged member is replaced like a lost one; what its disk would have made of a start is looked at as well. */
  #damage(node: SimNode, chance: Chance): void {
    this.#lose(node);
    if (!node.lost) return;
    node.startDamaged(chance).catch((error: unknown) => this.#world.violate(0, String(error)));
  }

  #lose(node: SimNode): void {
    if (!this.#host.expendable(node)) return;
    this.#world.hit('node lost for good');
    this.#world.note(`node ${node.id}`, 'lost for good');
    node.crash(true);
    node.lost = true;
    this.#host.lost(node);
  }
}
