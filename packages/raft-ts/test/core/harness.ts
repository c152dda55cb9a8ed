/**
 * A cluster of cores in one thread. Nothing happens by itself: tests (or a seeded random walk) deliver messages, tick
 * clocks and finish disk work. Every message, write and application passes the ledger.
 */
import type {
  AppendTask,
  ApplyTask,
  ConfChange,
  ConfState,
  CoreConfig,
  Entry,
  Index,
  Message,
  NodeId,
  Role,
} from '../../src/core/index.ts';
import { decodeConfChange, EntryKind, emptyConf, RaftCore } from '../../src/core/index.ts';
import { Disk } from './disk.ts';
import { Ledger } from './ledger.ts';

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 12345) >>> 0;
  }

  /** Mulberry32. */
  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  below(limit: number): number {
    return this.uint32() % limit;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(Math.max(items.length, 1))];
  }
}

export interface Options {
  readonly seed?: number;
  readonly config?: Partial<Omit<CoreConfig, 'id' | 'random' | 'limits'>>;
  /** Settings of one node, over those of all. */
  readonly configOf?: (id: NodeId) => Options['config'];
  readonly limits?: Partial<CoreConfig['limits']>;
}

export const wideLimits: CoreConfig['limits'] = {
  maxMessageBytes: 1 << 20,
  maxInflightMessages: 256,
  maxInflightBytes: 8 << 20,
  maxUncommittedBytes: 64 << 20,
  maxApplyBytes: 1 << 20,
  maxPendingReads: 64,
};

export class Host {
  readonly id: NodeId;
  disk: Disk;
  core: RaftCore | undefined;
  appends: AppendTask[] = [];
  applies: ApplyTask[] = [];
  appliedIndex: Index = 0;
  conf: ConfState = emptyConf;
  /** Payloads applied since the last start, for scenario tests. */
  payloads: string[] = [];
  reads: { token: number; index: Index }[] = [];
  readsFailed: number[] = [];
  /** Rounds of heartbeats shown by the core: sent, and confirmed. */
  rounds: number[] = [];
  confirmedRounds: number[] = [];
  roles: Role[] = [];

  constructor(id: NodeId, disk: Disk) {
    this.id = id;
    this.disk = disk;
  }
}

export class Cluster {
  readonly hosts = new Map<NodeId, Host>();
  readonly ledger = new Ledger();
  readonly random: Random;
  wire: Message[] = [];
  /** Messages for which this says true are lost. */
  drop: (m: Message) => boolean = () => false;
  /** All that ever left a node. */
  sent: Message[] = [];
  readonly #options: Options;
  #readStart = new Map<string, Index>();

  constructor(options: Options = {}) {
    this.#options = options;
    this.random = new Random(options.seed ?? 1);
  }

  static of(voters: readonly NodeId[], options: Options = {}): Cluster {
    const cluster = new Cluster(options);
    for (const id of voters) cluster.add(id, Disk.founded({ ...emptyConf, voters }));
    return cluster;
  }

  host(id: NodeId): Host {
    const host = this.hosts.get(id);
    if (!host) throw new Error(`no host ${String(id)}`);
    return host;
  }

  core(id: NodeId): RaftCore {
    const { core } = this.host(id);
    if (!core) throw new Error(`host ${String(id)} is down`);
    return core;
  }

  get live(): Host[] {
    return [...this.hosts.values()].filter((host) => host.core);
  }

  add(id: NodeId, disk: Disk = new Disk()): Host {
    const host = new Host(id, disk);
    this.hosts.set(id, host);
    this.start(id);
    return host;
  }

