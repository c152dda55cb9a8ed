/** One simulated machine: a disk that outlives its processes, and at most one process that runs the real RaftNode on it. */
import type { Entry, Index, NodeId, Status } from '../core/types.ts';
import { RaftNode } from '../driver/node.ts';
import type { LogBatch, LogStore, OpenedLog, SnapshotStore } from '../ports.ts';
import { LogCorrupt } from '../wal/errors.ts';
import { FileSnapshotStore } from '../wal/snapshot-store.ts';
import { WalLogStore } from '../wal/wal.ts';
import type { Chance } from './chance.ts';
import { InjectedDiskError, SimDisk } from './disk.ts';
import type { Observed } from './invariants/ledger.ts';
import { logMatching } from './invariants/state.ts';
import { applySafety, reopenFindsSame, restartFinds, sameState, snapshotIsReplay } from './invariants/storage.ts';
import { LogView } from './log-view.ts';
import { Registers } from './machine.ts';
import { ProcessClock } from './schedule.ts';
import type { World } from './world.ts';

export interface Process {
  readonly clock: ProcessClock;
  readonly machine: Registers;
  raft: RaftNode<string> | undefined;
  /** Stopped by itself; the reason is known to be ours. */
  broken: boolean;
}

export class SimNode implements Observed {
  readonly id: NodeId;
  readonly disk: SimDisk;
  view = new LogView();
  status: Status | undefined;
  machineIndex: Index = 0;
  promisedTerm = 0;
  readonly matches = new Map<NodeId, Index>();
  process: Process | undefined;
  /** Will never run again. */
  lost = false;
  /** Was there when the cluster was founded. */
  founder = false;
  starts = 0;
  readonly #world: World;
  readonly #rate: number;
  #cut: Index | undefined;
  #powerLost = false;
  #machineContent = 0;
  /** Called when the process ends, however it ends. */
  readonly #endings = new Set<() => void>();

  constructor(world: World, id: NodeId) {
    this.#world = world;
    this.id = id;
    const chance = world.chance(`disk:${id}`);
    const { skew, diskLatencyMs } = world.swarm;
    this.#rate = 1 + (world.chance(`clock:${id}`).unit() * 2 - 1) * skew;
    this.disk = new SimDisk({
      schedule: world.schedule,
      chance,
      latencyMs: diskLatencyMs,
      hashOf: (index) => world.ledger.hashAt(index) ?? 0,
      hit: (situation) => world.hit(situation),
    });
  }

  takeCut(): Index | undefined {
    const cut = this.#cut;
    this.#cut = undefined;
    return cut;
  }

