/** What other nodes may ask of this manager. Only the leader acts; any other says who leads, or passes on. */
import type { Clock } from '../lib/clock.ts';
import { ClusterError } from '../lib/errors.ts';
import type { Duplex } from '../lib/stream.ts';
import type { AgentMessage, ManagerMessage } from '../model/assignment.ts';
import type { ControlMethod, ControlRequest } from '../model/control.ts';
import type {
  Dialer,
  Identity,
  IssuedCertificate,
  IssueRequest,
  LogsAsk,
  LogsMessage,
  ManagerService,
  RaftJoinRequest,
  RaftJoinResponse,
} from '../rpc/port.ts';
import { type Consensus, noLeaderMessage } from './consensus.ts';
import { takeOutNode } from './controlapi/node.ts';
import { isRemovedNode, tellRemoved } from './dispatcher/index.ts';
import { serveLogs } from './log-stream.ts';
import type { Leadership } from './manager.ts';
import type { Store } from './store/port.ts';

export interface PeerServiceOptions {
  readonly nodeId: string;
  readonly store: Store;
  readonly consensus: Consensus;
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly leadership: () => Leadership;
}

export class PeerService implements ManagerService {
  readonly #options: PeerServiceOptions;

  constructor(options: PeerServiceOptions) {
    this.#options = options;
  }

  async rootCa(): Promise<{ caPem: string }> {
    const cluster = this.#options.store.view.cluster();
    if (cluster === undefined) throw new ClusterError('unavailable', 'this manager has not caught up yet');
    return { caPem: cluster.rootCa.certPem };
  }

  async issueCertificate(request: IssueRequest, caller: Identity | undefined): Promise<IssuedCertificate> {
    const { consensus, dialer } = this.#options;
    if (this.#leads()) return this.#options.leadership().ca.issue(request, caller);
    const leader = consensus.leader();
    // A renewal is known by its caller's certificate, which does not travel on: such a caller has to come to the leader itself.
    if (leader === undefined || request.token === '') throw new ClusterError('unavailable', noLeaderMessage);
    const peer = dialer.dial(leader.addr);
    return peer.issueCertificate(request).finally(() => peer.close());
  }

  session(stream: Duplex<ManagerMessage, AgentMessage>, caller: Identity, peerAddress: string): void {
    // Any manager may say it: a removal is final, however old this copy is.
    if (isRemovedNode(this.#options.store.view, caller.nodeId)) return tellRemoved(stream);
    if (this.#leads()) {
      this.#options.leadership().dispatcher.accept(stream, caller, peerAddress);
      return;
    }
    const leader = this.#options.consensus.leader();
    stream.send({
      kind: 'redirect',
      leader: leader === undefined || leader.nodeId === this.#options.nodeId ? null : leader,
    });
    stream.close();
  }

  async call(
    method: ControlMethod,
    request: unknown,
    caller: Identity,
  ): Promise<{ response: unknown; version: number }> {
    const { leadership, store } = this.#options;
    const { control } = leadership();
    this.#assertManager(caller);
    // Checked in depth by the control API: the other end is a manager, but may be of another version.
    const response = await control.call(method, request as ControlRequest<ControlMethod>);
    return { response, version: store.view.version };
  }

  async joinRaft(request: RaftJoinRequest, caller: Identity): Promise<RaftJoinResponse> {
    const { consensus, store } = this.#options;
    const leader = consensus.leader();
    if (leader === undefined) throw new ClusterError('unavailable', noLeaderMessage);
    if (!this.#leads()) return { redirect: leader.addr, raftId: 0, members: [] };
    this.#options.leadership();
    this.#assertManager(caller);
    if (request.raftId !== undefined) return this.#isMember(request.raftId, caller);
    this.#assertStays(caller);
    const { raftId } = await consensus.addMember(caller.nodeId, request.addr);
    const stays = await store.transact((tx) => {
      const node = tx.get('node', caller.nodeId);
      if (node?.role !== 'manager' || node.spec.Role !== 'manager') return false;
      tx.update('node', { ...node, manager: { raftId, addr: request.addr } });
      return true;
    });
    if (!stays) {
      await consensus.removeMember(caller.nodeId);
      this.#assertStays(caller);
      throw new ClusterError('permission_denied', `node ${caller.nodeId} is not a manager of this cluster any more`);
    }
    return { raftId, members: this.#members() };
  }

  async #isMember(raftId: number, caller: Identity): Promise<RaftJoinResponse> {
    await this.#options.consensus.readBarrier(); // a leader that was deposed without knowing it must not send anyone away
    const members = this.#members();
    const known = members.some((member) => member.raftId === raftId && member.nodeId === caller.nodeId);
    if (known) return { raftId, members };
    // Taken out because it is on its way to be a worker: it will be told so, and must not come back meanwhile.
    this.#assertStays(caller);
    return { raftId: 0, members: [] };
  }

  #members(): RaftJoinResponse['members'] {
    const { consensus } = this.#options;
    return consensus.members().map(({ raftId, nodeId, addr }) => ({ raftId, nodeId, addr }));
  }

  async leaveRaft(request: { nodeId: string }, caller: Identity): Promise<void> {
    if (request.nodeId !== caller.nodeId)
      throw new ClusterError('permission_denied', 'a manager can only take itself out');
    this.#options.leadership();
    const { consensus, store } = this.#options;
    await consensus.removeMember(caller.nodeId);
    // Agents hear of managers when the store's nodes change.
    await store.transact((tx) => {
      const node = tx.get('node', caller.nodeId);
      if (node?.manager === undefined) return;
      const { manager: _, ...rest } = node;
      tx.update('node', rest);
    });
  }

  async withdraw(caller: Identity): Promise<{ redirect?: string }> {
    const { consensus, store } = this.#options;
    const leader = consensus.leader();
    if (leader === undefined) throw new ClusterError('unavailable', noLeaderMessage);
    if (!this.#leads()) return { redirect: leader.addr };
    this.#options.leadership();
    await store.transact((tx) => {
      const node = tx.get('node', caller.nodeId);
      if (node === undefined) return;
      if (node.description !== undefined) {
        throw new ClusterError('failed_precondition', `node ${caller.nodeId} has joined: a manager has to remove it`);
      }
      takeOutNode(tx, caller.nodeId); // a member of Raft that it became meanwhile is taken out by the roles loop
    });
    return {};
  }

  logs(stream: Duplex<LogsMessage, LogsAsk>, caller: Identity): void {
    serveLogs(stream, this.#options.clock, ({ selector, query }, signal) => {
      const { broker } = this.#options.leadership();
      this.#assertManager(caller);
      return broker.logs(selector, query, signal);
    });
  }

  /** A certificate outlives a demotion: the leader's store knows better. */
  #assertManager(caller: Identity): void {
    if (this.#options.store.view.get('node', caller.nodeId)?.role === 'manager') return;
    throw new ClusterError('permission_denied', `node ${caller.nodeId} is not a manager of this cluster`);
  }

  /** A demotion takes the member out of Raft before it changes the role: in between it must not join again. */
  #assertStays(caller: Identity): void {
    if (this.#options.store.view.get('node', caller.nodeId)?.spec.Role === 'manager') return;
    throw new ClusterError('permission_denied', `node ${caller.nodeId} is being demoted`);
  }

  #leads(): boolean {
    try {
      this.#options.leadership();
      return true;
    } catch {
      return false;
    }
  }
}
