/**
 * Everything one node knows, and the small acts on it that every part of the algorithm shares. Functions in the files
 * beside this one change it; only `raft.ts` shows it to the host.
 */
import { normalConf } from './confchange.ts';
import { must } from './errors.ts';
import { RaftLog } from './log.ts';
import { QueryList, ReadQueue } from './readindex.ts';
import { Tracker } from './tracker.ts';
import type {
  ConfState,
  CoreConfig,
  HardState,
  Index,
  Message,
  NodeId,
  Recovered,
  Role,
  SnapshotMeta,
  StableLog,
  Term,
} from './types.ts';

/** What an append task attests once it is durable; ignored for entries and votes when the term has moved on. */
export interface Attest {
  readonly seq: number;
  readonly term: Term;
  readonly last: { readonly term: Term; readonly index: Index };
  /** `last` was not durable yet. */
  readonly unstable: boolean;
  readonly vote: NodeId | 0;
  readonly snapshot?: SnapshotMeta;
}

export class CoreState {
  readonly config: CoreConfig;
  readonly id: NodeId;
  /** Whether anybody listens: without it no trace event is built. */
  readonly tracing: boolean;
  readonly compat: boolean;
  readonly log: RaftLog;
  readonly tracker: Tracker;

  term: Term;
  vote: NodeId | 0;
  role: Role = 'follower';
  lead: NodeId | 0 = 0;
  transferee: NodeId | 0 = 0;

  electionElapsed = 0;
  heartbeatElapsed = 0;
  randomTimeout = 0;
  ticks = 0;

  /** Index of the entry whose configuration is in force. */
  confIndex: Index;
  /** The configuration as of what the host has applied: a snapshot on its way to the disk may be ahead of it. */
  appliedConf: ConfState;
  appliedConfIndex: Index;
  /** No configuration change may be proposed before this index is applied. */
  pendingConfIndex: Index = 0;
  uncommittedBytes = 0;
  /** First index of the current leadership: once committed, reads may be answered. */
  leaderSince: Index = 0;

  /** Number of the newest round of heartbeats; never falls, so that a host cannot mistake one leadership's for another's. */
  round = 0;
  /** Lease reads: the newest round not yet shown to the host, and what a quorum has confirmed of this leadership's. */
  roundSent = 0;
  confirmedRound = 0;
  confirmedRoundShown = 0;
  /**
   * The leader has told somebody to campaign at once. However late that message arrives, it overrides the refusal of votes
   * on which a lease rests, so there is no lease any more in this term.
   */
  leaseLost = false;
  leaseVoidUntil = 0;
  /** The tick at which a leader was last heard of; a start counts as such, for the promise may have been given before it. */
  leaderHeardAt = 0;

  reads = new ReadQueue();
  readonly queries: QueryList;

  /** May leave at once. */
  outbox: Message[] = [];
  /** May leave when everything before them is durable. */
  held: Message[] = [];
  readsDone: { readonly token: number; readonly index: Index }[] = [];
  readsFailed: number[] = [];
  /** Leader: peers may have something to get; looked at once per Ready, so that proposals travel together. */
  flushDue = false;
  heartbeatDue = false;

  savedHardState: HardState;
  appendSeq = 0;
  applySeq = 0;
  appendsOut: Attest[] = [];
  appliesOut: { readonly seq: number; readonly last: Index; readonly bytes: number }[] = [];
  applyBytesOut = 0;

  constructor(config: CoreConfig, stable: StableLog, from: Recovered) {
    must(!config.leaseReads || config.checkQuorum, 'leaseReads needs checkQuorum');
    this.config = config;
    this.id = config.id;
    this.tracing = config.trace !== undefined;
    this.compat = config.compat === 'etcd-transcripts';
    this.log = new RaftLog(stable, {
      commit: from.hardState.commit,
      applied: from.applied,
      applyUnstable: config.appendBeforeApply === true,
    });
    this.term = from.hardState.term;
    this.vote = from.hardState.vote;
    this.savedHardState = from.hardState;
    this.confIndex = from.applied;
    this.appliedConf = normalConf(from.conf);
    this.appliedConfIndex = from.applied;
    this.tracker = new Tracker(from.conf, config.limits, { epoch: from.applied, lastIndex: this.log.lastIndex });
    this.queries = new QueryList(config.random.uint32());
    this.redrawTimeout();
  }

  /**
   * From electionTicks + 1 to 2 × electionTicks: peers refuse votes for electionTicks after they heard from a leader, so
   * a shorter wait would be in vain.
   */
  redrawTimeout(): void {
    const { electionTicks, random } = this.config;
    this.randomTimeout = electionTicks + 1 + (random.uint32() % electionTicks);
  }

  /** A voter that has its whole state may campaign. */
  get promotable(): boolean {
    return this.tracker.isVoter(this.id) && this.log.unstable.snapshot === undefined;
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.commit };
  }

  send(message: Message): void {
    this.outbox.push(message);
  }

  hold(message: Message): void {
    this.held.push(message);
  }

  /** Head of a message to `to`, at our term. */
  head(to: NodeId): { readonly from: NodeId; readonly to: NodeId; readonly term: Term } {
    return { from: this.id, to, term: this.term };
  }

  /** Call only when `tracing`, lest details are built for nobody. */
  trace(kind: string, detail: Readonly<Record<string, unknown>> = {}): void {
    this.config.trace?.({ node: this.id, term: this.term, kind, detail });
  }
}
