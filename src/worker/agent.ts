/**
 * The worker side of a node. It keeps a session with the leader, runs the tasks it is told to, and reports what becomes of them.
 * It promises: tasks go on without managers; they outlive the agent, and after a restart of the host they are started again, from
 * what is on disk; a task that runs is never started twice; nothing is removed before a manager has said what should be here.
 * Once a manager says that the node was removed, it stops and removes everything and asks nobody any more.
 * It never decides what should run, and never keeps secrets on disk.
 */
import { type Clock, deadline } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Random } from '../lib/random.ts';
import type { AssignedTask, AssignmentSet, ManagerMessage, ManagerPeer } from '../model/assignment.ts';
import { stopGraceMs } from '../model/defaults.ts';
import type { TaskStatus } from '../model/objects.ts';
import type { NodeRole } from '../model/spec.ts';
import { TaskState } from '../model/task-state.ts';
import type { Dialer } from '../rpc/port.ts';
import { AssignmentInbox, DependencyStore } from './assignments.ts';
import type { Executor } from './executor/port.ts';
import { Slots } from './gate.ts';
import { LogSubscriptions } from './log-subscriptions.ts';
import { NetworkKeeper } from './network-keeper.ts';
import { Reporter } from './reporter.ts';
import { ManagerSession } from './session.ts';
import type { StoredTask, TaskDb, TaskDbChange } from './task-db.ts';
import { TaskManager } from './task-manager.ts';

export interface AgentOptions {
  readonly nodeId: string;
  /** Where others reach this node: `host:port` or an address. */
  readonly addr: string;
  readonly dialer: Dialer;
  /** The managers known so far. */
  readonly managers: readonly ManagerPeer[];
  readonly executor: Executor;
  /** Closed by `stop` and `leave`. */
  readonly db: TaskDb;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The role this node should have; called for the first one of a run and when it changes. */
  readonly onRole: (role: NodeRole) => void;
  /** The managers of the cluster, to be remembered over a restart. */
  readonly onManagers: (peers: readonly ManagerPeer[]) => void;
  /** The cluster has removed this node. Remembers it: the tasks are taken away once this resolves, and again after a restart. */
  readonly onRemoved: () => Promise<unknown>;
  /** `removed`: what `onRemoved` remembered. `alone`: no manager can be asked, tasks go on. Default: `member`. */
  readonly standing?: 'member' | 'removed' | 'alone';
}

export interface Agent {
  /** Takes up the tasks on disk, then looks for a manager. Resolves when the tasks are taken up. */
  start(): Promise<void>;
  /** Tells the managers, and leaves the containers running. */
  stop(): Promise<void>;
  /**
   * Stops and removes every container, then forgets the tasks. Errors: `deadline` when some could not be removed in time; all else
   * is done even so, and the next agent of this host removes them.
   */
  leave(): Promise<void>;
  /** True while the leader has this node in a session. */
  connected(): boolean;
  setManagers(peers: readonly ManagerPeer[]): void;
  /** Opens a new session, e.g. because the certificate is new. */
  reconnect(): void;
  /** Tasks on this node, with what is known of them here. */
  tasks(): readonly { readonly task: AssignedTask; readonly status: TaskStatus }[];
}

/** Tasks that prepare at a time. */
const preparingMax = 8;
/** How long `stop` waits for the message that it stops. */
const stopLimitMs = 3_000;
/** How long `leave` waits for containers to go, besides their own grace to stop: not for ever without containerd. */
const leaveLimitMs = 20_000;

export function createAgent(options: AgentOptions): Agent {
  return new NodeAgent(options);
}

class NodeAgent implements Agent {
  readonly #options: AgentOptions;
  readonly #session: ManagerSession;
  readonly #reporter: Reporter;
  readonly #logs: LogSubscriptions;
  readonly #networks: NetworkKeeper;
  readonly #dependencies = new DependencyStore();
  readonly #inbox = new AssignmentInbox();
  readonly #tasks = new Map<string, TaskManager>();
  readonly #preparing = new Slots(preparingMax);
  #bootId = '';
  #role: NodeRole | undefined;
  /** What is here that nobody knows has been removed: once per run, after the first full set. */
  #reconciled = false;
  /** Sets are stored and carried out one after the other. */
  #applying: Promise<void> = Promise.resolve();
  #writes = new Set<Promise<void>>();
  #running = false;
  #expelled = false;
  #allRemoved = () => {};

