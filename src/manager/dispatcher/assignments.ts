/**
 * What one node has been told, and what it must be told next. Pure: reads the state it is given, keeps what was sent, and
 * answers with messages. A set is cut into parts, so that no message grows with the number of tasks.
 */
import type {
  AssignedConfig,
  AssignedCredentials,
  AssignedSecret,
  AssignedTask,
  AssignmentSet,
} from '../../model/assignment.ts';
import type { Task } from '../../model/objects.ts';
import { registryAuthFor } from '../../model/registry-auth.ts';
import type { DesiredState } from '../../model/task-state.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';

/** A part is full with this many tasks, or with this much payload (measured roughly). */
const partTasksMax = 200;
const partBytesMax = 1_000_000;

interface Sent {
  readonly desired: DesiredState;
  readonly secrets: readonly string[];
  readonly configs: readonly string[];
  /** Registry credentials; empty = none. */
  readonly auth: string;
}

interface Contents {
  tasks: AssignedTask[];
  removedTasks: string[];
  secrets: AssignedSecret[];
  removedSecrets: string[];
  configs: AssignedConfig[];
  removedConfigs: string[];
  credentials: AssignedCredentials[];
}

export class Assignments {
  readonly #nodeId: string;
  readonly #held: (taskId: string) => boolean;
  readonly #sent = new Map<string, Sent>();
  /** How many sent tasks need it. */
  readonly #secretUses = new Map<string, number>();
  readonly #configUses = new Map<string, number>();
  #sequence = 0;

  /** `held`: the task goes on for now, whatever is desired. */
  constructor(nodeId: string, held: (taskId: string) => boolean = () => false) {
    this.#nodeId = nodeId;
    this.#held = held;
  }

