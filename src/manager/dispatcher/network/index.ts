/**
 * The dispatcher's part in the cluster's networks: tells every node the records it needs, in full when it registers and then what
 * changed; hears what each has in place and what it could not do; and holds back the stop of tasks that are still in somebody's
 * maps. It promises that a node is told of networks before it is told of the tasks on them. Nothing of it outlives the leader.
 */
import type { Cancel, Clock } from '../../../lib/clock.ts';
import { networkProblemsMax } from '../../../model/assignment.ts';
import type { NetworkSet } from '../../../model/network.ts';
import type { NetworkProblem, Node, Task } from '../../../model/objects.ts';
import { drainDelayMs } from '../../../model/service-labels.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import type { ChangeEvent, ClusterView } from '../../../model/view.ts';
import { NetworkFeed } from './feed.ts';
import { isReachable } from './records.ts';
import { StopGate } from './stop-gate.ts';

export interface NetworksOptions {
  readonly view: ClusterView;
  readonly clock: Clock;
  readonly send: (nodeId: string, set: NetworkSet) => void;
  /** The node says that this is what it could not do. */
  readonly writeProblems: (nodeId: string, problems: readonly NetworkProblem[]) => void;
  /** What the node is told of the task has changed, though the task has not. */
  readonly released: (taskId: string, nodeId: string) => void;
}

/** Problems of one node are written at most this often: each time is an entry of the log. */
const problemsEveryMs = 1_000;
const problemCharsMax = 500;

interface Problems {
  written: string;
  latest: readonly NetworkProblem[];
  /** What is new waits for this. */
  pausing: boolean;
  cancel: Cancel;
}

export class Networks {
  readonly #options: NetworksOptions;
  readonly #feed: NetworkFeed;
  readonly #gate: StopGate;
  /** Of nodes that had some, while this manager leads. */
  readonly #problems = new Map<string, Problems>();
  /** Running tasks that were told to stop since the last push. */
  readonly #stopping = new Set<string>();

  constructor(options: NetworksOptions) {
    this.#options = options;
    const { view, clock, released } = options;
    this.#feed = new NetworkFeed(view);
    this.#gate = new StopGate({ clock, released });
  }

