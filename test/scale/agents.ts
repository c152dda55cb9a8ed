/**
 * Thousands of agents in a process of their own, as far as a manager notices them: they register, beat, take assignments and
 * report what a real agent reports, in the steps and with the batching of a real one. Containers take a moment to start.
 */

import { between } from '../../src/lib/random.ts';
import { realClock, realRandom } from '../../src/lib/real.ts';
import type { AgentMessage, AssignedTask, ManagerMessage, TaskReport } from '../../src/model/assignment.ts';
import type { NodeDescription } from '../../src/model/objects.ts';
import { isTerminal, TaskState } from '../../src/model/task-state.ts';
import { Link, type Order, Outbox, type Parcel } from './link.ts';

const outbox = new Outbox((parcels) => void process.send?.(parcels));
const post = (parcel: Parcel) => outbox.post(parcel);
const agents: StubAgent[] = [];
const links = new Map<number, Link<AgentMessage, ManagerMessage>>();
let streams = 0;

const prepareMs = [50, 400] as const;
const startMs = [50, 300] as const;
const stopMs = [20, 200] as const;
const reconnectMs = [100, 1_000] as const;

class StubAgent {
  readonly #nodeId: string;
  readonly #tasks = new Map<string, { desired: number; state: number; busy: boolean }>();
  readonly #reports = new Map<string, TaskReport>();
  #link: Link<AgentMessage, ManagerMessage> | undefined;
  #isSilent = false;

  constructor(nodeId: string) {
    this.#nodeId = nodeId;
  }

  connect(): void {
    if (this.#isSilent) return;
    const stream = (streams += 1);
    const link = new Link<AgentMessage, ManagerMessage>(stream, post);
    links.set(stream, link);
    this.#link = link;
    link.onMessage((message) => this.#hear(message));
    link.onClose(() => {
      links.delete(stream);
      this.#link = undefined;
      realClock.timer(between(realRandom, ...reconnectMs), () => this.connect());
    });
    post({ kind: 'open', stream, nodeId: this.#nodeId });
    link.send({ kind: 'hello', description: descriptionOf(this.#nodeId), addr: '10.0.0.1' });
  }

  /** The host is cut off: nothing is said any more. */
  silence(): void {
    this.#isSilent = true;
  }

  #hear(message: ManagerMessage): void {
    if (this.#isSilent) return;
    if (message.kind === 'welcome') {
      this.#beatAfter(message.heartbeatMs, this.#link);
      for (const [id, task] of this.#tasks) this.#report(id, task.state as TaskState);
    } else if (message.kind === 'assignments') {
      for (const task of message.set.tasks) this.#assign(task);
      for (const id of message.set.removedTasks) this.#tasks.delete(id);
    }
  }

  #beatAfter(heartbeatMs: number, link: Link<AgentMessage, ManagerMessage> | undefined): void {
    realClock.timer(heartbeatMs, () => {
      if (link === undefined || this.#link !== link || this.#isSilent) return;
      link.send({ kind: 'beat' });
      this.#beatAfter(heartbeatMs, link);
    });
  }

  #assign({ id, desired, status }: AssignedTask): void {
    const task = this.#tasks.get(id) ?? { desired, state: status.state, busy: false };
    task.desired = desired;
    this.#tasks.set(id, task);
    this.#step(id);
  }

  /** One step at a time, as a task manager does. */
  #step(id: string): void {
    const task = this.#tasks.get(id);
    if (task === undefined || task.busy || isTerminal(task.state as TaskState)) return;
    if (task.desired >= TaskState.shutdown) return this.#go(id, TaskState.shutdown, between(realRandom, ...stopMs));
    if (task.state < TaskState.ready) {
      this.#report(id, TaskState.preparing);
      return this.#go(id, TaskState.ready, between(realRandom, ...prepareMs));
    }
    if (task.desired === TaskState.ready || task.state === TaskState.running) return;
    this.#report(id, TaskState.starting);
    this.#go(id, TaskState.running, between(realRandom, ...startMs));
  }

  #go(id: string, state: TaskState, afterMs: number): void {
    const task = this.#tasks.get(id);
    if (task === undefined) return;
    task.busy = true;
    realClock.timer(afterMs, () => {
      task.busy = false;
      task.state = state;
      this.#report(id, state);
      this.#step(id);
    });
  }

  #report(id: string, state: TaskState): void {
    const container =
      state >= TaskState.ready ? { container: { containerId: id.repeat(2), pid: 4711, exitCode: 0 } } : {};
    const status = { state, timestamp: realClock.now(), message: 'reported', err: '', ...container };
    if (this.#reports.size === 0) realClock.defer(() => this.#flush());
    this.#reports.set(id, { taskId: id, status });
  }

  #flush(): void {
    const reports = [...this.#reports.values()];
    this.#reports.clear();
    if (!this.#isSilent && reports.length > 0) this.#link?.send({ kind: 'status', reports });
  }
}

function descriptionOf(nodeId: string): NodeDescription {
  return {
    hostname: nodeId,
    platform: { architecture: 'x86_64', os: 'linux' },
    resources: { NanoCPUs: 64e9, MemoryBytes: 256 * 2 ** 30 },
    engine: { version: '1', labels: {}, plugins: [{ type: 'Volume', name: 'local' }] },
  };
}

process.on('disconnect', () => process.exit());
process.on('message', (order: Order) => {
  if (order.kind === 'silence') return agents[order.node]?.silence();
  if (order.kind === 'start') {
    for (let at = 0; at < order.nodes; at++) {
      const agent = new StubAgent(`node${at}`);
      agents.push(agent);
      realClock.timer(between(realRandom, ...reconnectMs), () => agent.connect());
    }
    return undefined;
  }
  for (const parcel of order.parcels) {
    const link = links.get(parcel.stream);
    if (parcel.kind === 'data') link?.arrived(parcel.bytes);
    else if (parcel.kind === 'close') link?.closed();
  }
  return undefined;
});
