/** What goes wrong, when and for how long: all of it drawn from the seed. Every fault ends by itself. */
import { between, type Random, seededRandom } from '../../src/lib/random.ts';
import type { ManagerHost } from './manager-host.ts';
import type { World } from './world.ts';

/** Begins, and returns how it ends. */
type Fault = () => () => void;

const gapMs = [300, 4_000] as const;
const lengthMs = [200, 16_000] as const;

export class Faults {
  readonly #world: World;
  readonly #random: Random;
  readonly #pending = new Map<string, () => void>();
  #active = false;
  #stopping = 0;

  constructor(world: World, seed: number) {
    this.#world = world;
    this.#random = seededRandom(seed * 8 + 5);
  }

  get none(): boolean {
    return this.#pending.size === 0 && this.#stopping === 0;
  }

  start(): void {
    this.#active = true;
    this.#later();
  }

  /** All faults end now. */
  stop(): void {
    this.#active = false;
    for (const end of [...this.#pending.values()]) end();
  }

  #later(): void {
    this.#world.clock.timer(between(this.#random, ...gapMs), () => {
      if (!this.#active) return;
      this.#begin();
      this.#later();
    });
  }

  /** A write was just acknowledged: now and then the leader dies before its loops have done anything about it. */
  acknowledged(): void {
    const leader = this.#world.leader();
    if (!this.#active || leader === undefined || between(this.#random, 0, 19) > 0) return;
    this.#start(`power of ${leader.name}`, () => (leader.crash(), () => this.#world.run(leader.start())));
  }

  #begin(): void {
    this.#start(...this.#draw());
  }

  #start(name: string, fault: Fault): void {
    if (this.#pending.has(name)) return;
    // Mostly a majority of the managers is left, so that there is a leader whose work can go wrong.
    const managersHit = [...this.#pending.keys()].filter(hitsManager).length;
    if (hitsManager(name) && managersHit > 0 && between(this.#random, 0, 3) > 0) return;
    this.#world.trace(`fault ${name}`);
    const undo = fault();
    const end = () => {
      cancel();
      this.#pending.delete(name);
      this.#world.trace(`end of ${name}`);
      undo();
    };
    const cancel = this.#world.clock.timer(between(this.#random, ...lengthMs), end);
    this.#pending.set(name, end);
  }

  #draw(): readonly [string, Fault] {
    const { network, managers, agents } = this.#world;
    const manager = pick(this.#random, managers);
    const agent = pick(this.#random, agents);
    const any = pick(this.#random, [...managers, ...agents]).name;
    const other = pick(this.#random, managers).name;
    switch (between(this.#random, 0, 15)) {
      case 0:
        return [`cable of ${any}`, () => (network.cut(any), () => network.heal(any))];
      case 1:
        return [`cable of ${agent.name}`, () => (network.cut(agent.name), () => network.heal(agent.name))];
      case 2:
        return this.#split(any === other ? agent.name : any, other);
      case 3:
        return [`slow ${any}`, () => (network.slow(any, true), () => network.slow(any, false))];
      case 4:
      case 5:
        return [`power of ${manager.name}`, () => (manager.crash(), () => this.#world.run(manager.start()))];
      case 6:
        return [`restart of ${manager.name}`, () => this.#restart(manager)];
      case 7:
        return [`crash of ${agent.name}`, () => (agent.crash(), () => agent.start())];
      case 8:
        return [`power of ${agent.name}`, () => (agent.powerOff(), () => agent.start())];
      case 9:
        return [`restart of ${agent.name}`, () => this.#restart(agent)];
      case 10:
        return [`freeze of ${any}`, () => this.#freeze(any)];
      case 11:
        return this.#slowDisk(between(this.#random, 0, 1) === 0 ? manager : agent);
      case 12:
        return between(this.#random, 0, 1) === 0
          ? this.#blackout()
          : [`lost disk of ${agent.name}`, () => (agent.loseDisk(), () => agent.start())];
      case 13:
        return [`demotion of ${manager.name}`, () => this.#demote(manager)];
      default:
        return [`exit on ${agent.name}`, () => (this.#exit(agent.name), () => {})];
    }
  }

  #split(a: string, b: string): readonly [string, Fault] {
    const { network } = this.#world;
    return [`split ${a} ${b}`, () => (network.split(a, b), () => network.join(a, b))];
  }

  /** A stop on purpose takes its time; the new process waits for the old one. */
  #restart(host: { stop(): Promise<void>; start(): Promise<void> | void }): () => void {
    this.#stopping += 1;
    const stopped = host.stop().finally(() => {
      this.#stopping -= 1;
    });
    this.#world.run(stopped);
    return () => this.#world.run(stopped.then(() => host.start()));
  }

  #slowDisk(host: { readonly name: string; slowDisk(slow: boolean): void }): readonly [string, Fault] {
    return [`slow disk of ${host.name}`, () => (host.slowDisk(true), () => host.slowDisk(false))];
  }

  /** Without power it is demoted and promoted again: sooner or later than it comes back, wholly or only in part. */
  #demote(manager: ManagerHost): () => void {
    const { clock, client } = this.#world;
    manager.crash();
    clock.timer(between(this.#random, 0, 3_000), () => void client.setRole(manager.name, 'worker'));
    clock.timer(between(this.#random, 0, 8_000), () => void client.setRole(manager.name, 'manager'));
    return () => this.#world.run(manager.start());
  }

  #freeze(name: string): () => void {
    const { managers, agents } = this.#world;
    const clock = [...managers, ...agents].find((host) => host.name === name)?.clock;
    clock?.freeze();
    return () => clock?.thaw();
  }

  /** The whole site loses power; rare. */
  #blackout(): readonly [string, Fault] {
    const { managers, agents } = this.#world;
    if (between(this.#random, 0, 2) > 0) return ['nothing', () => () => {}];
    const begin = () => {
      for (const manager of managers) manager.crash();
      for (const agent of agents) agent.powerOff();
      return () => {
        for (const manager of managers) this.#world.run(manager.start());
        for (const agent of agents) agent.start();
      };
    };
    return ['blackout', begin];
  }

  #exit(host: string): void {
    const executor = this.#world.agents.find(({ name }) => name === host)?.executor;
    const running = executor?.running() ?? [];
    if (running.length > 0) executor?.exit(pick(this.#random, running), between(this.#random, 0, 1));
  }
}

function hitsManager(name: string): boolean {
  return /\bm\d/.test(name) && !name.startsWith('slow');
}

function pick<T>(random: Random, from: readonly T[]): T {
  const at = between(random, 0, from.length - 1);
  const picked = from[at];
  if (picked === undefined) throw new Error('nothing to pick from');
  return picked;
}