  constructor(options: AgentOptions) {
    this.#options = options;
    const { clock, random, log, executor, dialer, addr, managers } = options;
    this.#reporter = new Reporter(clock, (error) => log.error('reporting task statuses', { error }));
    this.#logs = new LogSubscriptions({ executor, clock, send: (message) => this.#session.send(message) });
    this.#networks = new NetworkKeeper({
      networks: executor.networks,
      clock,
      log,
      send: (message) => this.#session.send(message),
    });
    this.#session = new ManagerSession({
      dialer,
      addr,
      managers,
      clock,
      random,
      log,
      describe: () => executor.describe(),
      opened: () => this.#opened(),
      closed: () => this.#closed(),
      received: (message) => this.#receive(message),
      removed: () => void this.#takenOut(),
    });
  }

  async start(): Promise<void> {
    const { executor, db, standing = 'member' } = this.#options;
    this.#bootId = (await executor.bootId?.()) ?? '';
    const stored = await db.load();
    this.#running = true;
    this.#expelled = standing === 'removed';
    for (const entry of stored) this.#resume(entry);
    if (this.#expelled) void this.#removeAll();
    else if (standing === 'member') this.#session.start();
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    this.#session.send({ kind: 'leaving' });
    await this.#disconnect();
    await this.#bounded(Promise.all([...this.#tasks.values()].map((task) => task.stop())));
    await this.#closeDb();
  }

  async leave(): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    await this.#disconnect();
    const { clock } = this.#options;
    const graceMs = Math.max(0, ...[...this.#tasks.values()].map(({ task }) => stopGraceMs(task.spec)));
    try {
      await deadline(clock, leaveLimitMs + graceMs, this.#removeAll(), () => this.#leftBehind());
    } finally {
      for (const task of this.#tasks.values()) void task.stop();
      await this.#bounded(this.#closeDb());
    }
  }

  async #removeAll(): Promise<void> {
    await this.#applying;
    const before = this.#allRemoved;
    const removed = new Promise<void>((resolve) => {
      this.#allRemoved = () => (before(), resolve());
    });
    for (const task of this.#tasks.values()) task.unassign();
    if (this.#tasks.size > 0) await removed;
    await this.#discardUnknown();
  }

  #leftBehind(): ClusterError {
    return new ClusterError(
      'deadline',
      `left the cluster, but its containers could not all be removed in time (${this.#tasks.size} tasks left; is containerd running?): the rest is removed when this node joins a cluster again`,
    );
  }

  /** On disk first: a daemon that restarts in the middle goes on with it. */
  async #takenOut(): Promise<void> {
    const { log, onRemoved } = this.#options;
    if (!this.#running || this.#expelled) return;
    this.#expelled = true;
    log.warn('this node was removed from the cluster: its containers are stopped and removed');
    await onRemoved().catch((error) => log.error('remembering the removal', { reason: messageOf(error) }));
    await this.#reporter.stop();
    await this.#bounded(this.#networks.stop());
    if (!this.#running) return;
    await this.#removeAll();
    this.#dependencies.clear();
  }

  connected(): boolean {
    return this.#session.open;
  }

  setManagers(peers: readonly ManagerPeer[]): void {
    this.#session.setManagers(peers);
  }

  reconnect(): void {
    this.#session.restart('reconnecting');
  }

  tasks(): readonly { readonly task: AssignedTask; readonly status: TaskStatus }[] {
    return [...this.#tasks.values()].map(({ task, status }) => ({ task, status }));
  }

  async #disconnect(): Promise<void> {
    this.#logs.closeAll();
    await this.#bounded(this.#session.stop());
    await this.#reporter.stop();
    await this.#bounded(this.#networks.stop());
  }

  async #closeDb(): Promise<void> {
    await Promise.all([this.#applying, ...this.#writes]);
    await this.#options.db.close();
  }

  /** Work that should end by itself, and must not keep the daemon from stopping. */
  async #bounded(work: Promise<unknown>): Promise<void> {
    const { clock, log } = this.#options;
    try {
      await deadline(clock, stopLimitMs, work, () => new ClusterError('deadline', `not done after ${stopLimitMs} ms`));
    } catch (error) {
      log.warn('stopping the agent', { reason: messageOf(error) });
    }
  }

  // The session.

  #opened(): void {
    this.#inbox.reset();
    this.#networks.reset();
    this.#reporter.session((reports) => this.#session.send({ kind: 'status', reports }));
    this.#options.log.debug('registered with the managers');
  }

  #closed(): void {
    this.#reporter.session(undefined);
    this.#logs.closeAll();
  }

  #receive(message: ManagerMessage): void {
    switch (message.kind) {
      case 'assignments':
        return this.#assign(message.set);
      case 'network':
        if (!this.#networks.add(message.set)) this.#session.restart('network records are missing');
        return;
      case 'statusAck':
        return this.#reporter.acknowledged(message.reports);
      case 'managers':
        this.#session.setManagers(message.peers);
        return this.#options.onManagers(message.peers);
      case 'role':
        if (message.role === this.#role) return;
        this.#role = message.role;
        return this.#options.onRole(message.role);
      case 'logOpen':
        return this.#logs.open(message.subscription, message.taskIds, message.query);
      case 'logAck':
        return this.#logs.acknowledged(message.subscription, message.messages);
      case 'logClose':
        return this.#logs.close(message.subscription);
      case 'welcome':
      case 'beatAck':
      case 'redirect':
      case 'removed':
        return; // the session's own
      default:
        // Unlike elsewhere no bug: a newer manager may say more than this agent knows.
        return message satisfies never;
    }
  }

  // Assignments.

  #assign(part: AssignmentSet): void {
    const set = this.#inbox.add(part);
    if (set === 'gap') return this.#session.restart('assignments are missing');
    if (set === 'incomplete') return;
    this.#applying = this.#applying
      .then(() => this.#apply(set))
      .catch((error) => {
        this.#options.log.error('applying assignments', { reason: messageOf(error) });
      });
  }

  async #apply(set: AssignmentSet): Promise<void> {
    if (!this.#running || this.#expelled) return;
    const fresh = set.tasks.filter((task) => !this.#tasks.has(task.id));
    const changed = set.tasks.filter((task) => this.#tasks.has(task.id));
    // On disk first: what was accepted is not forgotten.
    await this.#write([
      ...fresh.map((task): TaskDbChange => ({ kind: 'put', entry: this.#unknown(task) })),
      ...changed.flatMap((task) => this.#rewrite(task)),
    ]);
    if (!this.#running || this.#expelled) return;
    this.#dependencies.apply(set);
    for (const task of fresh) this.#manage(this.#unknown(task));
    for (const task of changed) this.#update(task);
    for (const taskId of this.#gone(set)) {
      this.#reporter.forget(taskId);
      this.#tasks.get(taskId)?.unassign();
    }
    if (set.kind === 'full' && !this.#reconciled) {
      this.#reconciled = true;
      await this.#discardUnknown();
    }
  }

  /**
   * A task that the managers know further than this agent, which knows nothing of it: the disk was lost, and nobody can say in
   * which boot the container was seen. It is prepared and started again; both do nothing when it still runs.
   */
  #unknown(task: AssignedTask): StoredTask {
    const begun = task.status.state > TaskState.accepted && this.#bootId !== '';
    return { task, status: task.status, bootId: begun ? 'unknown' : this.#bootId };
  }

  #rewrite(task: AssignedTask): TaskDbChange[] {
    const manager = this.#tasks.get(task.id);
    if (manager === undefined || manager.unassigned) return [];
    return [{ kind: 'put', entry: { task, status: manager.status, bootId: this.#bootOf(manager) } }];
  }

  #gone(set: AssignmentSet): readonly string[] {
    if (set.kind === 'incremental') return set.removedTasks;
    const wanted = new Set(set.tasks.map((task) => task.id));
    return [...this.#tasks.keys()].filter((taskId) => !wanted.has(taskId));
  }

  #update(task: AssignedTask): void {
    const manager = this.#tasks.get(task.id);
    if (manager === undefined) return;
    manager.update(task);
    // The managers know already: no need to tell them again.
    if (task.status.state >= manager.status.state) this.#reporter.forget(task.id);
  }

  /** What an earlier agent left of tasks that are nobody's any more. */
  async #discardUnknown(): Promise<void> {
    const { executor, log } = this.#options;
    try {
      for (const taskId of await executor.existing()) {
        if (this.#tasks.has(taskId)) continue;
        log.info('removing what is left of an unknown task', { task: taskId });
        await executor.discard(taskId);
      }
    } catch (error) {
      log.warn('removing what is left of unknown tasks', { reason: messageOf(error) });
    }
  }

  // Tasks.

  #resume(entry: StoredTask): void {
    this.#manage(entry);
    if (entry.status.state > TaskState.assigned) this.#reporter.put(entry.task.id, entry.status);
  }

  #manage({ task, status, bootId }: StoredTask): void {
    const { executor, clock, random, log } = this.#options;
    const manager = new TaskManager({
      task,
      status,
      lost: bootId !== '' && bootId !== this.#bootId,
      controller: executor.controller(task, this.#dependencies),
      clock,
      random,
      log,
      preparing: this.#preparing,
      dependencies: (needing, signal) => this.#dependencies.ready(needing, signal),
      observed: (taskId, observed) => this.#observed(taskId, observed),
      removed: (taskId) => this.#removed(taskId),
    });
    this.#tasks.set(task.id, manager);
    if (this.#expelled) manager.unassign(); // before its first step: nothing is started any more
    manager.start();
  }

  #observed(taskId: string, status: TaskStatus): void {
    const manager = this.#tasks.get(taskId);
    if (manager === undefined) return;
    void this.#write([{ kind: 'status', taskId, status, bootId: this.#bootOf(manager) }]);
    if (!manager.unassigned) this.#reporter.put(taskId, status);
  }

  /** A task that the host's restart took along stays marked until it runs again. */
  #bootOf(manager: TaskManager): string {
    return manager.lost ? 'earlier' : this.#bootId;
  }

  #removed(taskId: string): void {
    this.#tasks.delete(taskId);
    this.#reporter.forget(taskId);
    void this.#write([{ kind: 'remove', taskId }]);
    if (this.#tasks.size === 0) this.#allRemoved();
  }

  /** A disk that fails must not stop the tasks: they go on, and may be forgotten by a restart. */
  async #write(changes: readonly TaskDbChange[]): Promise<void> {
    if (changes.length === 0) return;
    const { db, log } = this.#options;
    const done = db.write(changes).catch((error) => log.error('storing tasks', { reason: messageOf(error) }));
    this.#writes.add(done);
    await done;
    this.#writes.delete(done);
  }
}
