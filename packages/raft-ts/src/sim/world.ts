/**
 * A cluster under simulation: the real core, driver, log and snapshot store of every node on simulated clocks, disks and a
 * network, all from one seed. Events happen one after the other, ordered by (virtual time, sequence); after each of them
 * the node that it concerned is compared with what is known of the whole.
 */
import { isJoint } from '../core/confchange.ts';
import type { ConfState, Message, NodeId, TraceEvent } from '../core/types.ts';
import type { Parcel } from '../transport/memory.ts';
import { MemoryBus } from '../transport/memory.ts';
import { Chance } from './chance.ts';
import { Coverage } from './coverage.ts';
import { Ledger, type Watch } from './invariants/ledger.ts';
import {
  boundedTail,
  campaignsInForce,
  checkNode,
  leaderAppendOnly,
  oneUnknownConf,
  quorumsIntersect,
} from './invariants/state.ts';
import { checkMessage } from './invariants/wire.ts';
import { SimNetwork } from './network.ts';
import { ProcessClock, Schedule, type ScheduledEvent } from './schedule.ts';
import { SimNode } from './sim-node.ts';
import type { FaultClass, Swarm } from './swarm.ts';
import { drawSwarm } from './swarm.ts';

/** Which run, and how much of it. */
export interface WorldOptions {
  readonly seed: number;
  /** Lets all promises settle that can, e.g. by waiting for one real turn of the event loop. */
  readonly settle: () => Promise<void>;
  readonly without?: ReadonlySet<FaultClass>;
  /** Stops after so many events. */
  readonly untilStep?: number;
  readonly onTrace?: (line: string) => void;
}

/** What must never be has happened. `invariant`: its number; 0 is an exception that nobody expected. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly invariant: number;
  readonly step: number;

  constructor(invariant: number, what: string, at: { readonly step: number; readonly nowMs: number }) {
    super(`invariant ${invariant} at step ${at.step}, ${at.nowMs.toFixed(1)} ms: ${what}`);
    this.invariant = invariant;
    this.step = at.step;
  }
}

/** The run was told to stop here. */
export class StepLimit extends Error {
  override readonly name = 'StepLimit';
}

type TraceLine = readonly [atMs: number, step: number, who: string, kind: string, detail: unknown];
const traceLines = 400;
const fullCheckEvery = 64;
/** Many times what any run takes: beyond it something goes round in circles. */
const stepsMax = 150_000;

export class World implements Watch {
  readonly seed: number;
  readonly swarm: Swarm;
  readonly without: ReadonlySet<FaultClass>;
  readonly schedule = new Schedule();
  readonly network: SimNetwork;
  readonly bus: MemoryBus;
  readonly ledger: Ledger;
  readonly coverage = new Coverage();
  readonly nodes = new Map<NodeId, SimNode>();
  readonly founding: ConfState;
  readonly largestProposal: number;
  /** By type, since the last time it was cleared. */
  readonly sent = new Map<Message['type'], number>();
  /** Writes that were applied somewhere. */
  readonly appliedWrites = new Set<number>();
  /** Writes of which a client was told that they will never be. */
  readonly refusedWrites = new Set<number>();
  /** A node has stopped by itself, as it must after a disk error. */
  onBroken: (node: SimNode) => void = () => {};
  steps = 0;
  violation: Violation | undefined;
  #nextId = 1;
  /** Orders calls and returns of clients. */
  #moment = 0;
  readonly #options: WorldOptions;
  readonly #ring: TraceLine[] = [];
  #ringAt = 0;
  #afterStep: (() => void)[] = [];
  readonly #byClock = new Map<ProcessClock, SimNode>();

