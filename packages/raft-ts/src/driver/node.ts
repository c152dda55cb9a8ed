/**
 * RaftNode drives the core: but for ticks, everything that it and its parts do to RaftCore happens in `#turn`, at most once
 * per turn of the event loop. A turn takes in what the disk finished, what peers sent, what callers proposed, and then
 * empties the core: messages leave in one batch per peer, one log batch goes to the disk while they travel, committed
 * entries are applied.
 *
 * Promised: answers that depend on the disk leave after the disk; entries are applied once, in order, after they are
 * durable here; a proposal's failure says whether it may still be committed. Any failure of disk, state machine or an
 * invariant stops the node for good (`onFault`). Never done: retrying a disk write, applying from within a caller's turn.
 *
 * Longer than 500 lines because every caller of the core is kept in one place.
 */
import { RaftCore } from '../core/raft.ts';
import type {
  AppendTask,
  ConfChange,
  ConfState,
  Index,
  InstallSnapshot,
  Message,
  NodeId,
  Ready,
  Role,
  SnapshotMeta,
  Status,
  Term,
} from '../core/types.ts';
import { Applier } from './applier.ts';
import { dropError, NodeClosed, NotLeaderError, ProposalDropped, TransferFailed } from './errors.ts';
import type { MemoryLog } from './memory-log.ts';
import type { RaftNodeOptions, Settings } from './options.ts';
import { settingsOf } from './options.ts';
import type { Outcome } from './pending.ts';
import { Waiter } from './pending.ts';
import { ReadBarriers } from './reads.ts';
import type { RecoveredNode } from './recover.ts';
import { recover } from './recover.ts';
import { Snapshotter } from './snapshotter.ts';
import { Ticker } from './ticker.ts';

export interface NodeState {
  readonly role: Role;
  readonly term: Term;
  readonly leader: NodeId | 0;
}

interface Proposal<R> {
  readonly data: Uint8Array;
  readonly waiter: Waiter<Outcome<R>>;
}

interface Write {
  readonly task: AppendTask;
  done: boolean;
}

interface CatchUp {
  readonly id: NodeId;
  readonly maxLag: number;
  readonly waiter: Waiter<void>;
}

const inboxMessages = 8192;
const queuedProposals = 65_536;
const waitingReads = 65_536;
const proposalsPerEntryBatch = 4096;
/** Apply tasks of one turn; the rest waits for the next, so that a long replay does not starve heartbeats. */
const appliesPerTurn = 8;

export class RaftNode<R> {
  readonly #settings: Settings<R>;
  readonly #core: RaftCore;
  readonly #log: MemoryLog;
  readonly #snapshotter: Snapshotter<R>;
  readonly #reads: ReadBarriers;
  readonly #ticker: Ticker;
  readonly #applier: Applier<R>;

  #scheduled = false;
  #stopped = false;
  #fault: Error | undefined;
  #closing: Promise<void> | undefined;

  #events: (() => void)[] = [];
  #inbox: Message[] = [];
  readonly #outgoing = new Map<NodeId, Message[]>();
  readonly #unreachable = new Set<NodeId>();

  #queue: Proposal<R>[] = [];
  #transfer: Waiter<NodeId> | undefined;
  #catchUps: CatchUp[] = [];

  #writes: Write[] = [];
  #newestSnapshot: Index;

  #state: NodeState;
  readonly #stateHandlers = new Set<(state: NodeState) => void>();
  readonly #faultHandlers: ((fault: Error) => void)[] = [];

  static async open<R>(options: RaftNodeOptions<R>): Promise<RaftNode<R>> {
    const settings = settingsOf(options);
    const recovered = await recover(settings);
    const node = new RaftNode(settings, recovered);
    node.#start();
    return node;
  }

