/**
 * RaftNode drives the core: but for ticks, everything that it and its parts do to RaftCore happens in a turn. A turn takes
 * in what the disk finished, what peers sent, what callers proposed, and then empties the core: messages leave in one batch
 * per peer, one log batch goes to the disk while they travel, then committed entries are applied.
 *
 * Promised: answers that depend on the disk leave after the disk; entries are applied once, in order, after they are
 * durable here; a proposal's failure says whether it may still be committed. Any failure of disk, state machine or an
 * invariant stops the node for good (`onFault`). Never done: retrying a disk write, applying from within a caller's turn.
 *
 * Longer than 500 lines because every caller of the core is kept in one place.
 */
import { RaftCore } from '../core/raft.ts';
import type {
  ConfChange,
  ConfState,
  Index,
  InstallSnapshot,
  Message,
  NodeId,
  Ready,
  Role,
  Status,
  Term,
} from '../core/types.ts';
import type { IncomingSnapshot } from '../ports.ts';
import { Applier } from './applier.ts';
import { CatchUps } from './catchups.ts';
import { Compaction } from './compaction.ts';
import { dropError, faultOf, NodeClosed, ProposalDropped } from './errors.ts';
import { handOver } from './handover.ts';
import { Inbox } from './inbox.ts';
import { Inlet } from './inlet.ts';
import { Lease } from './lease.ts';
import { Mail } from './mail.ts';
import type { MemoryLog } from './memory-log.ts';
import type { NodeMetrics } from './metrics.ts';
import { Metrics } from './metrics.ts';
import type { RaftNodeOptions, Settings } from './options.ts';
import { coreConfigOf, settingsOf } from './options.ts';
import type { Outcome } from './pending.ts';
import { Waiter } from './pending.ts';
import { promoteWhenCaughtUp } from './promote.ts';
import { ReadBarriers } from './reads.ts';
import type { RecoveredNode } from './recover.ts';
import { recover } from './recover.ts';
import { Snapshotter } from './snapshotter.ts';
import { Ticker } from './ticker.ts';
import { Transfer } from './transfer.ts';
import { Turns } from './turns.ts';
import { Writes } from './writes.ts';

/** `leader` is 0 when none is known. */
export interface NodeState {
  readonly role: Role;
  readonly term: Term;
  readonly leader: NodeId | 0;
}

/** Aborting the signal rejects the call: with the signal's reason if nothing was begun, else with `OutcomeUnknown`. */
export interface AskOptions {
  readonly signal?: AbortSignal;
}

/** Rounds of applying in one turn; the rest waits for the next, so that a long replay does not starve heartbeats. */
const appliesPerTurn = 8;

/**
 * One member of a group: the core together with a log, snapshots, a state machine, a transport and a clock. `R` is
 * what the state machine answers. All methods may be called at any time, from anywhere.
 */
export class RaftNode<R> {
  readonly #settings: Settings<R>;
  readonly #core: RaftCore;
  readonly #log: MemoryLog;
  readonly #metrics = new Metrics();
  readonly #turns: Turns;
  readonly #inbox: Inbox;
  readonly #inlet: Inlet<R>;
  readonly #mail: Mail;
  readonly #writes: Writes;
  readonly #lease: Lease;
  readonly #reads: ReadBarriers;
  readonly #applier: Applier<R>;
  readonly #snapshotter: Snapshotter<R>;
  readonly #compaction: Compaction<R>;
  readonly #catchUps: CatchUps;
  readonly #ticker: Ticker;

  #stopped = false;
  #fault: Error | undefined;
  #closing: Promise<void> | undefined;
  /** Callers' requests that wait for a turn. */
  #asked = 0;
  #events: (() => void)[] = [];
  readonly #unreachable = new Set<NodeId>();
  readonly #transfer: Transfer;

  #state: NodeState;
  readonly #stateHandlers = new Set<(state: NodeState) => void>();
  readonly #faultHandlers: ((fault: Error) => void)[] = [];

  /** Rejects when the disk cannot be read, or holds what no Raft log can hold; RangeError for impossible options. */
  static async open<R>(options: RaftNodeOptions<R>): Promise<RaftNode<R>> {
    const settings = settingsOf(options);
    const recovered = await recover(settings);
    const node = new RaftNode(settings, recovered);
    node.#start();
    return node;
  }

