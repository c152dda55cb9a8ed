/**
 * This manager's member of the Raft group: carries the store's changes through raft-ts and applies what was committed.
 * The only folder that knows raft-ts. Disk, network and time are passed in, so that the simulator runs this very code.
 * What it promises: a proposal resolves only after its entry was applied here; every wait has a limit; a removal that
 * would cost the quorum is refused; every member knows every member's address.
 * What it never does: look into changes, retry a proposal whose outcome is unknown, decide who should be a manager.
 */
import type {
  ConfChange,
  ConfState,
  Entry,
  LogStore,
  NodeState,
  Runtime,
  SnapshotMeta,
  SnapshotStore,
  StateMachine,
  TraceEvent,
  Transport,
} from 'raft-ts';
import { RaftNode } from 'raft-ts';
import type { Clock } from '../../lib/clock.ts';
import { deadline, sleep } from '../../lib/clock.ts';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { RaftMemberInfo } from '../../model/control.ts';
import type { Change } from '../../model/view.ts';
import type { Consensus, Leader } from '../consensus.ts';
import type { Proposer } from '../store/port.ts';
import type { MemoryStore } from '../store/store.ts';
import { AppliedWaiters } from './applied.ts';
import { fromRaft, isConfPending, noLeaderMessage, quorumLossMessage } from './errors.ts';
import { HeardTransport } from './heard.ts';
import type { Member } from './members.ts';
import { encodeContext, isIn, keepsQuorum, Members, membersOf } from './members.ts';

/** Disk, network and time; real ones come from `storage.ts` and `rpc`, simulated ones from the simulator. */
export interface RaftPorts {
  readonly log: LogStore;
  readonly snapshots: SnapshotStore;
  readonly transport: Transport;
  readonly runtime: Runtime;
}

export interface RaftManagerOptions {
  /** This node. Its Raft id was given out by `addMember`, or is 1 for the founder; it is kept by the caller. */
  readonly self: Member;
  /** Gets its proposer from here. */
  readonly store: MemoryStore;
  readonly ports: RaftPorts;
  readonly clock: Clock;
  readonly log: Log;
  /** Founds a group of one; ignored unless the log is empty. */
  readonly bootstrap: boolean;
  /** What the leader said when this node joined; known members of the log go before them. */
  readonly members?: readonly Member[];
  readonly tickMs?: number;
  readonly electionTicks?: number;
  readonly snapshotEveryEntries?: number;
  /** Entries kept behind a snapshot for members that are a little late. */
  readonly keepEntries?: number;
  readonly trace?: (event: TraceEvent) => void;
}

interface ApplyResult {
  readonly version: number;
  readonly applied: boolean;
}

const proposalLimitMs = 5_000;
/** Proposals under way; beyond it callers are told to come back. */
const proposalsMax = 8_192;
const retryMs = 250;
const confChangeTriesMax = 20;
/** A manager that stops waits so long for its successor; those that are left would elect one in about the same time. */
const handOverLimitMs = 1_000;

export class RaftManager implements Proposer, Consensus, StateMachine<ApplyResult> {
  readonly #options: RaftManagerOptions;
  readonly #members: Members;
  readonly #transport: HeardTransport;
  readonly #applied: AppliedWaiters;
  readonly #stop = new AbortController();
  readonly #leadershipHandlers = new Set<(isLeader: boolean, leader: Leader | undefined) => void>();
  readonly #removedHandlers = new Set<() => void>();
  readonly #faultHandlers = new Set<(fault: Error) => void>();
  readonly #promoting = new Set<number>();
  #node: RaftNode<ApplyResult> | undefined;
  #state: NodeState = { role: 'follower', term: 0, leader: 0 };
  #told = '';
  #wasMember = false;
  /** Taken out of the group, and knows it. */
  #removed = false;
  #proposals = 0;
  /** Membership changes of this leader, one after the other. */
  #changes: Promise<unknown> = Promise.resolve();

  static async open(options: RaftManagerOptions): Promise<RaftManager> {
    const manager = new RaftManager(options);
    await manager.#open();
    return manager;
  }

  private constructor(options: RaftManagerOptions) {
    this.#options = options;
    const initial = options.bootstrap ? [options.self] : (options.members ?? []);
    this.#members = new Members(initial);
    this.#transport = new HeardTransport(options.ports.transport, options.ports.runtime);
    this.#applied = new AppliedWaiters(options.clock);
    options.store.setProposer(this);
  }

