/** One node of a transcript: the core, its disk, its two storage threads, and what the notation needs to remember. */
import type {
  AppendTask,
  ApplyTask,
  ConfState,
  Entry,
  HardState,
  Message,
  NodeId,
  Role,
  SnapshotMeta,
  TraceEvent,
} from '../../src/core/index.ts';
import { decodeConfChange, EntryKind, RaftCore, SyncRaft } from '../../src/core/index.ts';
import { inspect } from '../../src/core/raft.ts';
import type { CoreState } from '../../src/core/state.ts';
import { hasApply } from '../../src/core/tasks.ts';
import { appendThread, applyThread, describeMessage, describeReady, describeWire, nameOf } from './describe.ts';
import { Storage } from './storage.ts';

/** Something on its way to a node: a message of the algorithm or the answer of a storage thread. */
export interface Parcel {
  readonly name: string;
  readonly to: NodeId;
  /** From the node itself or one of its threads: it cannot get lost. */
  readonly local: boolean;
  readonly text: string;
  /** Hands it to the recipient; the answer is an error text. */
  readonly deliver: (node: TranscriptNode) => string | undefined;
}

/** A storage thread's next piece of work. */
interface Job {
  readonly text: string;
  readonly run: () => void;
  readonly answers: readonly Parcel[];
  readonly done: () => void;
}

export interface NodeOptions {
  readonly id: NodeId;
  readonly snapshot: SnapshotMeta | undefined;
  readonly async: boolean;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly leaseReads: boolean;
  readonly stepDownOnRemoval: boolean;
  readonly checkConfChanges: boolean;
  readonly window: number;
  readonly maxApplyBytes: number;
  readonly trace: (event: TraceEvent) => void;
}