  start(id: NodeId): void {
    const host = this.host(id);
    const snapshot = host.disk.snapshot();
    const applied = snapshot === 'not-ready' ? 0 : snapshot.index;
    host.conf = snapshot === 'not-ready' ? emptyConf : snapshot.conf;
    host.appliedIndex = applied;
    const hardState = { ...host.disk.hardState, commit: Math.max(host.disk.hardState.commit, applied) };
    host.disk.hardState = hardState;
    const config: CoreConfig = {
      electionTicks: 10,
      heartbeatTicks: 1,
      preVote: true,
      checkQuorum: true,
      stepDownOnRemoval: true,
      ...this.#options.config,
      ...this.#options.configOf?.(id),
      limits: { ...wideLimits, ...this.#options.limits },
      id,
      random: new Random(this.random.uint32()),
    };
    host.core = new RaftCore(config, host.disk, { hardState, conf: host.conf, applied });
  }

  crash(id: NodeId): void {
    const host = this.host(id);
    host.core = undefined;
    host.appends = [];
    host.applies = [];
    host.payloads = [];
    host.disk.loseUnsynced();
  }

  /** Takes what the core has to say after it was touched, and checks it. */
  pump(host: Host): void {
    const { core } = host;
    if (!core) return;
    while (core.hasReady()) {
      const ready = core.takeReady();
      if (ready.append) this.#queueAppend(host, ready.append);
      if (ready.apply) host.applies.push(ready.apply);
      for (const message of ready.send) this.#emit(host, message);
      if (ready.round !== undefined) host.rounds.push(ready.round);
      if (ready.confirmedRound !== undefined) host.confirmedRounds.push(ready.confirmedRound);
      if (ready.state) host.roles.push(ready.state.role);
      for (const read of ready.reads) this.#finishRead(host, read);
      host.readsFailed.push(...ready.readsFailed);
    }
    this.#check(host);
  }

  #queueAppend(host: Host, task: AppendTask): void {
    const before = host.disk.after(host.appends);
    const base = task.snapshot ?? { index: (task.entries[0]?.index ?? 1) - 1, term: 0 };
    let prevTerm = task.snapshot ? base.term : before.term(base.index);
    for (const entry of task.entries) {
      if (typeof prevTerm === 'number') this.ledger.entry(entry, prevTerm);
      prevTerm = entry.term;
    }
    host.appends.push(task);
  }