  async #open(): Promise<void> {
    const { self, ports, bootstrap, tickMs, electionTicks, snapshotEveryEntries, keepEntries, trace } = this.#options;
    const founders = { voters: [self.raftId], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    const node = await RaftNode.open<ApplyResult>({
      id: self.raftId,
      log: ports.log,
      snapshots: ports.snapshots,
      transport: this.#transport,
      runtime: ports.runtime,
      machine: this,
      peers: this.#members.peers(self.raftId),
      proposalTimeoutMs: proposalLimitMs,
      ...(bootstrap ? { bootstrap: founders } : {}),
      ...(tickMs === undefined ? {} : { tickMs }),
      ...(electionTicks === undefined ? {} : { electionTicks }),
      ...(snapshotEveryEntries === undefined ? {} : { snapshotEveryEntries }),
      ...(keepEntries === undefined ? {} : { keepEntries }),
      ...(trace === undefined ? {} : { trace }),
    });
    this.#node = node;
    if (bootstrap && this.#members.conf.voters.length === 0) this.#members.restored(founders, this.#members.list());
    node.setPeers(this.#members.peers(self.raftId)); // a snapshot may know more than the caller did
    node.onFault((fault) => this.#failed(fault));
    node.onState((state) => this.#stateChanged(state));
    this.#noticeMembership();
    // A group of one has nobody to wait for.
    const { voters } = this.#members.conf;
    if (voters.length === 1 && voters[0] === self.raftId) node.campaign();
  }

  // Proposer.

  async propose(changes: readonly Change[], now: number): Promise<{ version: number; applied: boolean }> {
    const data = this.#options.store.encode(changes, now); // before any await: updates are differences to the state now
    if (this.#proposals >= proposalsMax)
      throw new ClusterError('exhausted', 'too many changes are waiting for a majority of the managers');
    this.#proposals += 1;
    try {
      const { result } = await this.#running().propose(data);
      return result;
    } catch (error) {
      throw fromRaft(error);
    } finally {
      this.#proposals -= 1;
    }
  }

  // StateMachine. Called by raft-ts only.

  apply(entries: readonly Entry[]): readonly ApplyResult[] {
    const results = entries.map(({ index, data }) => ({
      version: index,
      applied: this.#options.store.apply(index, data),
    }));
    const last = entries.at(-1);
    if (last !== undefined) this.#applied.reached(last.index);
    return results;
  }

  snapshot(): AsyncIterable<Uint8Array> {
    return this.#options.store.snapshot({ members: this.#members.list() });
  }

  async restore(meta: SnapshotMeta, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { members } = await this.#options.store.restore(chunks);
    this.#members.restored(meta.conf, membersOf(members));
    this.#membersChanged();
    this.#applied.reached(meta.index);
  }

  configured(conf: ConfState, context: Uint8Array | undefined): void {
    this.#members.configured(conf, context);
    this.#membersChanged();
  }

  // Consensus.

  isLeader(): boolean {
    return this.#state.role === 'leader' && !this.#stop.signal.aborted;
  }

  leader(): Leader | undefined {
    const member = this.#members.get(this.#state.leader);
    // Nobody tells a removed member of later leaders, nor of anything else: its copy is not to be read any more.
    const gone = this.#removed || this.#stop.signal.aborted;
    return member === undefined || gone ? undefined : { nodeId: member.nodeId, addr: member.addr };
  }

  onLeadership(handle: (isLeader: boolean, leader: Leader | undefined) => void): () => void {
    const own: typeof handle = (isLeader, leader) => handle(isLeader, leader);
    this.#leadershipHandlers.add(own);
    return () => void this.#leadershipHandlers.delete(own);
  }

  /** Called once this member was taken out of the group: nothing will reach it any more. */
  onRemoved(handle: () => void): () => void {
    this.#removedHandlers.add(handle);
    return () => void this.#removedHandlers.delete(handle);
  }

  /** As of the last membership entry that reached this node. */
  isMember(): boolean {
    return isIn(this.#members.conf, this.#options.self.raftId);
  }

  /** Called when disk, state machine or an invariant broke: this member has stopped for good. */
  onFault(handle: (fault: Error) => void): () => void {
    this.#faultHandlers.add(handle);
    return () => void this.#faultHandlers.delete(handle);
  }

  async readBarrier(): Promise<void> {
    await this.#running()
      .readBarrier()
      .catch((error: unknown) => {
        throw fromRaft(error);
      });
  }

  waitApplied(version: number, limitMs: number): Promise<void> {
    return this.#applied.wait(version, limitMs);
  }

  members(): readonly RaftMemberInfo[] {
    return this.#members.list().map((member) => ({
      ...member,
      leader: member.raftId === this.#state.leader,
      reachability: this.#reachability(member),
    }));
  }

  /**
   * Adds a node that keeps up without a vote; it gets its vote as soon as it has caught up, whoever leads by then. The
   * node must start its member only with the id given here. A node that was a member before gets a new id: it may have
   * lost its log, and with it the memory of its votes.
   */
  addMember(nodeId: string, addr: string): Promise<{ raftId: number }> {
    return this.#inTurn(async () => {
      this.#assertLeader();
      if (nodeId === this.#options.self.nodeId)
        throw new ClusterError('failed_precondition', 'this node leads the group already');
      if (addr === '') throw new ClusterError('invalid', 'a manager needs an address that the others can reach');
      await this.#remove(nodeId);
      const raftId = await this.#newRaftId();
      const context = encodeContext({ raftId, nodeId, addr });
      await this.#change({ transition: 'auto', ops: [{ op: 'learner', id: raftId }], context });
      return { raftId };
    });
  }

  /** Does nothing for a node that is no member. */
  removeMember(nodeId: string): Promise<void> {
    return this.#inTurn(async () => {
      this.#assertLeader();
      await this.#remove(nodeId);
    });
  }

