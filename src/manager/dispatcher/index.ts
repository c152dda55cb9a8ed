/**
 * The dispatcher: one session per agent, on the leader. It tells each node its tasks, and the secrets and configs they need;
 * takes in what the nodes report; and decides which nodes are up, from their beats alone. A broken stream marks nothing: the node
 * has until its grace ends to come back.
 * Work is driven by commits and messages; nothing is polled. It never moves a task's desired state and never places one.
 * On stop every session is sent elsewhere; nothing about nodes is remembered beyond the store.
 */
import type { Clock } from '../../lib/clock.ts';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import { Loop } from '../../lib/loop.ts';
import { Pace } from '../../lib/pace.ts';
import type { Random } from '../../lib/random.ts';
import type { Duplex } from '../../lib/stream.ts';
import type { AgentMessage, ManagerMessage, ManagerPeer, TaskReport } from '../../model/assignment.ts';
import { nodeGraceMs } from '../../model/cluster-labels.ts';
import { nanosToMs } from '../../model/defaults.ts';
import type { Node, NodeDescription } from '../../model/objects.ts';
import type { ChangeEvent, ClusterView } from '../../model/view.ts';
import type { Identity } from '../../rpc/port.ts';
import type { CommitEvent, LeaderLoop, Store } from '../store/port.ts';
import { Assignments } from './assignments.ts';
import { StatusIntake } from './intake.ts';
import { Liveness } from './liveness.ts';
import { Networks } from './network/index.ts';
import { NodeWriter } from './node-writer.ts';
import { type LogMessage, type NetworkAck, Session, type SessionEvents } from './session.ts';

export type { LogMessage } from './session.ts';

export interface DispatcherOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The managers that agents may turn to. */
  readonly managers: () => readonly ManagerPeer[];
  readonly limits?: Partial<DispatcherLimits>;
}

export interface DispatcherLimits {
  /** A node is silent after this many periods. */
  readonly missedBeats: number;
  /** How long nodes have to register with a new leader. */
  readonly registerWindowMs: number;
  /** How long a node that said it stops may be away. */
  readonly leaveGraceMs: number;
  /** The period stretches in proportion beyond this many nodes… */
  readonly nodesPerPeriod: number;
  /** …up to this many times. */
  readonly stretchMax: number;
  /** Registrations and new descriptions of one node: this many at once, then one per `registrationMs`. */
  readonly registrationBurst: number;
  readonly registrationMs: number;
  readonly helloLimitMs: number;
  /** Task statuses that wait to be stored, over all nodes. */
  readonly waitingStatusesMax: number;
  /** Streams that have not said hello yet. */
  readonly unregisteredMax: number;
  /** Of them, from one node: an agent opens one at a time. */
  readonly unregisteredPerNodeMax: number;
}

export const defaultDispatcherLimits: DispatcherLimits = {
  missedBeats: 3,
  registerWindowMs: 6_000,
  leaveGraceMs: 30_000,
  nodesPerPeriod: 500,
  stretchMax: 10,
  registrationBurst: 10,
  registrationMs: 1_000,
  helloLimitMs: 5_000,
  waitingStatusesMax: 200_000,
  unregisteredMax: 5_000,
  unregisteredPerNodeMax: 3,
};

/** What the log broker needs of the sessions. */
export interface NodeSessions {
  /** False when the node has no session. */
  sendTo(nodeId: string, message: ManagerMessage): boolean;
  onLog(handle: (nodeId: string, message: LogMessage) => void): () => void;
  /** Called when a node has registered, when its session is gone (closed or replaced), and at the end of everything. */
  onSessions(handle: (change: SessionChange) => void): () => void;
}

export type SessionChange =
  | { readonly kind: 'opened' | 'ended'; readonly nodeId: string }
  | { readonly kind: 'stopped' };

export interface Dispatcher extends LeaderLoop, NodeSessions {
  /** A new stream from an authenticated node. */
  accept(stream: Duplex<ManagerMessage, AgentMessage>, identity: Identity, peerAddress: string): void;
  sessionCount(): number;
}

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  return new StoreDispatcher(options);
}

