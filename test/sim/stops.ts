/**
 * That nobody is stopped while another node that the leader has a session with still leads clients to it, unless two seconds have passed
 * since it was decided. Listens to what managers send; what a node has in place is looked up there.
 */
import type { Duplex } from '../../src/lib/stream.ts';
import type { AgentMessage, AssignedTask, ManagerMessage } from '../../src/model/assignment.ts';
import type { Service } from '../../src/model/objects.ts';
import { isTerminal, TaskState } from '../../src/model/task-state.ts';
import type { ChangeEvent } from '../../src/model/view.ts';
import type { ProcessClock } from './process-clock.ts';
import type { World } from './world.ts';

const limitMs = 2_000;

interface Watched {
  readonly host: string;
  readonly leader: ProcessClock;
  welcomed: boolean;
}

export class Stops {
  readonly #world: World;
  readonly #open = new Set<Watched>();
  /** Since when a task is to stop. */
  readonly #decided = new Map<string, number>();
  /** Since when a service has no published port any more: its tasks were taken out of maps then. */
  readonly #unpublished = new Map<string, number>();
  /** Those that were let go: they are told again whenever their node opens a session. */
  readonly #letGo = new Set<string>();
  /** Stops that a manager sent while the task was, or had lately been, in maps. */
  checked = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Of every commit once. */
  committed(events: readonly ChangeEvent[]): void {
    for (const event of events) {
      if (event.table === 'service') this.#service(event.before, event.after);
      if (event.table !== 'task') continue;
      const { before, after } = event;
      if (after === undefined) this.#decided.delete(before?.id ?? '');
      else if (after.desired > TaskState.complete && !this.#decided.has(after.id))
        this.#decided.set(after.id, this.#world.clock.monotonic());
    }
  }

  #service(before: Service | undefined, after: Service | undefined): void {
    const id = after?.id ?? before?.id ?? '';
    if (isPublished(after)) this.#unpublished.delete(id);
    else if (isPublished(before)) this.#unpublished.set(id, this.#world.clock.monotonic());
  }

  /** The manager's end of a session. */
  watch(
    stream: Duplex<ManagerMessage, AgentMessage>,
    host: string,
    leader: ProcessClock,
  ): Duplex<ManagerMessage, AgentMessage> {
    const watched: Watched = { host, leader, welcomed: false };
    const ended = () => void this.#open.delete(watched);
    this.#open.add(watched);
    return {
      send: (message) => {
        if (message.kind === 'welcome') watched.welcomed = true;
        if (message.kind === 'assignments') for (const task of message.set.tasks) this.#told(task, leader);
        return stream.send(message);
      },
      onMessage: (handle) => stream.onMessage(handle),
      onClose: (handle) =>
        stream.onClose((error) => {
          ended();
          handle(error);
        }),
      close: (error) => {
        ended();
        stream.close(error);
      },
    };
  }

  #told({ id, nodeId, serviceId, desired, status }: AssignedTask, leader: ProcessClock): void {
    if (desired <= TaskState.complete || isTerminal(status.state) || this.#letGo.has(id)) return;
    this.#letGo.add(id);
    const world = this.#world;
    const since = Math.min(this.#decided.get(id) ?? 0, this.#unpublished.get(serviceId) ?? Number.POSITIVE_INFINITY);
    const sinceMs = world.clock.monotonic() - since;
    if (sinceMs >= limitMs) return;
    this.checked += 1;
    for (const session of this.#open) {
      const agent = world.agents.find(({ name }) => name === session.host);
      if (session.host === nodeId || session.leader !== leader || !session.welcomed || agent === undefined) continue;
      if (agent.executor.networks?.state.endpoints.get(id)?.active === true)
        world.fail(`task ${id} is told to stop after ${sinceMs} ms, and ${session.host} leads clients to it`);
    }
  }
}

function isPublished(service: Service | undefined): boolean {
  return (service?.endpoint?.ports ?? []).some(({ PublishMode }) => PublishMode !== 'host');
}