  /** To the voter that is heard and furthest along. Errors: `unavailable`. */
  async transferLeadership(): Promise<void> {
    this.#assertLeader();
    const { progress, conf } = this.#running().status();
    const fit = progress.filter(
      ({ id }) => id !== this.#options.self.raftId && conf.voters.includes(id) && this.#isHeard(id),
    );
    const [best] = fit.sort((a, b) => b.match - a.match || a.id - b.id);
    if (best === undefined) throw new ClusterError('unavailable', 'no other manager can take over the leadership');
    await this.#running()
      .transferLeadership(best.id)
      .catch((error: unknown) => {
        throw fromRaft(error);
      });
  }

  /** Hands leadership over if it can, then stops. Whoever waits is told. Calling it twice does no harm. */
  async close(options: { readonly transfer?: boolean } = {}): Promise<void> {
    const node = this.#node;
    if (node === undefined) return;
    if ((options.transfer ?? true) && this.isLeader()) {
      const late = () => new ClusterError('deadline', 'nobody took over the leadership in time');
      await deadline(this.#options.clock, handOverLimitMs, this.transferLeadership(), late).catch(() => {});
    }
    await node.close({ transfer: false });
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(new ClusterError('unavailable', 'this manager is stopping'));
    this.#applied.close(new ClusterError('unavailable', 'this manager is stopping'));
    this.#tell();
  }

  /** For checkers and operators. */
  status(): ReturnType<RaftNode<ApplyResult>['status']> {
    return this.#running().status();
  }

  invariants(): readonly string[] {
    return this.#running().invariants();
  }

  #running(): RaftNode<ApplyResult> {
    if (this.#node === undefined || this.#stop.signal.aborted)
      throw new ClusterError('unavailable', 'this manager is stopping');
    return this.#node;
  }

  #assertLeader(): void {
    if (!this.isLeader()) throw new ClusterError('unavailable', noLeaderMessage);
  }