  /** Everything the node should have. */
  full(view: ClusterView): readonly AssignmentSet[] {
    this.#sent.clear();
    this.#secretUses.clear();
    this.#configUses.clear();
    const contents = this.#changes(
      view,
      [...view.tasksOfNode(this.#nodeId)].map((task) => task.id),
    );
    return this.#parts('full', contents);
  }

  /** What changed for the node by changes of these tasks; nothing when it need not know. */
  incremental(view: ClusterView, taskIds: Iterable<string>): readonly AssignmentSet[] {
    const contents = this.#changes(view, taskIds);
    const changed = Object.values(contents).some((list: readonly unknown[]) => list.length > 0);
    return changed ? this.#parts('incremental', contents) : [];
  }

  #changes(view: ClusterView, taskIds: Iterable<string>): Contents {
    const contents = emptyContents();
    // Uses are counted up before they are counted down, so that a secret which changes hands is neither sent again nor taken away.
    const released: Sent[] = [];
    for (const taskId of taskIds) {
      const task = this.#asTold(view.get('task', taskId));
      const before = this.#sent.get(taskId);
      if (task === undefined || !belongs(task, this.#nodeId)) {
        if (before === undefined) continue;
        this.#sent.delete(taskId);
        contents.removedTasks.push(taskId);
        released.push(before);
        continue;
      }
      const after: Sent = { desired: task.desired, ...needs(task), auth: authFor(view, task) };
      this.#sent.set(taskId, after);
      if (after.auth !== (before?.auth ?? '')) contents.credentials.push({ taskId, auth: after.auth });
      if (before === undefined || before.desired !== after.desired)
        contents.tasks.push(assignedTask(task, after.auth !== ''));
      this.#take(view, after, contents);
      if (before !== undefined) released.push(before);
    }
    for (const sent of released) this.#release(sent, contents);
    return contents;
  }

  #asTold(task: Task | undefined): Task | undefined {
    if (task === undefined || task.desired <= TaskState.complete || isTerminal(task.status.state)) return task;
    if (!this.#held(task.id)) return task;
    return { ...task, desired: task.jobIteration === undefined ? TaskState.running : TaskState.complete };
  }

  #take(view: ClusterView, { secrets, configs }: Sent, contents: Contents): void {
    for (const id of secrets) {
      const object = count(this.#secretUses, id) === 1 ? view.get('secret', id) : undefined;
      if (object !== undefined) contents.secrets.push({ id, spec: object.spec });
    }
    for (const id of configs) {
      const object = count(this.#configUses, id) === 1 ? view.get('config', id) : undefined;
      if (object !== undefined) contents.configs.push({ id, spec: object.spec });
    }
  }

  #release({ secrets, configs }: Sent, contents: Contents): void {
    for (const id of secrets) if (uncount(this.#secretUses, id)) drop(contents.secrets, contents.removedSecrets, id);
    for (const id of configs) if (uncount(this.#configUses, id)) drop(contents.configs, contents.removedConfigs, id);
  }

  #parts(kind: AssignmentSet['kind'], contents: Contents): readonly AssignmentSet[] {
    const appliesTo = kind === 'full' ? 0 : this.#sequence;
    this.#sequence += 1;
    const parts = split(contents);
    return parts.map((part, index) => ({
      kind,
      appliesTo,
      resultsIn: this.#sequence,
      ...part,
      ...(index < parts.length - 1 ? { more: true } : {}),
    }));
  }
}

/** From `assigned` on, until it is deleted, or is stopped and to be deleted. */
function belongs(task: Task, nodeId: string): boolean {
  if (task.nodeId !== nodeId || task.status.state < TaskState.assigned) return false;
  return !(task.desired === TaskState.remove && isTerminal(task.status.state));
}

/** Secrets and configs are on a node only while a task of it may need them: a job's task, which should complete, is one, too. */
function needs(task: Task): Pick<Sent, 'secrets' | 'configs'> {
  if (isEnding(task)) return { secrets: [], configs: [] };
  const { Secrets, Configs } = task.spec.ContainerSpec;
  return {
    secrets: [...new Set((Secrets ?? []).map((reference) => reference.SecretID))],
    configs: [...new Set((Configs ?? []).map((reference) => reference.ConfigID))],
  };
}

function isEnding(task: Task): boolean {
  return task.desired > TaskState.complete || isTerminal(task.status.state);
}

/** Credentials, too: a task that runs may have to be made anew when its host restarts. */
function authFor(view: ClusterView, task: Task): string {
  const service = isEnding(task) ? undefined : view.get('service', task.serviceId);
  return service === undefined ? '' : (registryAuthFor(service, task.spec.ContainerSpec.Image) ?? '');
}

function assignedTask(task: Task, hasCredentials: boolean): AssignedTask {
  const { id, serviceId, serviceName, serviceLabels, slot, nodeId, spec, specVersion, endpoint, desired, status } =
    task;
  const generic = task.genericResources === undefined ? {} : { genericResources: task.genericResources };
  const attached = task.attachments === undefined ? {} : { attachments: task.attachments };
  const flag = hasCredentials ? { hasCredentials } : {};
  const rest = { spec, specVersion, endpoint, desired, status, ...generic, ...attached, ...flag };
  return { id, serviceId, serviceName, serviceLabels, slot, nodeId, ...rest };
}

function emptyContents(): Contents {
  return {
    tasks: [],
    removedTasks: [],
    secrets: [],
    removedSecrets: [],
    configs: [],
    removedConfigs: [],
    credentials: [],
  };
}

function split(contents: Contents): readonly Contents[] {
  let part = emptyContents();
  const parts = [part];
  let bytes = 0;
  const room = (itemBytes: number): Contents => {
    if (bytes + itemBytes > partBytesMax && bytes > 0) {
      part = emptyContents();
      parts.push(part);
      bytes = 0;
    }
    bytes += itemBytes;
    return part;
  };
  for (const secret of contents.secrets) room(secret.spec.Data.length + 500).secrets.push(secret);
  for (const config of contents.configs) room(config.spec.Data.length + 500).configs.push(config);
  for (const one of contents.credentials) room(one.auth.length + 100).credentials.push(one);
  for (const task of contents.tasks) room(Math.max(partBytesMax / partTasksMax, sizeOf(task))).tasks.push(task);
  part.removedTasks = contents.removedTasks;
  part.removedSecrets = contents.removedSecrets;
  part.removedConfigs = contents.removedConfigs;
  return parts;
}

/** What can be large in a task, in characters. */
function sizeOf(task: AssignedTask): number {
  const { Env = [], Args = [], Command = [] } = task.spec.ContainerSpec;
  const base = 1000 + 100 * (task.attachments?.length ?? 0);
  return [...Env, ...Args, ...Command].reduce((sum, text) => sum + text.length, base);
}

function count(uses: Map<string, number>, id: string): number {
  const now = (uses.get(id) ?? 0) + 1;
  uses.set(id, now);
  return now;
}

/** True when nobody uses it any more. */
function uncount(uses: Map<string, number>, id: string): boolean {
  const now = (uses.get(id) ?? 0) - 1;
  if (now > 0) {
    uses.set(id, now);
    return false;
  }
  uses.delete(id);
  return true;
}

/** Takes back what was to be sent in the same message, else says that it is gone. */
function drop(sending: { readonly id: string }[], removed: string[], id: string): void {
  const at = sending.findIndex((item) => item.id === id);
  if (at >= 0) sending.splice(at, 1);
  else removed.push(id);
}