  constructor(options: WorldOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.without = options.without ?? new Set();
    this.swarm = drawSwarm(options.seed, this.without);
    this.largestProposal = this.swarm.hugeBytes + 1000;
    const voters = Array.from({ length: this.swarm.nodes }, (_, at) => at + 1);
    this.founding = { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    this.ledger = new Ledger(this.founding);
    this.network = new SimNetwork({
      schedule: this.schedule,
      chance: this.chance('network'),
      swarm: this.swarm,
      hit: (situation) => this.hit(situation),
      arriving: (parcel) => this.coverage.arriving(parcel.messages, (id) => this.nodes.get(id)?.status),
    });
    this.bus = new MemoryBus((parcel) => this.#carry(parcel));
  }

  get observed(): ReadonlyMap<NodeId, SimNode> {
    return this.nodes;
  }

  get limits(): Swarm['limits'] {
    return this.swarm.limits;
  }

  chance(name: string): Chance {
    return new Chance(this.seed, name);
  }

  moment(): number {
    this.#moment += 1;
    return this.#moment;
  }

  /** A node with an empty disk and an id that was never used. */
  addNode(): SimNode {
    const node = new SimNode(this, this.#nextId);
    this.nodes.set(node.id, node);
    this.#nextId += 1;
    return node;
  }

  clockStarted(clock: ProcessClock, node: SimNode): void {
    this.#byClock.set(clock, node);
  }

  clockStopped(clock: ProcessClock): void {
    this.#byClock.delete(clock);
  }

  violate(invariant: number, what: string): void {
    if (this.violation !== undefined) return;
    this.violation = new Violation(invariant, what, { step: this.steps, nowMs: this.schedule.nowMs });
    this.note('world', 'VIOLATION', this.violation.message);
  }

  hit(situation: string): void {
    this.coverage.hit(situation);
  }

  note(who: string, kind: string, detail: unknown = ''): void {
    const line: TraceLine = [this.schedule.nowMs, this.steps, who, kind, detail];
    this.#ring[this.#ringAt % traceLines] = line;
    this.#ringAt += 1;
    this.#options.onTrace?.(printLine(line));
  }

  /** For what is compared with the ledger, which learns of a step only when it is over. */
  afterStep(check: () => void): void {
    this.#afterStep.push(check);
  }

  /** 13. What was refused for certain is never applied. */
  applied(write: number): void {
    this.appliedWrites.add(write);
    if (this.refusedWrites.has(write)) this.violate(13, `write ${write} was refused for certain, and is applied`);
  }

  refused(write: number): void {
    this.refusedWrites.add(write);
    if (this.appliedWrites.has(write)) this.violate(13, `write ${write} was applied, and is refused for certain`);
  }

  traced(node: SimNode, event: TraceEvent): void {
    this.coverage.traced(event);
    if (event.kind === 'precandidate' || event.kind === 'candidate')
      campaignsInForce(this, node, node.process?.raft?.status());
    this.note(`node ${node.id}`, event.kind, { term: event.term, ...event.detail });
  }

  /** The last things that happened. */
  trace(): string[] {
    const from = Math.max(0, this.#ringAt - traceLines);
    const lines: string[] = [];
    for (let at = from; at < this.#ringAt; at++) lines.push(printLine(this.#ring[at % traceLines] as TraceLine));
    return lines;
  }

  /** Runs events until `done`, or until so much time has passed; says which. Throws the first violation. */
  async run(done: () => boolean, limitMs: number): Promise<boolean> {
    const endMs = this.schedule.nowMs + limitMs;
    let over = false;
    const end = this.schedule.add(limitMs, () => {
      over = true;
    });
    while (!done()) {
      if (over || this.schedule.nowMs > endMs) return false;
      const event = this.schedule.pop();
      if (event === undefined) return false;
      await this.#happen(event);
    }
    end.cancelled = true;
    return true;
  }

  async #happen(event: ScheduledEvent): Promise<void> {
    this.steps += 1;
    event.run();
    await this.#options.settle();
    const node = event.owner === undefined ? undefined : this.#byClock.get(event.owner);
    if (node === undefined || this.steps % fullCheckEvery === 0)
      for (const each of this.nodes.values()) this.check(each);
    else this.check(node);
    if (this.#afterStep.length > 0) for (const check of this.#afterStep.splice(0)) check();
    if (this.steps >= stepsMax) this.violate(17, `still busy after ${this.steps} events`);
    if (this.violation !== undefined) throw this.violation;
    if (this.#options.untilStep !== undefined && this.steps >= this.#options.untilStep) throw new StepLimit();
  }

  check(node: SimNode): void {
    const raft = node.process?.raft;
    if (raft === undefined) return;
    const now = raft.status();
    const before = node.status;
    leaderAppendOnly(this, node, { cut: node.takeCut(), now });
    checkNode(this, node, now);
    if (now.lastIndex !== before?.lastIndex || now.commit !== before.commit) {
      oneUnknownConf(this, `node ${node.id}`, { view: node.view, commit: now.commit });
      boundedTail(this, node, now);
      for (const broken of raft.invariants()) this.violate(11, `node ${node.id}: ${broken}`);
    }
    node.status = now;
    if (before?.conf === now.conf) return;
    quorumsIntersect(this);
    this.hit(isJoint(now.conf) ? 'joint configuration in force' : 'simple configuration in force');
  }

  #carry(parcel: Parcel): boolean {
    const sender = this.nodes.get(parcel.from);
    if (sender === undefined) return true;
    for (const message of parcel.messages) {
      this.sent.set(message.type, (this.sent.get(message.type) ?? 0) + 1);
      this.coverage.sent(message);
      if (message.type === 'append') sender.learn(message.entries);
      checkMessage(this, sender, message);
    }
    if (parcel.kind === 'snapshot') this.note(`node ${parcel.from}`, 'snapshot sent', { to: parcel.to });
    return this.network.carry(parcel);
  }

  /** Running nodes. */
  get up(): SimNode[] {
    return [...this.nodes.values()].filter((node) => node.process?.raft !== undefined);
  }

  /** The leader of the highest term. */
  leader(): SimNode | undefined {
    let best: SimNode | undefined;
    for (const node of this.up) {
      if (node.status?.role === 'leader' && node.status.term > (best?.status?.term ?? 0)) best = node;
    }
    return best;
  }
}

function printLine([atMs, step, who, kind, detail]: TraceLine): string {
  const text = typeof detail === 'string' ? detail : JSON.stringify(detail);
  return `${atMs.toFixed(1).padStart(9)} #${step} ${who}: ${kind} ${text}`;
}
