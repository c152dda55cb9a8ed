/** A few real cores whose every message is delivered by hand. */
import type {
  ConfState,
  CoreConfig,
  Entry,
  HardState,
  Message,
  NodeId,
  RaftCore,
  SnapshotMeta,
  StableLog,
  Term,
} from '../../src/core/index.ts';
import { decodeConfChange } from '../../src/core/index.ts';

export type CoreClass = typeof RaftCore;

class Disk implements StableLog {
  entries: Entry[] = [];
  hardState: HardState = { term: 1, vote: 0, commit: 1 };
  readonly #snapshot: SnapshotMeta;

  constructor(conf: ConfState) {
    this.#snapshot = { term: 1, index: 1, id: 'founding', conf };
  }

  firstIndex(): number {
    return 2;
  }

  lastIndex(): number {
    return this.entries.length + 1;
  }

  term(index: number): Term | 'compacted' | 'unavailable' {
    if (index === 1) return 1;
    return index < 1 ? 'compacted' : (this.entries[index - 2]?.term ?? 'unavailable');
  }

  slice(low: number, high: number): readonly Entry[] | 'compacted' {
    return low < 2 ? 'compacted' : this.entries.slice(low - 2, high - 2);
  }

  snapshot(): SnapshotMeta {
    return this.#snapshot;
  }
}

export interface BenchOptions {
  readonly voters: readonly NodeId[];
  readonly outgoing?: readonly NodeId[];
  readonly checkQuorum?: boolean;
}

export class Bench {
  readonly cores = new Map<NodeId, RaftCore>();
  readonly #disks = new Map<NodeId, Disk>();
  /** Answered on this node, by token. */
  readonly reads: number[] = [];
  wire: Message[] = [];
  /** Nothing is applied. */
  holdApplies = false;
  #draws = 0;

  constructor(Core: CoreClass, ids: readonly NodeId[], how: BenchOptions) {
    const { voters, outgoing = [], checkQuorum = false } = how;
    const conf: ConfState = { voters, outgoing, learners: [], learnersNext: [], autoLeave: false };
    for (const id of ids) {
      const disk = new Disk(conf);
      this.#disks.set(id, disk);
      this.cores.set(
        id,
        new Core({ ...this.#config(id), checkQuorum }, disk, { hardState: disk.hardState, conf, applied: 1 }),
      );
    }
  }

  #config(id: NodeId): CoreConfig {
    const limits = {
      maxMessageBytes: 1000,
      maxInflightMessages: 8,
      maxInflightBytes: 8000,
      maxUncommittedBytes: 8000,
      maxApplyBytes: 8000,
      maxPendingReads: 8,
    };
    // Every draw differs from the one before.
    const random = { uint32: () => (this.#draws += 1) };
    return {
      id,
      electionTicks: 10,
      heartbeatTicks: 1,
      preVote: true,
      checkQuorum: false,
      stepDownOnRemoval: true,
      limits,
      random,
    };
  }

  core(id: NodeId): RaftCore {
    const core = this.cores.get(id);
    if (core === undefined) throw new RangeError(`no node ${id}`);
    return core;
  }

  pump(id: NodeId): void {
    const core = this.core(id);
    const disk = this.#disks.get(id) as Disk;
    while (core.hasReady()) {
      const { send, append, apply, reads } = core.takeReady();
      this.wire.push(...send);
      this.reads.push(...reads.map(({ token }) => token));
      if (append !== undefined) {
        const { snapshot } = append;
        if (snapshot !== undefined) disk.entries = disk.entries.slice(0, snapshot.index - 1);
        const first = append.entries[0]?.index;
        if (first !== undefined) disk.entries = [...disk.entries.slice(0, first - 2), ...append.entries];
        disk.hardState = append.hardState ?? disk.hardState;
        this.wire.push(...append.onDurable);
        core.appended(append);
      }
      if (this.holdApplies) continue;
      for (const entry of apply?.entries ?? [])
        if (entry.kind === 1) core.applyConfChange(decodeConfChange(entry.data), entry);
      if (apply !== undefined) core.applied(apply);
    }
  }

  act(id: NodeId, use: (core: RaftCore) => void): void {
    use(this.core(id));
    this.pump(id);
  }

  /** Delivers until nothing is on its way; what `drop` chooses is lost. */
  settle(drop: (m: Message) => boolean = () => false): void {
    for (let round = 0; round < 1000 && this.wire.length > 0; round++) {
      const messages = this.wire;
      this.wire = [];
      for (const m of messages) if (!drop(m) && this.cores.has(m.to)) this.act(m.to, (core) => core.step(m));
    }
  }

  elect(id: NodeId): void {
    this.act(id, (core) => core.campaign());
    this.settle();
    if (this.core(id).status().role !== 'leader') throw new Error(`node ${id} was not elected`);
  }
}