  start(): void {
    this.#feed.push(); // nobody is here: takes in what there is
    const { view } = this.#options;
    const ready = [...view.list('node')].filter(({ status }) => status.state === 'ready');
    this.#gate.expect(ready.map(({ id }) => id));
    for (const task of view.list('task'))
      if (task.desired > TaskState.complete && this.#mayBeInMaps(task)) this.#hold(task);
  }

  stop(): void {
    this.#gate.stop();
    this.#stopping.clear();
    for (const { cancel } of this.#problems.values()) cancel();
    this.#problems.clear();
  }

  /** Called with every commit's events. True: `push` has something to do. */
  record(event: ChangeEvent): boolean {
    if (event.table === 'node' && event.before !== undefined && isAway(event.after)) {
      this.#gate.lost(event.before.id);
      if (event.after === undefined) this.#forgetProblems(event.before.id);
    } else if (event.table === 'task' && (event.after === undefined || isTerminal(event.after.status.state))) {
      this.#gate.forget(event.after?.id ?? event.before?.id ?? '');
    } else if (event.table === 'task' && isStopped(event.before, event.after)) {
      this.#stopping.add(event.after?.id ?? '');
    }
    return this.#feed.mark(event) || this.#stopping.size > 0;
  }

  push(): void {
    const { messages, pulled, withdrawn, restored } = this.#feed.push();
    for (const { nodeId, sets } of messages) for (const set of sets) this.#options.send(nodeId, set);
    for (const taskId of restored) this.#gate.forget(taskId);
    for (const one of pulled) this.#gate.pulled(one);
    for (const taskId of withdrawn) {
      const task = this.#options.view.get('task', taskId);
      if (task !== undefined && isReachable(task)) this.#hold(task);
      else this.#gate.forget(taskId);
    }
    this.#holdUnannounced();
  }

  /** Of a node that is down, a task is active no more; but who was told of it by an earlier leader may lead clients to it still. */
  #holdUnannounced(): void {
    for (const taskId of this.#stopping) {
      const task = this.#options.view.get('task', taskId);
      const isDue = task !== undefined && this.#feed.versionOf(task.nodeId) === 0 && !this.#gate.holds(taskId);
      if (isDue && this.#mayBeInMaps(task)) this.#hold(task);
    }
    this.#stopping.clear();
  }

  /** What a node gets that has registered: everything. */
  register(nodeId: string): readonly NetworkSet[] {
    this.push();
    const sets = this.#feed.register(nodeId);
    this.#gate.registered(nodeId);
    return sets;
  }

  /** The node's session is over. */
  left(nodeId: string): void {
    this.#feed.unregister(nodeId);
    this.#gate.left(nodeId);
  }

  acknowledged(nodeId: string, version: number, problems: readonly NetworkProblem[]): void {
    if (version < 1 || version > this.#feed.versionOf(nodeId)) return; // not said to it in this session
    this.#gate.acknowledged(nodeId, version);
    this.#note(nodeId, problems);
  }

  /** The task goes on for now, whatever is desired. */
  holds(taskId: string): boolean {
    return this.#gate.holds(taskId);
  }

  #hold(task: Task): void {
    const { id: taskId, nodeId, serviceLabels } = task;
    const connected = this.#feed.versionOf(nodeId) > 0;
    this.#gate.hold({ taskId, nodeId, drainMs: drainDelayMs(serviceLabels) }, { connected });
  }

  #mayBeInMaps(task: Task): boolean {
    if (task.status.state !== TaskState.running) return false;
    return (task.attachments?.length ?? 0) > 0 || this.#feed.isPublished(task.serviceId);
  }

  #note(nodeId: string, reported: readonly NetworkProblem[]): void {
    const problems = reported.slice(0, networkProblemsMax).map(cleanProblem);
    const known = this.#problems.get(nodeId);
    const stored = this.#options.view.get('node', nodeId)?.networkProblems ?? [];
    if (known !== undefined) {
      known.latest = problems;
      if (!known.pausing) this.#writeProblems(nodeId, known);
    } else if (JSON.stringify(problems) !== JSON.stringify(stored)) {
      const fresh: Problems = { written: '', latest: problems, pausing: false, cancel: () => {} };
      this.#problems.set(nodeId, fresh);
      this.#writeProblems(nodeId, fresh);
    }
  }

  #writeProblems(nodeId: string, problems: Problems): void {
    const text = JSON.stringify(problems.latest);
    if (text === problems.written) return;
    this.#options.writeProblems(nodeId, problems.latest);
    problems.written = text;
    problems.pausing = true;
    problems.cancel = this.#options.clock.timer(problemsEveryMs, () => {
      problems.pausing = false;
      this.#writeProblems(nodeId, problems);
    });
  }

  #forgetProblems(nodeId: string): void {
    this.#problems.get(nodeId)?.cancel();
    this.#problems.delete(nodeId);
  }
}

/** Only the known fields, of bounded length: it goes into the log of every manager. */
function cleanProblem({ serviceId, networkId, message }: NetworkProblem): NetworkProblem {
  return {
    ...(serviceId === undefined ? {} : { serviceId }),
    ...(networkId === undefined ? {} : { networkId }),
    message: message.slice(0, problemCharsMax),
  };
}

function isStopped(before: Task | undefined, after: Task | undefined): boolean {
  const wasWanted = (before?.desired ?? TaskState.new) <= TaskState.complete;
  return wasWanted && (after?.desired ?? TaskState.new) > TaskState.complete;
}

function isAway(node: Node | undefined): boolean {
  return node === undefined || node.status.state === 'down' || node.status.state === 'unknown';
}
