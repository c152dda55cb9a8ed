/** Nodes on virtual time, memory disks and a network that can be cut: what the driver tests share. */
import type { Entry, NodeId, RaftNodeOptions, SnapshotMeta, StateMachine } from '../../src/index.ts';
import { RaftNode } from '../../src/index.ts';
import { MemoryBus, MemoryLogStore, MemorySnapshotStore, VirtualRuntime } from '../../src/sim/index.ts';

const utf8 = new TextDecoder();

/** A list of words; the result of applying one is its position. */
export class WordList implements StateMachine<number> {
  words: string[] = [];
  restores = 0;

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

export interface Member {
  readonly id: NodeId;
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
  readonly #options: Partial<RaftNodeOptions<number>>;

  constructor(options: Partial<RaftNodeOptions<number>> = {}, seed = 1) {
    this.#options = options;
    this.runtime = new VirtualRuntime({ seed, settle: () => new Promise((resolve) => setImmediate(resolve)) });
    this.bus = new MemoryBus((parcel) => {
      if (this.cut.has(parcel.from) || this.cut.has(parcel.to)) return true;
      this.runtime.setTimer(1, () => {
        if (!this.cut.has(parcel.from) && !this.cut.has(parcel.to)) parcel.deliver();
      });
      return true;
    });
  }

  async start(id: NodeId, voters: readonly NodeId[] = []): Promise<Member> {
    const existing = this.members.get(id);
    const member: Member = existing ?? {
      id,
      log: new MemoryLogStore({ runtime: this.runtime, syncDelayMs: () => 2 }),
      snapshots: new MemorySnapshotStore(),
      machine: new WordList(),
      node: undefined,
      fault: undefined,
    };
    this.members.set(id, member);
    member.machine = new WordList();
    const bootstrap = { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    const opening = RaftNode.open<number>({
      id,
      log: member.log.session(),
      snapshots: member.snapshots.session(),
      machine: member.machine,
      transport: this.bus.join(id),
      runtime: this.runtime,
      peers: new Map(),
      ...(voters.length > 0 ? { bootstrap } : {}),
      ...this.#options,
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

  async propose(word: string, node = this.leader()): Promise<number> {
    if (node === undefined) throw new Error('no leader');
    return (await this.finish(node.propose(new TextEncoder().encode(word)))).result;
  }
}