  #emit(host: Host, message: Message): void {
    this.ledger.message(message, host.disk);
    this.sent.push(message);
    if (!this.drop(message)) this.wire.push(message);
    else this.lose(message);
  }

  #check(host: Host): void {
    const { core } = host;
    if (!core) return;
    const broken = core.invariants();
    if (broken.length > 0) throw new Error(`node ${String(host.id)}: ${broken.join('; ')}`);
    const status = core.status();
    const newLeader = status.role === 'leader';
    if (!newLeader && status.commit <= this.ledger.commit) return;
    const log = host.disk.after(host.appends);
    if (newLeader) this.ledger.leader(host.id, status.term, log);
    this.ledger.committedTo(status.commit, log);
  }

  #finishRead(host: Host, read: { token: number; index: Index }): void {
    const start = this.#readStart.get(`${String(host.id)}:${String(read.token)}`);
    if (start === undefined || read.index < start)
      throw new Error(`stale read: ${String(read.index)} < ${String(start)}`);
    host.reads.push(read);
  }

  read(id: NodeId, token: number): string {
    this.#readStart.set(`${String(id)}:${String(token)}`, this.ledger.commit);
    const answer = this.core(id).readIndex(token);
    this.pump(this.host(id));
    return answer;
  }

  finishAppend(host: Host): boolean {
    const task = host.appends.shift();
    if (!task || !host.core) return false;
    host.disk.write(task);
    if (task.snapshot) {
      host.appliedIndex = task.snapshot.index;
      host.conf = task.snapshot.conf;
      this.ledger.conf(task.snapshot.index, task.snapshot.conf);
    }
    for (const message of task.onDurable) this.#emit(host, message);
    host.core.appended(task);
    this.pump(host);
    return true;
  }

  finishApply(host: Host): boolean {
    const task = host.applies.shift();
    if (!task || !host.core) return false;
    for (const entry of task.entries) this.#apply(host, entry);
    host.core.applied(task);
    this.pump(host);
    return true;
  }

  #apply(host: Host, entry: Entry): void {
    if (entry.index !== host.appliedIndex + 1) {
      throw new Error(`node ${String(host.id)} applied ${String(entry.index)} after ${String(host.appliedIndex)}`);
    }
    this.ledger.applied(entry);
    host.appliedIndex = entry.index;
    if (entry.kind === EntryKind.Config) {
      host.conf = host.core?.applyConfChange(decodeConfChange(entry.data), entry) ?? host.conf;
    } else if (entry.data.byteLength > 0) {
      host.payloads.push(new TextDecoder().decode(entry.data));
    }
    this.ledger.conf(entry.index, host.conf);
  }

  /** Snapshot of what is applied, then compaction down to `keep` entries behind it. */
  compact(id: NodeId, keep: number): void {
    const { disk, appliedIndex: index, conf } = this.host(id);
    const term = disk.term(index);
    const stored = disk.snapshot();
    if (typeof term !== 'number' || (stored !== 'not-ready' && stored.index >= index)) return;
    disk.compact({ index, term, conf, id: `${String(id)}-${String(index)}` }, keep);
  }

  deliver(message: Message): void {
    const host = this.hosts.get(message.to);
    if (!host?.core) {
      this.lose(message);
      return;
    }
    host.core.step(message);
    this.pump(host);
    if (message.type === 'snapshot') this.#report(message.from, message.to, true);
  }

  /** A sender always learns that its snapshot did not arrive. */
  lose(message: Message): void {
    if (message.type === 'snapshot') this.hosts.get(message.from)?.core?.snapshotReport(message.to, false);
  }

  #report(leader: NodeId, to: NodeId, ok: boolean): void {
    const host = this.hosts.get(leader);
    host?.core?.snapshotReport(to, ok);
    if (host) this.pump(host);
  }

  tick(id: NodeId, times = 1): void {
    for (let i = 0; i < times; i += 1) {
      this.hosts.get(id)?.core?.tick();
      this.pump(this.host(id));
    }
  }

  /** Delivers and finishes everything until nothing is left to do. */
  settle(): void {
    for (let rounds = 0; rounds < 20_000; rounds += 1) {
      let busy = false;
      for (const host of this.hosts.values()) {
        this.pump(host);
        while (this.finishAppend(host)) busy = true;
        while (this.finishApply(host)) busy = true;
      }
      const messages = this.wire;
      this.wire = [];
      for (const message of messages) {
        if (this.drop(message)) this.lose(message);
        else this.deliver(message);
      }
      if (!busy && messages.length === 0) return;
    }
    throw new Error('the cluster does not settle');
  }

  /** Ticks all live nodes in step. */
  run(ticks: number): void {
    for (let i = 0; i < ticks; i += 1) {
      for (const host of this.live) this.tick(host.id);
      this.settle();
    }
  }

  elect(id: NodeId): void {
    this.core(id).campaign();
    this.settle();
    if (this.core(id).status().role !== 'leader') throw new Error(`node ${String(id)} was not elected`);
  }

  propose(id: NodeId, ...payloads: string[]): ReturnType<RaftCore['propose']> {
    const result = this.core(id).propose(payloads.map((text) => new TextEncoder().encode(text)));
    this.pump(this.host(id));
    return result;
  }

  change(id: NodeId, change: ConfChange): ReturnType<RaftCore['propose']> {
    const result = this.core(id).proposeConfChange(change);
    this.pump(this.host(id));
    return result;
  }

  leader(): Host | undefined {
    const leaders = this.live.filter((host) => host.core?.status().role === 'leader');
    return leaders.sort((a, b) => (b.core?.status().term ?? 0) - (a.core?.status().term ?? 0))[0];
  }

  isolate(...ids: NodeId[]): void {
    this.drop = (m) => ids.includes(m.from) !== ids.includes(m.to);
  }

  heal(): void {
    this.drop = () => false;
  }
}
