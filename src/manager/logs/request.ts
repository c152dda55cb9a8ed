import { ClusterError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Random } from '../../lib/random.ts';
import { type LogLine, type LogQuery, logWindow } from '../../model/assignment.ts';
import type { Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { LogMessage, NodeSessions, SessionChange } from '../dispatcher/index.ts';
import type { CommitEvent, Store } from '../store/port.ts';

export type LogSelector = { readonly serviceId: string } | { readonly taskId: string };

export interface LogRequestOptions {
  readonly store: Store;
  readonly dispatcher: NodeSessions;
  readonly random: Random;
  readonly selector: LogSelector;
  readonly query: LogQuery;
}

interface Subscription {
  readonly id: string;
  readonly nodeId: string;
  /** The time of the last line that came before an interruption, '' = none. Lines up to it came already. */
  readonly after: ReadonlyMap<string, string>;
  waiting: number;
}

interface Batch {
  readonly subscription: Subscription;
  readonly lines: readonly LogLine[];
}

const taskIdsPerMessageMax = 1_000;
const reasonsMax = 10;

/** One reader's request: a subscription per node that has matching tasks, in follow mode also of tasks that appear later. */
export class LogRequest {
  readonly #options: LogRequestOptions;
  readonly #subscriptions = new Map<string, Subscription>();
  /** Tasks asked for so far, with the time of the last line that came. */
  readonly #asked = new Map<string, string>();
  /** Follow: nodes whose session was lost, asked again when they are back. */
  readonly #lost = new Set<string>();
  readonly #reasons = new Set<string>();
  readonly #batches: Batch[] = [];
  #failure: ClusterError | undefined;
  #wake = () => {};
  #unsubscribe = () => {};

  constructor(options: LogRequestOptions) {
    this.#options = options;
  }

  async *lines(signal: AbortSignal): AsyncGenerator<LogLine> {
    this.#open();
    const abort = () => this.#wake();
    signal.addEventListener('abort', abort, { once: true });
    try {
      while (!signal.aborted) {
        const batch = this.#batches.shift();
        if (batch !== undefined) {
          yield* batch.lines;
          this.#read(batch.subscription);
        } else if (this.#ended()) {
          break;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener('abort', abort);
    }
    if (signal.aborted) return;
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#reasons.size > 0) throw incomplete([...this.#reasons]);
  }

  /** True when the message was for this request. */
  receive(nodeId: string, message: LogMessage): boolean {
    const subscription = this.#subscriptions.get(message.subscription);
    if (subscription === undefined || subscription.nodeId !== nodeId) return false;
    if (message.kind === 'logEnd') {
      this.#subscriptions.delete(subscription.id);
      if (message.error !== '') this.#warn(message.error.slice(0, 1_000));
    } else {
      this.#take(subscription, message.lines);
    }
    this.#wake();
    return true;
  }

  sessionChanged(change: SessionChange): void {
    if (change.kind === 'stopped') {
      this.#failure ??= new ClusterError('unavailable', 'log stream closed: this manager is not the leader any more');
    } else if (change.kind === 'opened') {
      if (this.#lost.delete(change.nodeId))
        this.#ask(this.#following().filter((task) => task.nodeId === change.nodeId));
    } else {
      this.#nodeLost(change.nodeId);
    }
    this.#wake();
  }

  close(): void {
    this.#unsubscribe();
    for (const { id, nodeId } of this.#subscriptions.values())
      this.#options.dispatcher.sendTo(nodeId, { kind: 'logClose', subscription: id });
    this.#subscriptions.clear();
    this.#batches.length = 0;
  }

  #open(): void {
    const { store, selector, query } = this.#options;
    if ('taskId' in selector && store.view.get('task', selector.taskId) === undefined) {
      throw new ClusterError('not_found', `task ${selector.taskId} not found`);
    }
    if ('serviceId' in selector && store.view.get('service', selector.serviceId) === undefined) {
      throw new ClusterError('not_found', `service ${selector.serviceId} not found`);
    }
    this.#ask(this.#matching());
    if (query.follow) this.#unsubscribe = store.subscribe((commit) => this.#record(commit));
  }

  /** Tasks that have, or had, a container. */
  #matching(): readonly Task[] {
    const { store, selector } = this.#options;
    const task = 'taskId' in selector ? store.view.get('task', selector.taskId) : undefined;
    const tasks =
      'serviceId' in selector ? [...store.view.tasksOfService(selector.serviceId)] : task === undefined ? [] : [task];
    return tasks.filter(hasLog);
  }

  #following(): readonly Task[] {
    return this.#matching().filter((task) => !isTerminal(task.status.state));
  }

  #record(commit: CommitEvent): void {
    const { selector } = this.#options;
    const fresh: Task[] = [];
    for (const { table, after } of commit.events) {
      if (table !== 'task' || after === undefined || !('status' in after) || !('slot' in after)) continue;
      const matches = 'taskId' in selector ? after.id === selector.taskId : after.serviceId === selector.serviceId;
      if (matches && hasLog(after) && !this.#asked.has(after.id)) fresh.push(after);
    }
    this.#ask(fresh, true);
    this.#wake();
  }

  #ask(tasks: readonly Task[], fromStart = false): void {
    const byNode = new Map<string, Task[]>();
    for (const task of tasks) {
      const others = byNode.get(task.nodeId);
      if (others === undefined) byNode.set(task.nodeId, [task]);
      else others.push(task);
    }
    for (const [nodeId, ofNode] of byNode) {
      for (let at = 0; at < ofNode.length; at += taskIdsPerMessageMax) {
        this.#askNode(
          nodeId,
          ofNode.slice(at, at + taskIdsPerMessageMax).map((task) => task.id),
          fromStart,
        );
      }
    }
  }

  #askNode(nodeId: string, taskIds: readonly string[], fromStart: boolean): void {
    const { random, dispatcher, query } = this.#options;
    const id = newId(random);
    const after = new Map(taskIds.map((taskId) => [taskId, this.#asked.get(taskId) ?? '']));
    for (const [taskId, time] of after) this.#asked.set(taskId, time);
    const times = [...after.values()];
    const again = times.every((time) => time !== '');
    // After an interruption: from the oldest line that came last; what came before is left out line by line.
    const since = again ? Math.max(query.since, Math.min(...times.map((time) => Date.parse(time) || 0))) : query.since;
    const asked: LogQuery = { ...query, since, tail: again || fromStart ? -1 : query.tail };
    if (dispatcher.sendTo(nodeId, { kind: 'logOpen', subscription: id, taskIds, query: asked })) {
      this.#subscriptions.set(id, { id, nodeId, after, waiting: 0 });
    } else {
      this.#unavailable(nodeId);
    }
  }

  #take(subscription: Subscription, lines: readonly LogLine[]): void {
    if (subscription.waiting >= logWindow) {
      this.#subscriptions.delete(subscription.id);
      this.#warn(`node ${subscription.nodeId} sent more than it was asked for`);
      return;
    }
    subscription.waiting += 1;
    const wanted = lines.filter(({ taskId, time }) => {
      const after = subscription.after.get(taskId);
      return after !== undefined && (after === '' || time > after);
    });
    for (const { taskId, time } of wanted) if (time > (this.#asked.get(taskId) ?? '')) this.#asked.set(taskId, time);
    this.#batches.push({ subscription, lines: wanted });
  }

  #read(subscription: Subscription): void {
    subscription.waiting -= 1;
    if (!this.#subscriptions.has(subscription.id)) return;
    this.#options.dispatcher.sendTo(subscription.nodeId, {
      kind: 'logAck',
      subscription: subscription.id,
      messages: 1,
    });
  }

  #nodeLost(nodeId: string): void {
    let lost = false;
    for (const subscription of [...this.#subscriptions.values()]) {
      if (subscription.nodeId !== nodeId) continue;
      this.#subscriptions.delete(subscription.id);
      lost = true;
    }
    if (lost) this.#unavailable(nodeId);
  }

  #unavailable(nodeId: string): void {
    if (this.#options.query.follow) this.#lost.add(nodeId);
    this.#warn(`node ${nodeId} is not available`);
  }

  #warn(reason: string): void {
    if (this.#reasons.size < reasonsMax) this.#reasons.add(reason);
  }

  #ended(): boolean {
    if (this.#failure !== undefined) return true;
    if (this.#subscriptions.size > 0) return false;
    const { query, selector, store } = this.#options;
    if (!query.follow) return true;
    // A service can have new tasks for as long as it exists; a task ends.
    if ('serviceId' in selector) return store.view.get('service', selector.serviceId) === undefined;
    const task = store.view.get('task', selector.taskId);
    return task === undefined || isTerminal(task.status.state);
  }
}

function hasLog(task: Task): boolean {
  return task.nodeId !== '' && task.status.state >= TaskState.starting && task.status.state !== TaskState.rejected;
}

function incomplete(reasons: readonly string[]): ClusterError {
  return new ClusterError(
    'unavailable',
    `warning: incomplete log stream. some logs could not be retrieved for the following reasons: ${reasons.join(', ')}`,
  );
}