  // Membership.

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#changes.then(work).catch((error: unknown) => {
      throw fromRaft(error);
    });
    this.#changes = result.catch(() => {});
    return result;
  }

  async #remove(nodeId: string): Promise<void> {
    const member = this.#members.byNodeId(nodeId);
    if (member === undefined) return;
    const answers = (id: number) => id === this.#options.self.raftId || this.#isHeard(id);
    if (!keepsQuorum(this.#members.conf, member.raftId, answers))
      throw new ClusterError('failed_precondition', quorumLossMessage);
    await this.#change({ transition: 'auto', ops: [{ op: 'remove', id: member.raftId }] });
  }

  /** Ids come from the replicated cluster object: none is ever given out twice, whoever leads. */
  async #newRaftId(): Promise<number> {
    const known = Math.max(...this.#members.list().map((member) => member.raftId));
    return this.#options.store.transact((tx) => {
      const cluster = tx.cluster();
      if (cluster === undefined) throw new ClusterError('unavailable', 'the cluster is not set up yet');
      const raftId = Math.max(cluster.nextRaftId, known + 1);
      tx.update('cluster', { ...cluster, nextRaftId: raftId + 1 });
      return raftId;
    });
  }

  /** Raft takes on one membership change at a time: one that an earlier leader left under way is waited for. */
  async #change(change: ConfChange): Promise<ConfState> {
    const { clock } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#running().changeMembers(change);
      } catch (error) {
        if (!isConfPending(error) || attempt >= confChangeTriesMax) throw error;
        await sleep(clock, retryMs, this.#stop.signal);
      }
    }
  }

  #membersChanged(): void {
    this.#node?.setPeers(this.#members.peers(this.#options.self.raftId));
    this.#noticeMembership();
    this.#tell();
    this.#promoteLearners();
  }

  #noticeMembership(): void {
    const isMember = this.isMember();
    const removed = this.#wasMember && !isMember;
    this.#wasMember = isMember;
    this.#removed = !isMember && (removed || this.#removed);
    if (removed) for (const handle of [...this.#removedHandlers]) handle();
  }

  #promoteLearners(): void {
    if (!this.isLeader() || this.#node === undefined) return;
    for (const raftId of this.#members.conf.learners) {
      if (this.#promoting.has(raftId)) continue;
      this.#promoting.add(raftId);
      void this.#promote(raftId).finally(() => this.#promoting.delete(raftId));
    }
  }

  /** Goes on until the learner votes or is gone, or this node leads no more: the next leader takes over then. */
  async #promote(raftId: number): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    while (this.isLeader() && this.#members.conf.learners.includes(raftId)) {
      try {
        await this.#running().waitCaughtUp(raftId, { signal });
        await this.#inTurn(async () => {
          if (!this.#members.conf.learners.includes(raftId)) return;
          await this.#change({ transition: 'auto', ops: [{ op: 'voter', id: raftId }] });
        });
      } catch (error) {
        if (signal.aborted) return;
        log.debug('promotion of a new manager has to wait', { raftId, reason: messageOf(error) });
        await sleep(clock, retryMs, signal).catch(() => {});
      }
    }
  }

  #isHeard(raftId: number): boolean {
    const silence = this.#transport.silenceMs(raftId);
    return silence !== undefined && silence <= this.#silenceLimitMs();
  }

  /** Twice the shortest election timeout: as long as the leader itself trusts a silent peer. */
  #silenceLimitMs(): number {
    return (this.#options.electionTicks ?? 10) * (this.#options.tickMs ?? 100) * 2;
  }

  /** The leader hears everyone. Others hear only the leader, and know of the rest what the leader wrote into the store. */
  #reachability(member: Member): RaftMemberInfo['reachability'] {
    if (member.raftId === this.#options.self.raftId) return 'reachable';
    if (this.isLeader() || member.raftId === this.#state.leader)
      return this.#isHeard(member.raftId) ? 'reachable' : 'unreachable';
    const state = this.#options.store.view.get('node', member.nodeId)?.status.state;
    if (state === 'ready') return 'reachable';
    return state === 'down' ? 'unreachable' : 'unknown';
  }

  // Events.

  #stateChanged(state: NodeState): void {
    const lost = this.#state.role === 'leader' && state.role === 'leader' && state.term !== this.#state.term;
    if (lost) {
      // Lost and won again within one turn: whoever leads must notice, the time between belonged to someone else.
      this.#state = { role: 'follower', term: state.term, leader: 0 };
      this.#tell();
    }
    this.#state = state;
    this.#tell();
    this.#promoteLearners();
  }

  /** Tells the handlers when what they were told last no longer holds. */
  #tell(): void {
    const isLeader = this.isLeader();
    const leader = this.leader();
    const now = JSON.stringify([isLeader, leader]);
    if (now === this.#told) return;
    this.#told = now;
    for (const handle of [...this.#leadershipHandlers]) handle(isLeader, leader);
  }

  #failed(fault: Error): void {
    this.#options.log.error('raft member stopped', { reason: fault });
    this.#applied.close(new ClusterError('unavailable', 'this manager has stopped', { cause: fault }));
    this.#state = { role: 'follower', term: this.#state.term, leader: 0 };
    this.#tell();
    for (const handle of [...this.#faultHandlers]) handle(fault);
  }
}
