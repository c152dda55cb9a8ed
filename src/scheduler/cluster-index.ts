/** All nodes with what their tasks hold, kept up to date by change events. */
import type { Node, Task } from '../model/objects.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import { failureWindowMs, groupKey, holds, NodeInfo, ServiceCounts } from './node-info.ts';

export class ClusterIndex {
  readonly #infos = new Map<string, NodeInfo>();
  readonly #counts = new ServiceCounts();
  /** The infos as a list, until a node comes or goes. */
  #list: readonly NodeInfo[] | undefined;
  /** Tasks whose node is not known (yet), by node. */
  readonly #strays = new Map<string, Map<string, Task>>();
  /** Where each task that holds something is. */
  readonly #where = new Map<string, string>();
  /** Tasks from which others are about to take over, and how many: a successor's own successor may come before it ends. */
  readonly #superseded = new Map<string, number>();
  /** By successor: the task that it counts for there. A task may be told of more than once, and first by a change of it. */
  readonly #successors = new Map<string, string>();

  /** The index of a state as it is now, with its recent failures. */
  static of(nodes: Iterable<Node>, tasks: Iterable<Task>, now: number): ClusterIndex {
    const index = new ClusterIndex();
    for (const node of nodes) index.putNode(node);
    for (const task of tasks) {
      index.changeTask(undefined, task);
      if (task.meta.updatedAt > now - failureWindowMs) index.noteFailure(task, task.meta.updatedAt);
    }
    return index;
  }

  infos(): readonly NodeInfo[] {
    this.#list ??= [...this.#infos.values()];
    return this.#list;
  }

  get size(): number {
    return this.#infos.size;
  }

  get(nodeId: string): NodeInfo | undefined {
    return this.#infos.get(nodeId);
  }

  putNode(node: Node): void {
    const info = this.#infos.get(node.id);
    if (info !== undefined) {
      info.node = node;
      return;
    }
    const added = new NodeInfo(node, this.#counts);
    for (const task of this.#strays.get(node.id)?.values() ?? []) added.put(task, this.#superseded.has(task.id));
    this.#strays.delete(node.id);
    this.#infos.set(node.id, added);
    this.#list = undefined;
  }

  removeNode(nodeId: string): void {
    this.#infos.get(nodeId)?.dropAll();
    this.#infos.delete(nodeId);
    this.#list = undefined;
  }

  changeTask(before: Task | undefined, after: Task | undefined): void {
    const stays = before !== undefined && after !== undefined && before.nodeId === after.nodeId && holds(after);
    if (before !== undefined && before.nodeId !== '' && !stays) this.release(before.nodeId, before.id);
    this.#supersede(before, after);
    if (after === undefined || !holds(after)) return;
    this.#where.set(after.id, after.nodeId);
    const info = this.#infos.get(after.nodeId);
    if (info !== undefined) return info.put(after, this.#superseded.has(after.id));
    const strays = this.#strays.get(after.nodeId) ?? new Map<string, Task>();
    strays.set(after.id, after);
    this.#strays.set(after.nodeId, strays);
  }

  /** The node that a task which is to be taken over from is on. */
  infoOfTask(taskId: string): NodeInfo | undefined {
    const nodeId = this.#where.get(taskId);
    return nodeId === undefined ? undefined : this.#infos.get(nodeId);
  }

  /** Remembers it against the node when a task failed there by itself. A task that is made for its node has no choice. */
  noteFailure(task: Task, at: number): void {
    const { state } = task.status;
    if (state !== TaskState.failed && state !== TaskState.rejected) return;
    if (task.evicted === true || task.pinned === true) return;
    this.#infos.get(task.nodeId)?.noteFailure(groupKey(task), at);
  }

  #supersede(before: Task | undefined, after: Task | undefined): void {
    const id = after?.id ?? before?.id ?? '';
    const from = this.#successors.get(id);
    const to = after === undefined ? undefined : takesOverFrom(after);
    if (from === to) return;
    if (to === undefined) this.#successors.delete(id);
    else this.#successors.set(id, to);
    if (from !== undefined) this.#count(from, -1);
    if (to !== undefined) this.#count(to, 1);
  }

  #count(taskId: string, by: number): void {
    const count = (this.#superseded.get(taskId) ?? 0) + by;
    if (count > 0) this.#superseded.set(taskId, count);
    else this.#superseded.delete(taskId);
    this.infoOfTask(taskId)?.supersede(taskId, count > 0);
  }

  release(nodeId: string, taskId: string): void {
    this.#infos.get(nodeId)?.drop(taskId);
    this.#where.delete(taskId);
    const strays = this.#strays.get(nodeId);
    strays?.delete(taskId);
    if (strays?.size === 0) this.#strays.delete(nodeId);
  }
}

/** The old task of a handover under way. */
function takesOverFrom(task: Task): string | undefined {
  const isUnderWay =
    task.handover !== undefined && task.desired <= TaskState.complete && !isTerminal(task.status.state);
  return isUnderWay ? task.replaces : undefined;
}