export const electionTicks = 3;
export const heartbeatTicks = 1;
const plenty = Number.MAX_SAFE_INTEGER;
const noConf: ConfState = { voters: [], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
const responses = new Set<Message['type']>(['append-ack', 'vote-ack', 'heartbeat-ack', 'read-answer']);

function coreOf(options: NodeOptions, storage: Storage): { readonly core: RaftCore; readonly sync?: SyncRaft } {
  const { id, snapshot, maxApplyBytes, window } = options;
  const config = {
    id,
    electionTicks,
    heartbeatTicks,
    preVote: options.preVote,
    checkQuorum: options.checkQuorum,
    leaseReads: options.leaseReads,
    stepDownOnRemoval: options.stepDownOnRemoval,
    forwardProposals: true,
    compat: 'etcd-transcripts',
    limits: {
      maxMessageBytes: plenty,
      maxInflightMessages: window,
      maxInflightBytes: plenty,
      maxUncommittedBytes: plenty,
      maxApplyBytes,
      maxPendingReads: 1000,
    },
    // Always five ticks, which lies in our range of timeouts (4 to 6) and in etcd's (3 to 5).
    random: { uint32: () => 1 },
    trace: options.trace,
  } as const;
  const from = { hardState: storage.hardState, conf: snapshot?.conf ?? noConf, applied: snapshot?.index ?? 0 };
  if (options.async) return { core: new RaftCore(config, storage, from) };
  const sync = new SyncRaft(config, storage, from);
  return { core: sync.core, sync };
}

export class TranscriptNode {
  readonly id: NodeId;
  readonly options: NodeOptions;
  readonly core: RaftCore;
  readonly state: CoreState;
  readonly storage: Storage;
  readonly #sync: SyncRaft | undefined;
  /** Snapshots of the state machine after each entry. */
  readonly #history: SnapshotMeta[];
  readonly appendWork: Job[] = [];
  readonly applyWork: Job[] = [];
  #shown: { readonly lead: NodeId | 0; readonly role: Role } = { lead: 0, role: 'follower' };
  #saved: HardState;
  /** Writes that were handed out, oldest first; reported to the core in this order. */
  readonly #writes: { readonly task: AppendTask; finished: boolean }[] = [];

  constructor(options: NodeOptions) {
    const { id, snapshot } = options;
    this.id = id;
    this.options = options;
    this.#history = [snapshot ?? { index: 0, term: 0, conf: noConf, id: '' }];
    this.storage = new Storage(() => this.snapshot);
    if (snapshot)
      this.storage.write({ snapshot, entries: [], hardState: { term: 0, vote: 0, commit: snapshot.index } });
    const { core, sync } = coreOf(options, this.storage);
    this.core = core;
    this.#sync = sync;
    this.state = inspect(core);
    this.#saved = this.state.hardState;
  }

  get snapshot(): SnapshotMeta {
    const newest = this.#history.at(-1);
    if (!newest) throw new Error('no snapshot');
    return newest;
  }

  hasReady(): boolean {
    const s = this.state;
    if (s.outbox.length > 0 || s.held.length > 0 || hasApply(s)) return true;
    if (s.log.unstable.hasWaitingEntries() || s.log.unstable.waitingSnapshot()) return true;
    return this.#softChanged() || this.#hardStateChanged();
  }

  #softChanged(): boolean {
    return this.#shown.lead !== this.state.lead || this.#shown.role !== this.state.role;
  }

  #hardStateChanged(): boolean {
    const { term, vote, commit } = this.state.hardState;
    return term !== this.#saved.term || vote !== this.#saved.vote || commit !== this.#saved.commit;
  }

  /** Takes and processes a Ready; the text shows it. `finish` comes after its messages are on their way. */
  processReady(): { readonly text: string; readonly parcels: readonly Parcel[]; readonly finish: () => void } {
    return this.#sync ? this.#processSync(this.#sync) : this.#processAsync();
  }

  #takeChanges(entries: readonly Entry[]): {
    readonly soft: { soft?: { readonly lead: NodeId | 0; readonly role: Role } };
    readonly hardState: HardState | undefined;
    readonly mustSync: boolean;
  } {
    const soft = this.#softChanged() ? { soft: { lead: this.state.lead, role: this.state.role } } : {};
    const now = this.state.hardState;
    const hardState = this.#hardStateChanged() ? now : undefined;
    const voted = now.term !== this.#saved.term || now.vote !== this.#saved.vote;
    this.#shown = { lead: this.state.lead, role: this.state.role };
    this.#saved = now;
    // A snapshot does not ask for a sync here; in our own Readys it does.
    return { soft, hardState, mustSync: voted || entries.length > 0 };
  }

  #processSync(sync: SyncRaft): { text: string; parcels: readonly Parcel[]; finish: () => void } {
    const { entries, snapshot, committed, messages } = sync.ready();
    const { soft, hardState, mustSync } = this.#takeChanges(entries);
    const parcels = messages.map(parcelOf);
    const texts = parcels.map(({ text }) => text);
    const text = describeReady({ ...soft, hardState, entries, snapshot, committed, messages: texts, mustSync });
    const finish = (): void => {
      this.storage.write({ hardState, snapshot, entries });
      this.#apply(committed);
      sync.advance();
    };
    return { text, parcels, finish };
  }

  #processAsync(): { text: string; parcels: readonly Parcel[]; finish: () => void } {
    const unstable = this.state.log.unstable.count > 0 ? this.state.log.last() : undefined;
    const { send, append, apply } = this.core.takeReady();
    const { soft, hardState, mustSync } = this.#takeChanges(append?.entries ?? []);
    const parcels = send.map(parcelOf);
    const messages = parcels.map(({ text }) => text);
    if (append) messages.push(this.#queueAppend(append, unstable));
    if (apply) messages.push(this.#queueApply(apply));
    const { entries = [], snapshot } = append ?? {};
    const committed = apply?.entries ?? [];
    const text = describeReady({ ...soft, hardState, entries, snapshot, committed, messages, mustSync });
    return { text, parcels, finish: () => undefined };
  }

  #queueAppend(task: AppendTask, unstable: { readonly term: number; readonly index: number } | undefined): string {
    const { hardState, snapshot, entries, onDurable } = task;
    const write = { task, finished: false };
    this.#writes.push(write);
    const finish = (): void => {
      write.finished = true;
      this.#reportWrites();
    };
    const answers = onDurable.map(parcelOf);
    const attests = unstable !== undefined || snapshot !== undefined;
    const head = { from: appendThread, to: this.id, name: 'MsgStorageAppendResp' } as const;
    if (attests) {
      const log = unstable ?? { term: 0, index: 0 };
      const text = describeWire({ ...head, term: this.state.term, log, snapshot });
      const deliver = (): undefined => {
        finish();
      };
      answers.push({ name: head.name, to: this.id, local: true, text, deliver });
    }
    const message = {
      from: this.id,
      to: appendThread,
      name: 'MsgStorageAppend',
      term: hardState?.term ?? 0,
      commit: hardState?.commit ?? 0,
      vote: hardState?.vote ?? 0,
      entries,
      snapshot,
    } as const;
    this.appendWork.push({
      text: describeWire(message),
      run: () => this.storage.write({ hardState, snapshot, entries }),
      answers,
      done: () => (attests ? undefined : finish()),
    });
    return describeWire({ ...message, responses: answers.map(({ text }) => text) });
  }

  #reportWrites(): void {
    while (this.#writes[0]?.finished) {
      const write = this.#writes.shift();
      if (write) this.core.appended(write.task);
    }
  }

  #queueApply(task: ApplyTask): string {
    const { entries } = task;
    const head = { name: 'MsgStorageApplyResp', term: 0, entries } as const;
    const answer: Parcel = {
      name: head.name,
      to: this.id,
      local: true,
      text: describeWire({ ...head, from: applyThread, to: this.id }),
      deliver: () => {
        this.core.applied(task);
        return undefined;
      },
    };
    const message = { from: this.id, to: applyThread, name: 'MsgStorageApply', term: 0, entries } as const;
    this.applyWork.push({
      text: describeWire(message),
      run: () => this.#apply(entries),
      answers: [answer],
      done: () => undefined,
    });
    return describeWire({ ...message, responses: [answer.text] });
  }

  #apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const { index, term, kind, data } = entry;
      const conf =
        kind === EntryKind.Config ? this.core.applyConfChange(decodeConfChange(data), entry) : this.snapshot.conf;
      this.#history.push({ index, term, conf, id: '' });
    }
  }

  /** The answer is an error text. */
  step(m: Message): string | undefined {
    if (responses.has(m.type) && this.state.tracker.get(m.from) === undefined) {
      return 'raft: cannot step as peer not found';
    }
    if (m.type !== 'forward') {
      this.core.step(m);
      return undefined;
    }
    return this.#stepProposal(m);
  }

  /** A forwarded proposal is proposed here, which may mean that it is forwarded again. */
  #stepProposal(m: Extract<Message, { type: 'forward' }>): string | undefined {
    const { core, state } = this;
    if (state.role === 'leader') {
      const before = state.log.lastIndex;
      core.step(m);
      return state.log.lastIndex > before ? undefined : proposalDropped;
    }
    const [payload = new Uint8Array(0)] = m.payloads;
    const proposed =
      m.kind === EntryKind.Config ? core.proposeConfChange(decodeConfChange(payload)) : core.propose(m.payloads);
    return proposed.ok || proposed.forwarded ? undefined : proposalDropped;
  }
}

export const proposalDropped = 'raft proposal dropped';

export function parcelOf(m: Message): Parcel {
  return {
    name: nameOf(m),
    to: m.to,
    local: m.from === m.to,
    text: describeMessage(m),
    deliver: (node) => node.step(m),
  };
}