interface Registered {
  readonly session: Session;
  readonly assignments: Assignments;
  readonly dirty: Set<string>;
  role: Node['role'];
  heartbeatMs: number;
}

const periodMinMs = 100;
const periodMaxMs = 60_000;
/** Nodes that are told their tasks before others have a turn. */
const toldPerTurn = 200;

class StoreDispatcher implements Dispatcher, SessionEvents {
  readonly name = 'dispatcher';
  readonly #options: DispatcherOptions;
  readonly #limits: DispatcherLimits;
  readonly #liveness: Liveness;
  readonly #writer: NodeWriter;
  readonly #intake: StatusIntake;
  readonly #networks: Networks;
  readonly #push: Loop;
  readonly #nodes = new Map<string, Registered>();
  /** Streams before their hello. */
  readonly #unregistered = new Set<Session>();
  readonly #unregisteredOf = new Map<string, number>();
  readonly #registrations = new Map<string, { credit: number; at: number }>();
  /** Nodes whose assignments may have changed since the last push. */
  readonly #dirty = new Set<string>();
  readonly #logHandlers = new Set<(nodeId: string, message: LogMessage) => void>();
  readonly #sessionHandlers = new Set<(change: SessionChange) => void>();
  #networksDirty = false;
  #managersDirty = false;
  #managersSent = '';
  #running = false;
  #unsubscribe = () => {};

