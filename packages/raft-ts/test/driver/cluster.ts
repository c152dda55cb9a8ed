/** Nodes on virtual time, memory disks and a network that can be cut: what the driver tests share. */
import type {
  ConfState,
  Entry,
  NodeId,
  Parcel,
  RaftNodeOptions,
  RandomSource,
  Runtime,
  SnapshotMeta,
  SnapshotStore,
  StateMachine,
} from '../../src/index.ts';
import { RaftNode } from '../../src/index.ts';
import { MemoryBus, MemoryLogStore, MemorySnapshotStore, VirtualRuntime } from '../../src/sim/index.ts';

const utf8 = new TextDecoder();

/** A list of words; the result of applying one is its position. */
export class WordList implements StateMachine<number> {
  words: string[] = [];
  restores = 0;
  configured: (conf: ConfState) => void = () => {};

  apply(entries: readonly Entry[]): readonly number[] {
    return entries.map((entry) => this.words.push(utf8.decode(entry.data)));
  }

  async *snapshot(): AsyncIterable<Uint8Array> {
    yield* [JSON.stringify(this.words)].map((text) => new TextEncoder().encode(text));
  }

  async restore(_meta: SnapshotMeta, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    let text = '';
    for await (const chunk of chunks) text += utf8.decode(chunk);
    this.words = JSON.parse(text) as string[];
    this.restores += 1;
  }
}

/** A process that can be frozen: time goes on, nothing in it runs, and it learns of nothing. */
export class Process implements Runtime {
  readonly random: RandomSource;
  readonly #runtime: VirtualRuntime;
  #held: (() => void)[] | undefined;

  constructor(runtime: VirtualRuntime) {
    this.#runtime = runtime;
    this.random = runtime.random;
  }

  now(): number {
    return this.#runtime.now();
  }

  setTimer(delayMs: number, run: () => void): () => void {
    let cancelled = false;
    const cancel = this.#runtime.setTimer(delayMs, () => this.run(() => cancelled || run()));
    return () => {
      cancelled = true;
      cancel();
    };
  }

  defer(run: () => void): void {
    this.setTimer(0, run);
  }

  run(work: () => void): void {
    if (this.#held === undefined) work();
    else this.#held.push(work);
  }

  freeze(): void {
    this.#held ??= [];
  }

  thaw(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const work of held) work();
  }
}

export interface Member {
  readonly id: NodeId;
  readonly process: Process;
  readonly log: MemoryLogStore;
  readonly snapshots: MemorySnapshotStore;
  machine: WordList;
  node: RaftNode<number> | undefined;
  fault: Error | undefined;
}

export class Cluster {
  readonly runtime: VirtualRuntime;
  readonly bus: MemoryBus;
  readonly members = new Map<NodeId, Member>();
  readonly cut = new Set<NodeId>();
  /** Sees every parcel that is sent; true: it is lost. */
  lose: (parcel: Parcel) => boolean = () => false;
  /** What each node is opened with, besides the options of the cluster. */
  optionsOf: (id: NodeId) => Partial<RaftNodeOptions<number>> = () => ({});
  machineOf: () => WordList = () => new WordList();
  snapshotStoreOf: (member: Member) => SnapshotStore = ({ snapshots }) => snapshots.session();
  readonly #options: Partial<RaftNodeOptions<number>>;

  constructor(options: Partial<RaftNodeOptions<number>> = {}, seed = 1) {
    this.#options = options;
    this.runtime = new VirtualRuntime({ seed, settle: () => new Promise((resolve) => setImmediate(resolve)) });
    this.bus = new MemoryBus((parcel) => {
      if (this.cut.has(parcel.from) || this.cut.has(parcel.to) || this.lose(parcel)) return true;
      this.runtime.setTimer(1, () => {
        if (this.cut.has(parcel.from) || this.cut.has(parcel.to)) return;
        this.members.get(parcel.to)?.process.run(() => parcel.deliver());
      });
      return true;
    });
  }

  async start(id: NodeId, voters: readonly NodeId[] = []): Promise<Member> {
    const existing = this.members.get(id);
    const process = existing?.process ?? new Process(this.runtime);
    const member: Member = existing ?? {
      id,
      process,
      log: new MemoryLogStore({ runtime: process, syncDelayMs: () => 2 }),
      snapshots: new MemorySnapshotStore(),
      machine: this.machineOf(),
      node: undefined,
      fault: undefined,
    };
    this.members.set(id, member);
    member.machine = this.machineOf();
    const bootstrap = { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    const opening = RaftNode.open<number>({
      id,
      log: member.log.session(),
      snapshots: this.snapshotStoreOf(member),
      machine: member.machine,
      transport: this.bus.join(id),
      runtime: process,
      peers: new Map(),
      ...(voters.length > 0 ? { bootstrap } : {}),
      ...this.#options,
      ...this.optionsOf(id),
    });
    let settled = false;
    const mark = () => {
      settled = true;
    };
    opening.then(mark, mark);
    await this.runtime.until(() => settled);
    member.node = await opening;
    member.node.onFault((fault) => {
      member.fault = fault;
    });
    return member;
  }

  async startAll(ids: readonly NodeId[]): Promise<void> {
    for (const id of ids) await this.start(id, ids);
  }

  crash(id: NodeId): void {
    const member = this.member(id);
    this.bus.leave(id);
    member.log.crash();
    member.snapshots.crash();
    // The process is gone; the object only lives on in its timers, which must not reach disk or network.
    void member.node?.close({ transfer: false }).catch(() => {});
    member.node = undefined;
  }

  member(id: NodeId): Member {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`no member ${String(id)}`);
    return member;
  }

  node(id: NodeId): RaftNode<number> {
    const { node } = this.member(id);
    if (node === undefined) throw new Error(`node ${String(id)} is down`);
    return node;
  }

  leader(): RaftNode<number> | undefined {
    for (const { id, node } of this.members.values()) {
      if (node !== undefined && !this.cut.has(id) && node.status().role === 'leader') return node;
    }
    return undefined;
  }

  async untilLeader(): Promise<RaftNode<number>> {
    await this.runtime.until(() => this.leader() !== undefined);
    const leader = this.leader();
    if (leader === undefined) throw new Error('no leader');
    return leader;
  }

  /** Advances time until the promise settles, and gives what it gave. */
  async finish<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const mark = () => {
      settled = true;
    };
    work.then(mark, mark);
    await this.runtime.until(() => settled);
    return work;
  }

  /** The followers' and, first, the leader's ids. */
  ids(): readonly [leader: NodeId, ...followers: NodeId[]] {
    const leader = this.leader()?.status().id ?? 0;
    return [leader, ...[...this.members.keys()].filter((id) => id !== leader)];
  }

  /** What the work failed with. */
  async failure(work: Promise<unknown>): Promise<unknown> {
    return this.finish(
      work.then(
        (value) => new Error(`did not fail: ${JSON.stringify(value)}`),
        (error: unknown) => error,
      ),
    );
  }

  async propose(word: string, node = this.leader()): Promise<number> {
    if (node === undefined) throw new Error('no leader');
    return (await this.finish(node.propose(new TextEncoder().encode(word)))).result;
  }
}