  private constructor(settings: Settings<R>, recovered: RecoveredNode) {
    const { runtime, transport, tickMs, electionTicks } = settings;
    const { log, from } = recovered;
    const metrics = this.#metrics;
    this.#settings = settings;
    this.#log = log;
    this.#core = new RaftCore(coreConfigOf(settings), log, from);
    this.#state = { role: 'follower', term: from.hardState.term, leader: 0 };
    this.#transfer = new Transfer(settings.id);
    this.#turns = new Turns(runtime, () => this.#turn());
    this.#inbox = new Inbox(settings, metrics);
    this.#mail = new Mail({ runtime, transport, metrics, commitDelayMs: settings.commitDelayMs });
    const host = this.#host();
    this.#writes = new Writes({ log: settings.log, metrics, done: () => this.#turns.soon(), fail: host.fail });
    const snapshot = log.snapshot();
    this.#applier = new Applier(settings, this.#core, {
      ...host,
      applied: snapshot === 'not-ready' ? { term: 0, index: 0 } : { term: snapshot.term, index: snapshot.index },
      conf: from.conf,
      beforeConfig: () => this.#mail.flushAll(),
    });
    this.#inlet = new Inlet(settings, { core: this.#core, pending: this.#applier.proposals, metrics });
    this.#lease = new Lease(electionTicks * tickMs - settings.leaseMarginMs);
    this.#reads = new ReadBarriers(this.#core, {
      retryTicks: electionTicks,
      firstToken: runtime.random.uint32() * 2 ** 20 + 1,
      lease: this.#lease,
      metrics,
    });
    this.#snapshotter = new Snapshotter(settings, {
      ...host,
      step: (message) => this.#stopped || this.#core.step(message),
      sent: (peer, ok) => this.#snapshotSent(peer, ok),
      isStale: (message) => this.#isStaleSnapshot(message),
      taken: (meta) => this.#compaction.taken(meta),
    });
    const { applier, snapshotter } = { applier: this.#applier, snapshotter: this.#snapshotter };
    this.#compaction = new Compaction(settings, { ...host, core: this.#core, log, applier, snapshotter });
    this.#catchUps = new CatchUps(this.#core);
    this.#ticker = new Ticker(runtime, tickMs, (ticks, skipped) => this.#tick(ticks, skipped));
  }

  /** What the node's parts may ask of it. */
  #host() {
    return {
      metrics: this.#metrics,
      run: (event: () => void) => this.#run(event),
      isStopped: () => this.#stopped,
      trace: (kind: string, detail: Readonly<Record<string, unknown>>) => this.#trace(kind, detail),
      fail: (error: unknown) => this.#fail(error),
    };
  }

  #start(): void {
    const { transport, peers } = this.#settings;
    transport.onMessages((messages) => this.#receive(messages));
    transport.onUnreachable((id) => {
      this.#unreachable.add(id);
      this.#turns.later();
    });
    transport.onSnapshot((message, chunks) => this.#receiveSnapshot(message, chunks));
    transport.setPeers(peers);
    this.#trace('opened', { ...this.#state, applied: this.#applier.applied.index, lastIndex: this.#log.lastIndex() });
    this.#ticker.start();
    this.#turns.later();
  }

  // What callers ask for.

  /**
   * Resolves when the entry is committed and applied here. Rejections: see driver/errors.ts; at the latest after
   * `proposalTimeoutMs`, whatever happens to the leader.
   */
  propose(data: Uint8Array, options: AskOptions = {}): Promise<Outcome<R>> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(this.#closedError());
      if (data.length === 0) return reject(new RangeError('Cannot propose: the entry is empty'));
      const refusal = this.#inlet.refusal(data);
      if (refusal !== undefined) return reject(refusal);
      this.#inlet.push(data, this.#waiter(resolve, reject, options));
      // Nothing to share a write with, and nobody who would wait longer for it.
      if (this.#inlet.size === 1 && this.#applier.proposals.size === 0) this.#turns.soon();
      else this.#turns.later();
    });
  }

  /**
   * Resolves when this node's state machine holds everything that was committed when this was called. 'lease': a leader
   * that holds a lease (option `leaseReads`) asks nobody; without one this is a quorum read.
   */
  readBarrier(options: AskOptions & { readonly mode?: 'quorum' | 'lease' } = {}): Promise<Index> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(this.#closedError());
      const byLease = options.mode === 'lease';
      if (byLease && !this.#settings.leaseReads) {
        return reject(new RangeError('Cannot read by lease: the option leaseReads is off'));
      }
      if (this.#reads.size >= this.#settings.bounds.maxReads) return reject(new ProposalDropped('queue-full'));
      const waiter = this.#waiter(resolve, reject, options);
      if (byLease && this.#reads.addByLease(waiter, this.#settings.runtime.now())) {
        return this.#reads.release(this.#applier.applied.index);
      }
      this.#reads.add(waiter);
      if (this.#reads.size === 1 && this.#applier.proposals.size === 0) this.#turns.soon();
      else this.#turns.later();
    });
  }

  /** Resolves when the change is applied here and, if it goes through a joint configuration by itself, has left it. */
  async changeMembers(change: ConfChange, options: AskOptions = {}): Promise<ConfState> {
    const outcome = await this.#ask<Outcome<ConfState>>(options, (waiter) => {
      const proposed = this.#core.proposeConfChange(change);
      if (proposed.ok) this.#applier.confChanges.add(proposed.at, waiter);
      else waiter.reject(dropError(proposed.reason, proposed.leader));
    });
    return outcome.result;
  }

  /** Resolves when the peer's log is at most `maxLag` entries behind ours. Only the leader knows. */
  waitCaughtUp(id: NodeId, options: AskOptions & { readonly maxLag?: number } = {}): Promise<void> {
    const { maxLag = 16, ...rest } = options;
    return this.#ask(rest, (waiter) => this.#catchUps.add({ id, maxLag, waiter }), Number.POSITIVE_INFINITY);
  }

  /**
   * Makes a learner a voter as soon as it is at most `maxLag` entries behind; resolves with the configuration then. Waits
   * while another change is under way; rejects with NotLeaderError when this node stops leading, and with
   * `ProposalDropped('not-member')` for a node that is not in the group.
   */
  promoteWhenCaughtUp(id: NodeId, options: AskOptions & { readonly maxLag?: number } = {}): Promise<ConfState> {
    return promoteWhenCaughtUp(this, { id, runtime: this.#settings.runtime, retryMs: this.#electionMs, ...options });
  }

  /** Hands leadership to `to`, or to the best placed voter; resolves with the new leader. */
  transferLeadership(to?: NodeId): Promise<NodeId> {
    return this.#ask(
      {},
      (waiter) => {
        const started = this.#core.transferLeadership(to ?? 'best');
        if (started !== 'started') return waiter.reject(dropError(started, this.#core.status().leader));
        this.#transfer.begin(waiter);
      },
      this.#electionMs * 3,
    );
  }

  /** What this node knows now; a copy. `applied`: what its state machine holds. */
  status(): Status {
    return { ...this.#core.status(), applied: this.#applier.applied.index };
  }

  /** Counters since `open`, and what is waiting now. */
  metrics(): NodeMetrics {
    const { commit, lastIndex, progress } = this.#core.status();
    const lags = progress.map(({ match }) => lastIndex - match);
    return {
      counters: this.#metrics.counters(),
      gauges: {
        queuedProposals: this.#inlet.size,
        pendingProposals: this.#applier.proposals.size,
        waitingReads: this.#reads.size,
        inboxMessages: this.#inbox.size,
        writesInFlight: this.#writes.size,
        applyTasks: this.#applier.tasks,
        snapshotsSending: this.#snapshotter.sendingCount,
        logEntriesInMemory: this.#log.length,
        logBytesInMemory: this.#log.bytes,
        commitIndex: commit,
        appliedIndex: this.#applier.applied.index,
        lastIndex,
        largestLag: Math.max(0, ...lags),
      },
      commitLatency: this.#metrics.latency(),
    };
  }

  /** What should never be; empty when all is well. Cheap enough to be asked every few seconds. */
  invariants(): readonly string[] {
    return this.#core.invariants();
  }

  /** Called at every change of role, term or leader, and once now; the returned function ends it. */
  onState(handle: (state: NodeState) => void): () => void {
    this.#stateHandlers.add(handle);
    handle(this.#state);
    return () => void this.#stateHandlers.delete(handle);
  }

  /** Called once, with a RaftFault, when the node stops because something broke; at once if it has already happened. */
  onFault(handle: (fault: Error) => void): void {
    if (this.#fault !== undefined) handle(this.#fault);
    else this.#faultHandlers.push(handle);
  }

  /** Where the other nodes are now; the transport says what an address looks like. Replaces all earlier ones. */
  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    this.#settings.transport.setPeers(peers);
  }

  /** Makes this node ask for votes now; for tests and operators. */
  campaign(): void {
    this.#run(() => this.#core.campaign());
  }

  /**
   * Hands leadership over if it can (unless told not to), which takes a few election timeouts at most, then stops and
   * closes transport and log. Calling it twice does no harm.
   */
  close(options: { readonly transfer?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#close(options.transfer ?? true);
    return this.#closing;
  }

  async #close(transfer: boolean): Promise<void> {
    if (transfer) await handOver(this, { ...this.#settings, isStopped: () => this.#stopped });
    if (!this.#stopped) {
      this.#mail.flushAll();
      this.#writes.begin();
    }
    this.#stop(new NodeClosed());
    await this.#snapshotter.close();
    await this.#applier.close();
    await this.#settings.transport.close();
    await this.#settings.log.close();
  }

  get #electionMs(): number {
    return this.#settings.electionTicks * this.#settings.tickMs;
  }

  #closedError(): NodeClosed {
    return new NodeClosed(this.#fault === undefined ? undefined : { cause: this.#fault });
  }

  #waiter<T>(
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
    options: AskOptions,
    limitMs = this.#settings.proposalTimeoutMs,
  ): Waiter<T> {
    const beganMs = this.#settings.runtime.now();
    return new Waiter(resolve, reject, { beganMs, deadlineMs: beganMs + limitMs, signal: options.signal });
  }

  /** Runs `begin` in the node's next turn, where the core may be called. */
  #ask<T>(options: AskOptions, begin: (waiter: Waiter<T>) => void, limitMs?: number): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(this.#closedError());
      if (this.#asked + this.#catchUps.size + this.#applier.confChanges.size >= this.#settings.bounds.maxRequests) {
        return reject(new ProposalDropped('queue-full'));
      }
      const waiter = this.#waiter(resolve, reject, options, limitMs);
      this.#asked += 1;
      this.#run(() => {
        this.#asked -= 1;
        if (this.#stopped) waiter.reject(this.#closedError());
        else if (!waiter.settled) begin(waiter);
      });
    });
  }

  // The turn.

  #run(event: () => void): void {
    if (this.#stopped) return event();
    this.#events.push(event);
    this.#turns.later();
  }

  #turn(): void {
    if (this.#stopped) return;
    try {
      this.#metrics.turns += 1;
      this.#takeEvents();
      this.#takeInbox();
      this.#inlet.take();
      this.#reads.ask();
      this.#emptyCore();
      const begun = this.#sendAndWrite();
      if (!this.#applier.runnable) this.#finishTurn();
      // The store begins a write in a microtask of its own; the disk should not wait for the state machine.
      else if (begun) queueMicrotask(this.#applyInTurn);
      else this.#apply();
    } catch (error) {
      this.#fail(error);
    }
  }

  readonly #applyInTurn = (): void => {
    if (this.#stopped) return;
    try {
      this.#apply();
    } catch (error) {
      this.#fail(error);
    }
  };

  #apply(): void {
    const { runtime, bounds } = this.#settings;
    const beganMs = runtime.now();
    for (let round = 0, nowMs = beganMs; round < appliesPerTurn && nowMs - beganMs <= bounds.maxApplyMs; round++) {
      if (!this.#applier.next(nowMs)) break;
      this.#emptyCore();
      nowMs = runtime.now();
    }
    this.#sendAndWrite();
    if (this.#applier.runnable) this.#turns.later();
    this.#finishTurn();
  }

  /**
   * Peers need longer than our own disk, so their messages get out of the process first: handing a write to the thread
   * pool may cost this thread its turn on the processor. Says whether the disk is at work on something new.
   */
  #sendAndWrite(): boolean {
    const sends = this.#mail.flush();
    if (!this.#writes.hasUnbegun) return false;
    if (sends) this.#settings.runtime.defer(this.#beginWrites);
    else this.#beginWrites();
    return !sends;
  }

  readonly #beginWrites = (): void => {
    if (!this.#stopped) this.#writes.begin();
  };

  #finishTurn(): void {
    this.#reads.release(this.#applier.applied.index);
    if (this.#reads.waitingToAsk) this.#turns.later();
    this.#compaction.snapshotIfDue();
    this.#catchUps.check(this.#settings.runtime.now());
  }

  #takeEvents(): void {
    // Taken out one by one: when one breaks the node, `#stop` answers those that are left.
    for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) event();
    for (const id of this.#unreachable) this.#core.peerUnreachable(id);
    this.#unreachable.clear();
    this.#reportWrites();
  }

  #receive(messages: readonly Message[]): void {
    if (this.#stopped) return;
    this.#inbox.push(messages);
    // A busy disk or many waiting callers make it worthwhile to take in more at once.
    if (this.#writes.size === 0 || this.#applier.proposals.size <= 1) this.#turns.soon();
    else this.#turns.later();
  }

  #takeInbox(): void {
    for (const message of this.#inbox.take()) this.#core.step(message);
  }

  #receiveSnapshot(message: InstallSnapshot, chunks: IncomingSnapshot): Promise<void> {
    const { id } = this.#settings;
    if (message.to !== id || message.from === id)
      return Promise.reject(new Error('Cannot receive snapshot: not for me'));
    return this.#snapshotter.receive(message, chunks);
  }

  #emptyCore(): void {
    while (this.#core.hasReady()) this.#handle(this.#core.takeReady());
  }

  #handle(ready: Ready): void {
    if (ready.state !== undefined) this.#changeState(ready.state);
    // The clock is read before the heartbeats of the round leave.
    if (ready.round !== undefined) this.#lease.sent(ready.round, this.#settings.runtime.now());
    if (ready.confirmedRound !== undefined) this.#lease.confirmed(ready.confirmedRound);
    for (const message of ready.send) this.#post(message);
    if (ready.append !== undefined) this.#write(ready.append);
    if (ready.apply !== undefined) this.#applier.push(ready.apply);
    for (const { token, index } of ready.reads) this.#reads.answered(token, index);
    for (const token of ready.readsFailed) this.#reads.failed(token);
  }

  #post(message: Message): void {
    if (message.type !== 'snapshot') return this.#mail.post(message);
    this.#compaction.sending(message.to, message.snapshot.index);
    this.#snapshotter.send(message);
  }

  #changeState(state: NonNullable<Ready['state']>): void {
    const { role, term, leader, transferee } = state;
    const old = this.#state;
    this.#state = { role, term, leader };
    this.#transfer.saw(leader, transferee);
    if (old.role === role && old.term === term && old.leader === leader) return;
    this.#lease.reset();
    if (role !== 'leader' && old.role === 'leader') {
      this.#snapshotter.stopSending();
      this.#compaction.releaseAll();
    }
    if (leader !== 0 && (leader !== old.leader || term !== old.term)) this.#metrics.leaderChanges += 1;
    if (role !== old.role && (role === 'precandidate' || old.role === 'follower') && role !== 'leader') {
      this.#metrics.elections += 1;
    }
    for (const handle of this.#stateHandlers) handle(this.#state);
  }

  #tick(ticks: number, skipped: number): void {
    if (this.#stopped) return;
    const nowMs = this.#settings.runtime.now();
    this.#metrics.ticks += ticks;
    this.#metrics.ticksSkipped += skipped;
    try {
      for (let i = 0; i < ticks; i++) this.#core.tick();
      this.#applier.expire(nowMs);
      this.#reads.tick(nowMs, this.#state.leader);
      this.#compaction.tick(nowMs);
    } catch (error) {
      return this.#fail(error);
    }
    this.#transfer.expire(nowMs);
    this.#turns.soon();
  }

  // The disk.

  #write(task: NonNullable<Ready['append']>): void {
    if (task.snapshot !== undefined) this.#compaction.installing(task.snapshot);
    this.#writes.add(task);
    this.#reportWrites();
  }

  #reportWrites(): void {
    for (let task = this.#writes.next(); task !== undefined && !this.#stopped; task = this.#writes.next()) {
      if (task.snapshot !== undefined) this.#log.install(task.snapshot);
      this.#log.append(task.entries);
      this.#core.appended(task);
      for (const message of task.onDurable) this.#post(message);
      if (task.snapshot !== undefined) this.#applier.restore(task.snapshot);
    }
  }

  // Snapshots.

  #snapshotSent(peer: NodeId, ok: boolean): void {
    if (this.#stopped) return;
    this.#core.snapshotReport(peer, ok);
    this.#compaction.prune().catch((error: unknown) => this.#fail(error));
  }

  #isStaleSnapshot(message: InstallSnapshot): boolean {
    const { term, commit } = this.#core.status();
    return message.term < term || message.snapshot.index <= commit;
  }

  // The end.

  #trace(kind: string, detail: Readonly<Record<string, unknown>>): void {
    const { id, trace } = this.#settings;
    trace?.({ node: id, term: this.#state.term, kind, detail });
  }

  #fail(error: unknown): void {
    if (this.#stopped) return;
    const fault = faultOf(error);
    this.#fault = fault;
    this.#trace('fault', { why: fault.message });
    this.#stop(fault);
    for (const handle of this.#faultHandlers) handle(fault);
  }

  #stop(reason: Error): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#ticker.stop();
    this.#mail.clear();
    const closed = reason instanceof NodeClosed ? reason : new NodeClosed({ cause: reason });
    this.#inlet.failAll(closed);
    this.#applier.failAll(reason);
    this.#catchUps.failAll(closed);
    this.#reads.failAll(closed);
    this.#transfer.fail(closed);
    this.#inbox.take();
    // Events of a stopped node run at once: they only answer those who wait.
    const events = this.#events;
    this.#events = [];
    for (const event of events) event();
    if (!(reason instanceof NodeClosed)) this.#snapshotter.stopSending();
  }
}