  /** The running node's log holds these: it hands them to its disk, or sends them as leader, whichever comes first. */
  learn(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const { cut } = this.view.learn(entries);
    if (cut !== undefined) {
      this.#cut = Math.min(cut, this.#cut ?? cut);
      this.#world.hit('log suffix replaced');
    }
    logMatching(this.#world, this, { entries });
  }

  onEnd(handle: () => void): () => void {
    this.#endings.add(handle);
    return () => void this.#endings.delete(handle);
  }

  start(): void {
    if (this.process !== undefined || this.lost) return;
    const world = this.#world;
    this.starts += 1;
    const random = world.chance(`node:${this.id}:${this.starts}`);
    const offsetMs = random.unit() * 10_000;
    const clock = new ProcessClock(world.schedule, { random, rate: this.#rate, offsetMs });
    world.clockStarted(clock, this);
    const process: Process = { clock, machine: this.#machine(), raft: undefined, broken: false };
    this.process = process;
    this.status = undefined;
    this.machineIndex = 0;
    this.#cut = undefined;
    this.matches.clear();
    world.note(`node ${this.id}`, 'start');
    this.#open(process).then(
      (raft) => this.#opened(process, raft),
      (error: unknown) => this.#broke(process, error),
    );
  }

  async #open(process: Process): Promise<RaftNode<string>> {
    const world = this.#world;
    const { swarm } = world;
    const switches = world.chance(`switches:${this.id}:${this.starts}`);
    const [preVote, checkQuorum] = [!switches.chance(swarm.noPreVote), !switches.chance(swarm.noCheckQuorum)];
    if (!preVote) world.hit('node without PreVote');
    if (!checkQuorum) world.hit('node without CheckQuorum');
    const fileSystem = this.disk.session(process.clock);
    const log = (): WalLogStore =>
      new WalLogStore({ directory: 'log', fileSystem, segmentBytes: swarm.segmentBytes, growBytes: 512 });
    return RaftNode.open<string>({
      id: this.id,
      log: this.#watchedLog(log),
      snapshots: this.#watchedSnapshots(new FileSnapshotStore({ directory: 'snapshots', fileSystem })),
      machine: process.machine,
      transport: world.bus.join(this.id),
      runtime: process.clock,
      peers: new Map(),
      ...(this.founder ? { bootstrap: world.founding } : {}),
      tickMs: swarm.tickMs,
      electionTicks: swarm.electionTicks,
      preVote,
      checkQuorum,
      snapshotEveryEntries: swarm.snapshotEveryEntries,
      keepEntries: swarm.keepEntries,
      limits: swarm.limits,
      leaseReads: swarm.leaseShare > 0,
      commitDelayMs: swarm.commitDelayMs,
      proposalTimeoutMs: swarm.proposalTimeoutMs,
      snapshotStallMs: 2000,
      trace: (event) => world.traced(this, event),
    });
  }

  #opened(process: Process, raft: RaftNode<string>): void {
    if (this.process !== process) return;
    process.raft = raft;
    raft.onFault((error) => this.#broke(process, error));
    this.#world.hit('node started');
    this.#world.check(this);
  }

  #broke(process: Process, error: unknown): void {
    if (this.process !== process || process.broken) return;
    const world = this.#world;
    process.broken = true;
    process.raft = undefined;
    this.status = undefined;
    let cause = error;
    while (cause instanceof Error && !(cause instanceof InjectedDiskError) && cause.cause !== undefined)
      cause = cause.cause;
    world.note(`node ${this.id}`, 'stopped by', String(error));
    if (!(cause instanceof InjectedDiskError)) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      world.violate(0, `node ${this.id} broke: ${what}`);
    }
    world.hit('node stopped by a disk error');
    for (const handle of [...this.#endings]) handle();
    world.onBroken(this);
  }

  /** The process is gone at once; `power`: and the page cache with it. */
  crash(power: boolean): void {
    const { process } = this;
    if (process === undefined) return;
    const world = this.#world;
    world.note(`node ${this.id}`, power ? 'power lost' : 'killed');
    world.hit(power ? 'power lost' : 'process killed');
    if (process.raft === undefined && !process.broken) world.hit('crash during recovery');
    process.clock.dead = true;
    world.clockStopped(process.clock);
    world.bus.leave(this.id);
    this.process = undefined;
    this.status = undefined;
    this.disk.crash(power);
    this.#powerLost ||= power;
    for (const handle of [...this.#endings]) handle();
  }

  /** A start from a disk with one wrong bit is refused, or finds all that was promised; nothing in between. */
  async startDamaged(chance: Chance): Promise<void> {
    const world = this.#world;
    const path = await this.disk.flipBit(chance);
    if (path === undefined) return;
    world.note(`node ${this.id}`, 'one bit turned', path);
    const fileSystem = this.disk.bare;
    try {
      if (path.startsWith('log/')) {
        const opened = await new WalLogStore({ directory: 'log', fileSystem }).open();
        restartFinds(world, this, { opened, powerLost: true });
        return;
      }
      const store = new FileSnapshotStore({ directory: 'snapshots', fileSystem });
      const { chunks } = await store.open(path.slice('snapshots/'.length));
      for await (const _ of chunks);
      world.violate(15, `node ${this.id} reads ${path}, of which one bit is wrong`);
    } catch (error) {
      if (!(error instanceof LogCorrupt)) throw error;
      world.hit(path.startsWith('log/') ? 'damaged log refused' : 'damaged snapshot refused');
    }
  }

  #machine(): Registers {
    const world = this.#world;
    const machine: Registers = new Registers({
      applied: (entry, id) => {
        applySafety(world, this, entry);
        world.applied(id);
      },
      state: (index, content) => {
        this.#machineContent = content;
        sameState(world, this, { index, content });
      },
      restored: (meta, content) => {
        this.machineIndex = meta.index;
        this.#machineContent = content;
        snapshotIsReplay(world, this, { meta, content });
      },
    });
    this.#machineContent = 0;
    return machine;
  }

  /** Sees every batch on its way to the disk, and what a restart finds. */
  #watchedLog(make: () => WalLogStore): LogStore {
    const world = this.#world;
    const inner = make();
    return {
      open: async () => {
        const opened = await this.#openTwice(make, inner);
        this.view = restartFinds(world, this, { opened, powerLost: this.#powerLost });
        this.#powerLost = false;
        if (this.starts > 1) world.hit('log recovered');
        return opened;
      },
      append: (batch: LogBatch) => {
        this.view.apply({ ...batch, entries: [] }, (index) => world.ledger.hashAt(index) ?? 0);
        this.learn(batch.entries);
        return world.coverage.watchAppend(this.id, inner.append(batch), () => this.status?.term ?? 0);
      },
      compact: (upTo) => inner.compact(upTo),
      close: () => inner.close(),
    };
  }

  async #openTwice(make: () => WalLogStore, inner: WalLogStore): Promise<OpenedLog> {
    const world = this.#world;
    if (!world.chance(`reopen:${this.id}:${this.starts}`).chance(0.15)) return inner.open();
    const first = make();
    const before = await first.open();
    await first.close();
    const after = await inner.open();
    reopenFindsSame(world, this, before, after);
    world.hit('log opened twice');
    return after;
  }

  #watchedSnapshots(inner: FileSnapshotStore): SnapshotStore {
    const world = this.#world;
    return {
      create: (meta, chunks) => {
        if (meta.index > 1) {
          const taken = { meta: { ...meta, id: '' }, content: this.#machineContent };
          world.afterStep(() => snapshotIsReplay(world, this, taken));
        }
        world.hit('snapshot taken');
        return inner.create(meta, chunks);
      },
      open: (id) => inner.open(id),
      receive: (meta, options) => {
        world.hit('snapshot being received');
        return inner.receive(meta, options);
      },
      prune: (keep, pinned) => inner.prune(keep, pinned),
    };
  }
}