  private constructor(settings: Settings<R>, recovered: RecoveredNode) {
    const { runtime, id, trace } = settings;
    const { log, from } = recovered;
    this.#settings = settings;
    this.#log = log;
    const config = {
      id,
      electionTicks: settings.electionTicks,
      heartbeatTicks: settings.heartbeatTicks,
      preVote: true,
      checkQuorum: true,
      stepDownOnRemoval: true,
      limits: settings.limits,
      random: runtime.random,
    };
    this.#core = new RaftCore(trace === undefined ? config : { ...config, trace }, log, from);
    const snapshot = log.snapshot();
    this.#newestSnapshot = snapshot === 'not-ready' ? 0 : snapshot.index;
    this.#applier = new Applier(settings, this.#core, {
      applied: snapshot === 'not-ready' ? { term: 0, index: 0 } : { term: snapshot.term, index: snapshot.index },
      conf: from.conf,
      run: (event) => this.#run(event),
      fail: (error) => this.#fail(error),
    });
    this.#state = { role: 'follower', term: from.hardState.term, leader: 0 };
    this.#reads = new ReadBarriers(this.#core, {
      retryTicks: settings.electionTicks,
      firstToken: runtime.random.uint32() * 2 ** 20 + 1,
    });
    this.#snapshotter = new Snapshotter(settings, {
      run: (event) => this.#run(event),
      step: (message) => this.#stopped || this.#core.step(message),
      report: (peer, ok) => this.#stopped || this.#core.snapshotReport(peer, ok),
      isStale: (message) => this.#isStaleSnapshot(message),
      taken: (meta) => this.#snapshotTaken(meta),
    });
    this.#ticker = new Ticker(runtime, settings.tickMs, (ticks) => this.#tick(ticks));
  }

  #start(): void {
    const { transport, peers } = this.#settings;
    transport.onMessages((messages) => this.#receive(messages));
    transport.onUnreachable((id) => {
      this.#unreachable.add(id);
      this.#schedule();
    });
    transport.onSnapshot((message, chunks) => this.#snapshotter.receive(message, chunks));
    transport.setPeers(peers);
    this.#ticker.start();
    this.#schedule();
  }

  // What callers ask for.

  /** Resolves when the entry is committed and applied here. Rejections: see driver/errors.ts. */
  propose(data: Uint8Array, options: { readonly signal?: AbortSignal } = {}): Promise<Outcome<R>> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(new NodeClosed({ cause: this.#fault }));
      if (data.length === 0) return reject(new RangeError('Cannot propose: the entry is empty'));
      if (data.length > this.#settings.maxProposalBytes) return reject(new ProposalDropped('too-large'));
      if (this.#queue.length + this.#applier.proposals.size >= queuedProposals)
        return reject(new ProposalDropped('queue-full'));
      const waiter = this.#waiter(resolve, reject, options);
      this.#queue.push({ data, waiter });
      this.#schedule();
    });
  }

  /** Resolves when this node's state machine holds everything that was committed when this was called. */
  readBarrier(options: { readonly signal?: AbortSignal } = {}): Promise<Index> {
    return new Promise((resolve, reject) => {
      if (this.#stopped) return reject(new NodeClosed({ cause: this.#fault }));
      if (this.#reads.size >= waitingReads) return reject(new ProposalDropped('queue-full'));
      this.#reads.add(this.#waiter(resolve, reject, options));
      this.#schedule();
    });
  }

  /** Resolves when the change is applied here and, if it goes through a joint configuration by itself, has left it. */
  async changeMembers(change: ConfChange, options: { readonly signal?: AbortSignal } = {}): Promise<ConfState> {
    const outcome = await this.#ask<Outcome<ConfState>>(options, (waiter) => {
      const proposed = this.#core.proposeConfChange(change);
      if (proposed.ok) this.#applier.confChanges.add(proposed.at, waiter);
      else waiter.reject(dropError(proposed.reason, proposed.leader));
    });
    return outcome.result;
  }

  /** Resolves when the peer's log is at most `maxLag` entries behind ours. Only the leader knows. */
  waitCaughtUp(id: NodeId, options: { readonly maxLag?: number; readonly signal?: AbortSignal } = {}): Promise<void> {
    const { maxLag = 16, ...rest } = options;
    return this.#ask(rest, (waiter) => this.#catchUps.push({ id, maxLag, waiter }), Number.POSITIVE_INFINITY);
  }

  /** Hands leadership to `to`, or to the best placed voter; resolves with the new leader. */
  transferLeadership(to?: NodeId): Promise<NodeId> {
    const limitMs = this.#settings.electionTicks * this.#settings.tickMs * 3;
    return this.#ask(
      {},
      (waiter) => {
        const started = this.#core.transferLeadership(to ?? 'best');
        if (started !== 'started') return waiter.reject(dropError(started, this.#core.status().leader));
        this.#transfer?.reject(new TransferFailed());
        this.#transfer = waiter;
      },
      limitMs,
    );
  }

  status(): Status {
    return { ...this.#core.status(), applied: this.#applier.applied.index };
  }

  invariants(): readonly string[] {
    return this.#core.invariants();
  }

  /** Called at every change of role, term or leader, and once now; the returned function ends it. */
  onState(handle: (state: NodeState) => void): () => void {
    this.#stateHandlers.add(handle);
    handle(this.#state);
    return () => void this.#stateHandlers.delete(handle);
  }

  /** Called once when the node stops because something broke; at once if that has already happened. */
  onFault(handle: (fault: Error) => void): void {
    if (this.#fault !== undefined) handle(this.#fault);
    else this.#faultHandlers.push(handle);
  }

  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    this.#settings.transport.setPeers(peers);
  }

  /** Makes this node ask for votes now; for tests and operators. */
  campaign(): void {
    this.#run(() => this.#core.campaign());
  }

  /** Hands leadership over if it can, then stops and closes transport and log. Calling it twice does no harm. */
  close(options: { readonly transfer?: boolean } = {}): Promise<void> {
    this.#closing ??= this.#close(options.transfer ?? true);
    return this.#closing;
  }

  async #close(transfer: boolean): Promise<void> {
    if (transfer) await this.#handOver();
    this.#stop(new NodeClosed());
    await this.#snapshotter.close();
    await this.#applier.close();
    await this.#settings.transport.close();
    await this.#settings.log.close();
  }

  /** A leader that has only just won knows of nobody who could take over; it hears from them within a few ticks. */
  async #handOver(): Promise<void> {
    const { id, runtime, tickMs, electionTicks } = this.#settings;
    for (let attempt = 0; attempt < electionTicks; attempt++) {
      const othersVote = this.#applier.conf.voters.some((voter) => voter !== id);
      if (this.#stopped || !othersVote || this.#core.status().role !== 'leader') return;
      const error = await this.transferLeadership().catch((reason: unknown) => reason);
      if (!(error instanceof ProposalDropped)) return;
      await new Promise<void>((resolve) => runtime.setTimer(tickMs, resolve));
    }
  }

  #waiter<T>(
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
    options: { readonly signal?: AbortSignal },
    limitMs = this.#settings.proposalTimeoutMs,
  ): Waiter<T> {
    return new Waiter(resolve, reject, { deadlineMs: this.#settings.runtime.now() + limitMs, signal: options.signal });
  }

  /** Runs `begin` in the node's next turn, where the core may be called. */
  #ask<T>(
    options: { readonly signal?: AbortSignal },
    begin: (waiter: Waiter<T>) => void,
    limitMs?: number,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiter = this.#waiter(resolve, reject, options, limitMs);
      this.#run(() => {
        if (this.#stopped) waiter.reject(new NodeClosed({ cause: this.#fault }));
        else if (!waiter.settled) begin(waiter);
      });
    });
  }

  // The turn.

  #run(event: () => void): void {
    if (this.#stopped) return event();
    this.#events.push(event);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#settings.runtime.defer(() => {
      this.#scheduled = false;
      if (!this.#stopped) this.#turn();
    });
  }

  #turn(): void {
    try {
      this.#takeEvents();
      this.#takeInbox();
      this.#takeProposals();
      this.#reads.ask();
      this.#emptyCore();
      this.#checkCatchUps();
    } catch (error) {
      this.#fail(error);
    }
  }

  #takeEvents(): void {
    const events = this.#events;
    this.#events = [];
    for (const event of events) event();
    for (const id of this.#unreachable) this.#core.peerUnreachable(id);
    this.#unreachable.clear();
  }

  #receive(messages: readonly Message[]): void {
    if (this.#stopped) return;
    for (const message of messages) {
      if (message.to !== this.#settings.id || message.from === message.to) continue;
      // Losing messages is allowed; holding ever more of them is not.
      if (this.#inbox.length >= inboxMessages) break;
      this.#inbox.push(message);
    }
    this.#schedule();
  }

  #takeInbox(): void {
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const message of inbox) {
      // A snapshot without its bytes is no snapshot: those come through the snapshotter.
      if (message.type !== 'snapshot') this.#core.step(message);
    }
  }

  #takeProposals(): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#queue = [];
    let group: Proposal<R>[] = [];
    let bytes = 0;
    for (const proposal of queue) {
      if (proposal.waiter.settled) continue;
      if (
        bytes + proposal.data.length > this.#settings.limits.maxMessageBytes ||
        group.length >= proposalsPerEntryBatch
      ) {
        this.#proposeGroup(group);
        group = [];
        bytes = 0;
      }
      group.push(proposal);
      bytes += proposal.data.length;
    }
    this.#proposeGroup(group);
  }

  #proposeGroup(group: readonly Proposal<R>[]): void {
    if (group.length === 0) return;
    const proposed = this.#core.propose(group.map((proposal) => proposal.data));
    if (!proposed.ok) {
      for (const { waiter } of group) waiter.reject(dropError(proposed.reason, proposed.leader));
      return;
    }
    let { index } = proposed.at;
    for (const { waiter } of group) {
      this.#applier.proposals.add({ term: proposed.at.term, index }, waiter);
      index += 1;
    }
  }

  #emptyCore(): void {
    let budget = appliesPerTurn;
    for (;;) {
      while (this.#core.hasReady()) this.#handle(this.#core.takeReady());
      if (budget === 0 || !this.#applier.next()) break;
      budget -= 1;
    }
    if (this.#applier.runnable) this.#schedule();
    this.#reads.release(this.#applier.applied.index);
    this.#flush();
    this.#snapshotIfDue();
  }

  #handle(ready: Ready): void {
    if (ready.state !== undefined) this.#changeState(ready.state);
    for (const message of ready.send) this.#post(message);
    if (ready.append !== undefined) this.#write(ready.append);
    if (ready.apply !== undefined) this.#applier.push(ready.apply);
    for (const { token, index } of ready.reads) this.#reads.answered(token, index);
    for (const token of ready.readsFailed) this.#reads.failed(token);
  }

  #post(message: Message): void {
    if (message.type === 'snapshot') return this.#snapshotter.send(message);
    const batch = this.#outgoing.get(message.to);
    if (batch === undefined) this.#outgoing.set(message.to, [message]);
    else batch.push(message);
  }

  #flush(): void {
    if (this.#outgoing.size === 0) return;
    const batches = [...this.#outgoing];
    this.#outgoing.clear();
    for (const [to, batch] of batches) this.#settings.transport.send(to, batch);
  }

  #changeState(state: NonNullable<Ready['state']>): void {
    const { role, term, leader, transferee } = state;
    const old = this.#state;
    this.#state = { role, term, leader };
    if (this.#transfer !== undefined) this.#watchTransfer(this.#transfer, leader, transferee);
    if (old.role === role && old.term === term && old.leader === leader) return;
    for (const handle of this.#stateHandlers) handle(this.#state);
  }

  #watchTransfer(waiter: Waiter<NodeId>, leader: NodeId | 0, transferee: NodeId | 0): void {
    const { id } = this.#settings;
    if (leader === 0) return;
    if (leader !== id) waiter.resolve(leader);
    else if (transferee === 0) waiter.reject(new TransferFailed());
    if (waiter.settled) this.#transfer = undefined;
  }

  #tick(ticks: number): void {
    if (this.#stopped) return;
    const nowMs = this.#settings.runtime.now();
    try {
      for (let i = 0; i < ticks; i++) this.#core.tick();
      this.#applier.expire(nowMs);
      this.#expireOthers(nowMs);
      this.#reads.tick(nowMs, this.#state.leader);
    } catch (error) {
      return this.#fail(error);
    }
    this.#schedule();
  }

  #expireOthers(nowMs: number): void {
    if (this.#transfer !== undefined && this.#transfer.deadlineMs <= nowMs) {
      this.#transfer.reject(new TransferFailed());
      this.#transfer = undefined;
    }
  }

  #checkCatchUps(): void {
    if (this.#catchUps.length === 0) return;
    const { role, leader, progress, lastIndex } = this.#core.status();
    for (const { id, maxLag, waiter } of this.#catchUps) {
      const peer = progress.find((candidate) => candidate.id === id);
      if (role !== 'leader') waiter.reject(new NotLeaderError(leader));
      else if (peer === undefined) waiter.reject(new ProposalDropped('not-member'));
      else if (peer.state === 'replicate' && lastIndex - peer.match <= maxLag) waiter.resolve();
    }
    this.#catchUps = this.#catchUps.filter(({ waiter }) => !waiter.settled);
  }

  // The disk.

  /** Batches become durable in the order given, but one that needs no sync may be answered before its elders. */
  #write(task: AppendTask): void {
    const { hardState, snapshot, entries, mustSync } = task;
    if (snapshot !== undefined) this.#newestSnapshot = Math.max(this.#newestSnapshot, snapshot.index);
    const batch = {
      entries,
      sync: mustSync || snapshot !== undefined,
      ...(hardState === undefined ? {} : { hardState }),
      ...(snapshot === undefined ? {} : { snapshot }),
    };
    const write: Write = { task, done: false };
    this.#writes.push(write);
    this.#settings.log.append(batch).then(
      () => {
        write.done = true;
        this.#run(this.#reportWrites);
      },
      (error: unknown) => this.#fail(error),
    );
  }

  readonly #reportWrites = (): void => {
    while (!this.#stopped && this.#writes[0]?.done === true) {
      const write = this.#writes.shift();
      if (write !== undefined) this.#written(write.task);
    }
  };

  #written(task: AppendTask): void {
    if (task.snapshot !== undefined) this.#log.install(task.snapshot);
    this.#log.append(task.entries);
    this.#core.appended(task);
    for (const message of task.onDurable) this.#post(message);
    if (task.snapshot !== undefined) this.#applier.restore(task.snapshot);
  }

  // Snapshots.

  #snapshotIfDue(): void {
    const { snapshotEveryEntries, snapshotEveryBytes } = this.#settings;
    if (this.#snapshotter.busy || this.#applier.restoring || this.#applier.applied.index <= this.#newestSnapshot)
      return;
    const entries = this.#applier.applied.index - this.#newestSnapshot;
    if (entries < snapshotEveryEntries && this.#applier.bytesSinceSnapshot < snapshotEveryBytes) return;
    this.#applier.bytesSinceSnapshot = 0;
    this.#snapshotter.create(this.#applier.applied, this.#applier.conf).catch((error: unknown) => this.#fail(error));
  }

  async #snapshotTaken(meta: SnapshotMeta): Promise<void> {
    const { log, snapshots, keepEntries } = this.#settings;
    // The leader's snapshot overtook ours.
    if (this.#stopped || meta.index <= this.#newestSnapshot) return;
    this.#newestSnapshot = meta.index;
    await log.append({ snapshot: meta, entries: [], sync: true });
    if (this.#stopped) return;
    const current = this.#log.snapshot();
    if (current !== 'not-ready' && current.index >= meta.index) return;
    this.#log.snapshotTaken(meta);
    this.#log.compact(Math.min(meta.index - keepEntries, this.#snapshotter.oldestSending()));
    await log.compact(meta.index);
    if (this.#newestSnapshot === meta.index) await snapshots.prune(1, meta.id);
  }

  #isStaleSnapshot(message: InstallSnapshot): boolean {
    const { term, commit } = this.#core.status();
    return message.term < term || message.snapshot.index <= commit;
  }

  // The end.

  #fail(error: unknown): void {
    if (this.#stopped) return;
    this.#fault = error instanceof Error ? error : new Error('raft node broke', { cause: error });
    this.#stop(this.#fault);
    for (const handle of this.#faultHandlers) handle(this.#fault);
  }

  #stop(reason: Error): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#ticker.stop();
    const closed = reason instanceof NodeClosed ? reason : new NodeClosed({ cause: reason });
    for (const { waiter } of this.#queue) waiter.reject(closed);
    this.#queue = [];
    this.#applier.failAll(reason);
    for (const { waiter } of this.#catchUps) waiter.reject(closed);
    this.#catchUps = [];
    this.#reads.failAll(closed);
    this.#transfer?.reject(closed);
    // Events of a stopped node run at once: they only answer those who wait.
    const events = this.#events;
    this.#events = [];
    this.#inbox = [];
    this.#outgoing.clear();
    for (const event of events) event();
  }
}
