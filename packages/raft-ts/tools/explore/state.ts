/** Three real cores, their disks and the messages between them, as a value that can be copied, compared and stepped. */
import type {
  AppendTask,
  CoreConfig,
  Entry,
  HardState,
  Message,
  NodeId,
  RaftCore as RealCore,
  SnapshotMeta,
  StableLog,
  Term,
} from '../../src/core/index.ts';
import { copyOf } from './open-build.ts';

export type CoreClass = typeof RealCore;

const founding: SnapshotMeta = {
  term: 1,
  index: 1,
  id: 'founding',
  conf: { voters: [1, 2, 3], outgoing: [], learners: [], learnersNext: [], autoLeave: false },
};

/** What survives a crash; entries from index 2 on. */
export class Disk implements StableLog {
  hardState: HardState;
  entries: Entry[];

  constructor(hardState: HardState, terms: readonly Term[]) {
    this.hardState = hardState;
    this.entries = terms.map((term, at) => ({ term, index: at + 2, kind: 0, data: new Uint8Array([term, term]) }));
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

  slice(low: number, high: number, maxBytes: number): readonly Entry[] | 'compacted' {
    if (low < 2) return 'compacted';
    const entries: Entry[] = [];
    let bytes = 0;
    for (const entry of this.entries.slice(low - 2, high - 2)) {
      bytes += entry.data.length;
      if (entries.length > 0 && bytes > maxBytes) break;
      entries.push(entry);
    }
    return entries;
  }

  snapshot(): SnapshotMeta {
    return founding;
  }

  write({ hardState, entries }: AppendTask): void {
    const first = entries[0]?.index;
    if (first !== undefined) this.entries = [...this.entries.slice(0, first - 2), ...entries];
    if (hardState !== undefined) this.hardState = hardState;
  }
}

export class Host {
  readonly id: NodeId;
  readonly disk: Disk;
  core: RealCore | undefined;

  constructor(id: NodeId, disk: Disk) {
    this.id = id;
    this.disk = disk;
  }
}

/** How often what may still happen. */
export interface Budget {
  readonly term: Term;
  readonly campaigns: number;
  readonly proposals: number;
  readonly crashes: number;
  readonly copies: number;
  readonly beats: number;
}

export interface Root {
  readonly name: string;
  readonly hosts: readonly {
    readonly term: Term;
    readonly vote: NodeId | 0;
    readonly terms: readonly Term[];
    readonly up: boolean;
  }[];
  readonly budget: Budget;
}

export class State {
  hosts: Host[];
  wire: Message[] = [];
  budget: Budget;
  /** Term to leader. */
  leaders = new Map<Term, NodeId>();
  /** Terms of the committed entries from index 2 on, and the term in which each was committed. */
  committed: { readonly term: Term; readonly by: Term }[] = [];
  broken: string | undefined;

  constructor(root: Root) {
    this.budget = root.budget;
    this.hosts = root.hosts.map(
      ({ term, vote, terms }, at) => new Host(at + 1, new Disk({ term, vote, commit: 1 }, terms)),
    );
  }

  /** Hosts are shared until one is to be changed. */
  copy(): State {
    const copy = Object.create(State.prototype) as State;
    Object.assign(copy, this);
    copy.hosts = [...this.hosts];
    copy.wire = [...this.wire];
    copy.leaders = new Map(this.leaders);
    copy.committed = [...this.committed];
    return copy;
  }

  /** The host as this state's own, to be changed. */
  own(at: number): Host {
    const host = copyOf(this.hosts[at] as Host);
    this.hosts[at] = host;
    return host;
  }

  /** Everything that decides what can happen from here on; the same for states that differ in order only. */
  print(): string {
    const wire = this.wire.map((message) => printed(message, printMessage)).sort();
    const hosts = this.hosts.map((host) => printed(host, printHost));
    return `${hosts.join()}${wire.join()}${JSON.stringify([this.budget, [...this.leaders], this.committed])}`;
  }
}

/** Neither messages nor hosts change once they are part of a state. */
const prints = new WeakMap<object, string>();

export function printed<T extends object>(value: T, print: (value: T) => unknown): string {
  let text = prints.get(value);
  if (text === undefined) {
    text = JSON.stringify(print(value));
    prints.set(value, text);
  }
  return text;
}

export function printMessage(m: Message): unknown {
  return m.type === 'append' ? { ...m, entries: m.entries.map(({ term, index }) => [term, index]) } : m;
}

interface Seen {
  readonly _s: Record<string, unknown> & {
    readonly tracker: { readonly _votes: Map<NodeId, boolean>; readonly progress: readonly object[] };
    readonly log: { readonly lastIndex: number; term(index: number): Term | undefined };
  };
}

function printHost({ core, disk }: Host): unknown {
  const durable = [disk.hardState, disk.entries.map(({ term }) => term)];
  if (core === undefined) return durable;
  const { term, vote, role, lead, commit, applied, progress } = { ...core.status(), lead: core.status().leader };
  const s = (core as unknown as Seen)._s;
  const log: (Term | undefined)[] = [];
  for (let index = 2; index <= s.log.lastIndex; index++) log.push(s.log.term(index));
  const peers = role === 'leader' ? s.tracker.progress.map(printProgress) : progress;
  return [durable, term, vote, role, lead, commit, applied, log, peers, [...s.tracker._votes]];
}

function printProgress(peer: object): unknown {
  const fields: unknown[] = [];
  for (const [name, value] of Object.entries(peer)) {
    if (typeof value !== 'object') fields.push(value);
    else if (name === 'inflights') fields.push((value as { readonly _sent: unknown })._sent);
  }
  return fields;
}

export const coreConfig: Omit<CoreConfig, 'id'> = {
  electionTicks: 1000,
  heartbeatTicks: 1,
  preVote: false,
  checkQuorum: false,
  stepDownOnRemoval: true,
  // One entry per message.
  limits: {
    maxMessageBytes: 1,
    maxInflightMessages: 2,
    maxInflightBytes: 100,
    maxUncommittedBytes: 100,
    maxApplyBytes: 100,
    maxPendingReads: 1,
  },
  random: { uint32: () => 0 },
};