  constructor(options: DispatcherOptions) {
    const { store, clock, log } = options;
    this.#options = options;
    this.#limits = { ...defaultDispatcherLimits, ...options.limits };
    this.#liveness = new Liveness(clock, (nodeId) => this.#silent(nodeId));
    this.#writer = new NodeWriter(store, { clock, log });
    this.#intake = new StatusIntake({ store, clock, log, waitingMax: this.#limits.waitingStatusesMax });
    this.#networks = new Networks({
      view: store.view,
      clock,
      send: (nodeId, set) => this.sendTo(nodeId, { kind: 'network', set }),
      writeProblems: (nodeId, networkProblems) => this.#writer.write(nodeId, { networkProblems }),
      released: (taskId, nodeId) => {
        this.#taskChanged(nodeId, taskId);
        this.#push.trigger();
      },
    });
    this.#push = new Loop(
      clock,
      () => this.#pushChanges(),
      (error) => log.error('pushing assignments', { error }),
    );
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#unsubscribe = this.#options.store.subscribe((commit) => this.#record(commit));
    this.#networks.start();
    // The sessions were the last leader's: whoever was thought alive has one short window to register here.
    for (const node of this.#options.store.view.list('node')) {
      const { state } = node.status;
      if (state === 'ready')
        this.#liveness.watch(node.id, Math.max(this.#limits.registerWindowMs, this.#graceMs(this.#periodMs())));
      else if (state === 'disconnected') this.#liveness.watch(node.id, this.#limits.leaveGraceMs);
    }
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#unsubscribe();
    this.#liveness.clear();
    this.#networks.stop();
    for (const session of [...this.#unregistered, ...[...this.#nodes.values()].map((node) => node.session)]) {
      session.send({ kind: 'redirect', leader: null });
      session.close();
    }
    this.#dirty.clear();
    this.#tell({ kind: 'stopped' });
    await Promise.all([this.#push.stop(), this.#intake.stop(), this.#writer.stop()]);
  }

  accept(stream: Duplex<ManagerMessage, AgentMessage>, identity: Identity, peerAddress: string): void {
    if (!this.#running) {
      stream.send({ kind: 'redirect', leader: null });
      stream.close();
      return;
    }
    const { clock, store } = this.#options;
    if (isRemovedNode(store.view, identity.nodeId)) {
      tellRemoved(stream);
      return;
    }
    const refusal = this.#refusal(identity.nodeId);
    if (refusal !== undefined) {
      stream.close(refusal);
      return;
    }
    this.#unregisteredOf.set(identity.nodeId, (this.#unregisteredOf.get(identity.nodeId) ?? 0) + 1);
    this.#unregistered.add(
      new Session({ stream, identity, peerAddress, clock, helloLimitMs: this.#limits.helloLimitMs, events: this }),
    );
  }

  sessionCount(): number {
    return this.#nodes.size;
  }

  sendTo(nodeId: string, message: ManagerMessage): boolean {
    return this.#nodes.get(nodeId)?.session.send(message) ?? false;
  }

  onLog(handle: (nodeId: string, message: LogMessage) => void): () => void {
    this.#logHandlers.add(handle);
    return () => this.#logHandlers.delete(handle);
  }

  onSessions(handle: (change: SessionChange) => void): () => void {
    this.#sessionHandlers.add(handle);
    return () => this.#sessionHandlers.delete(handle);
  }

  // What sessions hear.

  hello(session: Session, description: NodeDescription, addr: string): void {
    this.#heard(session);
    const { nodeId } = session;
    const { store, random, log } = this.#options;
    if (isRemovedNode(store.view, nodeId)) return tellRemoved(session);
    const refusal = this.#refusal(nodeId);
    if (refusal !== undefined) throw refusal;
    this.#admit(nodeId);
    const node = store.view.get('node', nodeId);
    if (node === undefined) throw notFound(nodeId);
    this.#nodes
      .get(nodeId)
      ?.session.close(new ClusterError('cancelled', 'replaced by a newer session of the same node'));
    const heartbeatMs = this.#periodMs();
    const sets = this.#networks.register(nodeId);
    const assignments = new Assignments(nodeId, (taskId) => this.#networks.holds(taskId));
    this.#nodes.set(nodeId, { session, assignments, dirty: new Set(), role: node.role, heartbeatMs });
    this.#liveness.watch(nodeId, this.#graceMs(heartbeatMs));
    this.#writer.write(nodeId, {
      state: 'ready',
      message: '',
      addr: addressOf(addr, session.peerAddress),
      description,
    });
    session.send({ kind: 'welcome', session: newId(random), heartbeatMs });
    session.send({ kind: 'managers', peers: this.#options.managers() });
    session.send({ kind: 'role', role: node.role });
    for (const set of sets) session.send({ kind: 'network', set });
    for (const set of assignments.full(store.view)) session.send({ kind: 'assignments', set });
    this.#tell({ kind: 'opened', nodeId });
    log.debug('node registered', { node: nodeId, addr: session.peerAddress });
  }

  describe(session: Session, description: NodeDescription): void {
    if (this.#alive(session) === undefined) return;
    this.#admit(session.nodeId); // each may be an entry of the log
    this.#writer.write(session.nodeId, { state: 'ready', message: '', description });
  }

  beat(session: Session): void {
    const node = this.#alive(session);
    if (node === undefined) return;
    node.heartbeatMs = this.#periodMs();
    this.#liveness.touch(session.nodeId, this.#graceMs(node.heartbeatMs));
    session.send({ kind: 'beatAck', heartbeatMs: node.heartbeatMs });
  }

  leaving(session: Session): void {
    if (this.#alive(session) === undefined) return;
    this.#liveness.watch(session.nodeId, this.#limits.leaveGraceMs);
    this.#writer.write(session.nodeId, { state: 'disconnected', message: 'the daemon was stopped' });
    session.close();
  }

  status(session: Session, reports: readonly TaskReport[]): void {
    if (this.#alive(session) === undefined) return;
    const done: { taskId: string; state: number }[] = [];
    this.#intake.add(session.nodeId, reports, ({ taskId, status }) => {
      // Acknowledgements of one commit are told together.
      if (done.length === 0) {
        this.#options.clock.defer(() => session.send({ kind: 'statusAck', reports: done.splice(0) }));
      }
      done.push({ taskId, state: status.state });
    });
  }

  networkAck(session: Session, { version, problems }: NetworkAck): void {
    if (this.#alive(session) === undefined) return;
    this.#networks.acknowledged(session.nodeId, version, problems);
  }

  log(session: Session, message: LogMessage): void {
    if (this.#alive(session) === undefined) return;
    for (const handle of this.#logHandlers) handle(session.nodeId, message);
  }

  closed(session: Session, error: Error | undefined): void {
    this.#heard(session);
    if (this.#nodes.get(session.nodeId)?.session !== session) return;
    this.#nodes.delete(session.nodeId);
    this.#networks.left(session.nodeId);
    if (error !== undefined)
      this.#options.log.debug('session ended', { node: session.nodeId, reason: messageOf(error) });
    this.#tell({ kind: 'ended', nodeId: session.nodeId });
  }

  /** It has said hello, or never will. */
  #heard(session: Session): void {
    if (!this.#unregistered.delete(session)) return;
    const left = (this.#unregisteredOf.get(session.nodeId) ?? 1) - 1;
    if (left > 0) this.#unregisteredOf.set(session.nodeId, left);
    else this.#unregisteredOf.delete(session.nodeId);
  }

  #tell(change: SessionChange): void {
    for (const handle of [...this.#sessionHandlers]) handle(change);
  }

  #alive(session: Session): Registered | undefined {
    const node = this.#nodes.get(session.nodeId);
    if (node?.session !== session) return undefined;
    this.#liveness.touch(session.nodeId, this.#graceMs(node.heartbeatMs));
    return node;
  }

  #refusal(nodeId: string): ClusterError | undefined {
    const { view } = this.#options.store;
    if (view.get('node', nodeId) === undefined) return notFound(nodeId);
    if (this.#unregistered.size >= this.#limits.unregisteredMax)
      return new ClusterError('exhausted', 'too many agents are registering');
    if ((this.#unregisteredOf.get(nodeId) ?? 0) >= this.#limits.unregisteredPerNodeMax)
      return new ClusterError('exhausted', `node ${nodeId} opens too many sessions`);
    return undefined;
  }

  /** Takes one registration off the node's credit. */
  #admit(nodeId: string): void {
    const { registrationBurst, registrationMs } = this.#limits;
    const now = this.#options.clock.monotonic();
    const before = this.#registrations.get(nodeId) ?? { credit: registrationBurst, at: now };
    const credit = Math.min(registrationBurst, before.credit + (now - before.at) / registrationMs);
    if (credit < 1) throw new ClusterError('exhausted', `node ${nodeId} registers too often`);
    this.#registrations.set(nodeId, { credit: credit - 1, at: now });
  }

  #periodMs(): number {
    const { view } = this.#options.store;
    const set = view.cluster()?.spec.Dispatcher.HeartbeatPeriod;
    const periodMs = Math.min(periodMaxMs, Math.max(periodMinMs, nanosToMs(set === undefined || set <= 0 ? 1e9 : set)));
    const stretch = Math.min(this.#limits.stretchMax, Math.max(1, view.count('node') / this.#limits.nodesPerPeriod));
    return Math.round(periodMs * stretch);
  }

  /** The silence after which a node is down: the cluster's setting, but never less than two beats. */
  #graceMs(heartbeatMs: number): number {
    const set = nodeGraceMs(this.#options.store.view.cluster()?.spec.Labels);
    return set === undefined ? heartbeatMs * this.#limits.missedBeats : Math.max(set, 2 * heartbeatMs);
  }

  #silent(nodeId: string): void {
    const node = this.#options.store.view.get('node', nodeId);
    if (node === undefined) return;
    this.#writer.write(nodeId, { state: 'down', message: 'heartbeat failure' });
    this.#options.log.warn('node is down: heartbeat failure', { node: nodeId, hostname: node.description?.hostname });
    this.#nodes.get(nodeId)?.session.close(new ClusterError('deadline', 'heartbeat failure'));
  }

  // What the store says.

  #record(commit: CommitEvent): void {
    for (const event of commit.events) this.#recordEvent(event);
    if (this.#dirty.size > 0 || this.#managersDirty || this.#networksDirty) this.#push.trigger();
  }

  #recordEvent(event: ChangeEvent): void {
    if (this.#networks.record(event)) this.#networksDirty = true;
    if (event.table === 'task') {
      const id = event.after?.id ?? event.before?.id ?? '';
      this.#taskChanged(event.after?.nodeId ?? '', id);
      if (event.before !== undefined && event.before.nodeId !== event.after?.nodeId)
        this.#taskChanged(event.before.nodeId, id);
    } else if (event.table === 'node') {
      const id = event.after?.id ?? event.before?.id ?? '';
      if (event.before?.manager?.addr !== event.after?.manager?.addr) this.#managersDirty = true;
      if (event.after === undefined) this.#nodeRemoved(id);
      else if (event.before?.role !== event.after.role) this.#dirty.add(id);
    } else if (event.table === 'cluster') {
      this.#managersDirty = true;
    }
  }

  #taskChanged(nodeId: string, taskId: string): void {
    const node = nodeId === '' ? undefined : this.#nodes.get(nodeId);
    if (node === undefined) return;
    node.dirty.add(taskId);
    this.#dirty.add(nodeId);
  }

  #nodeRemoved(nodeId: string): void {
    this.#liveness.forget(nodeId);
    this.#registrations.delete(nodeId);
    const session = this.#nodes.get(nodeId)?.session;
    if (session === undefined) return;
    // Out of the store's commit handler, which must only record.
    this.#options.clock.defer(() => tellRemoved(session));
  }

  async #pushChanges(): Promise<void> {
    const { clock } = this.#options;
    if (this.#managersDirty) this.#pushManagers();
    if (this.#networksDirty) this.#pushNetworks();
    const nodeIds = [...this.#dirty];
    this.#dirty.clear();
    await new Pace(clock, toldPerTurn).each(nodeIds, (nodeId) => this.#pushTo(nodeId));
  }

  #pushTo(nodeId: string): void {
    const { view } = this.#options.store;
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    this.#pushRole(node, view.get('node', nodeId));
    const taskIds = [...node.dirty];
    node.dirty.clear();
    for (const set of node.assignments.incremental(view, taskIds)) node.session.send({ kind: 'assignments', set });
  }

  /** Before the tasks: what is taken out of the maps holds back their stop. */
  #pushNetworks(): void {
    this.#networksDirty = false;
    this.#networks.push();
  }

  #pushRole(registered: Registered, node: Node | undefined): void {
    if (node === undefined || node.role === registered.role) return;
    registered.role = node.role;
    registered.session.send({ kind: 'role', role: registered.role });
  }

  #pushManagers(): void {
    this.#managersDirty = false;
    const peers = this.#options.managers();
    const text = JSON.stringify(peers);
    if (text === this.#managersSent) return;
    this.#managersSent = text;
    for (const { session } of this.#nodes.values()) session.send({ kind: 'managers', peers });
  }
}

/** Node ids are never used twice: what was removed stays removed. */
export function isRemovedNode(view: ClusterView, nodeId: string): boolean {
  return view.cluster()?.removedNodes[nodeId] !== undefined;
}

/** The one answer that makes an agent take everything away. */
export function tellRemoved(stream: { send(message: ManagerMessage): boolean; close(): void }): void {
  stream.send({ kind: 'removed' });
  stream.close();
}

/** The IP address the node is reached at: what it advertises, unless it leaves that to us. */
function addressOf(advertised: string, seen: string): string {
  return hostOf(advertised) || hostOf(seen);
}

function hostOf(address: string): string {
  const bracketed = /^\[(.+)\](?::\d+)?$/.exec(address)?.[1];
  if (bracketed !== undefined) return bracketed;
  return address.split(':').length === 2 ? address.slice(0, address.indexOf(':')) : address;
}

function notFound(nodeId: string): ClusterError {
  return new ClusterError('not_found', `node ${nodeId} not found`);
}
