/** Tasks that wait for a place, by what makes them equal to the scheduler: of thousands of equal ones, one is looked at. */
import type { Task } from '../../model/objects.ts';
import { groupKey } from '../../scheduler/index.ts';

interface Entry {
  readonly task: Task;
  /** No node was found for it. */
  isTried: boolean;
}

export class PendingGroup {
  readonly #entries = new Map<string, Entry>();
  #untried = 0;
  /** Those that are to take over from another: each has a place of its own to look at. */
  #successors = 0;
  /** Of tasks that are made for their node: who waits for which. */
  #byNode: Map<string, Set<string>> | undefined;

  get size(): number {
    return this.#entries.size;
  }

  /** In the order in which they began to wait. */
  get tasks(): readonly Task[] {
    return Array.from(this.#entries.values(), ({ task }) => task);
  }

  /** Any of them. */
  get sample(): Task | undefined {
    for (const { task } of this.#entries.values()) return task;
    return undefined;
  }

  /** True: no node was found for any of them, and what holds for one holds for all. */
  get isTried(): boolean {
    return this.#untried === 0 && this.#successors === 0;
  }

  /** Of tasks that are made for their node: those to look at once something was freed on these nodes. */
  concernedBy(freed: ReadonlySet<string>): readonly Task[] {
    const near = new Set([...freed].flatMap((nodeId) => [...(this.#byNode?.get(nodeId) ?? [])]));
    if (this.isTried) return [...near].flatMap((id) => this.#entries.get(id)?.task ?? []);
    const isOpen = ({ task, isTried }: Entry) => !isTried || task.handover !== undefined || near.has(task.id);
    return [...this.#entries.values()].filter(isOpen).map(({ task }) => task);
  }

  /** True: it did not wait before. */
  put(task: Task): boolean {
    const old = this.#entries.get(task.id);
    if (old?.task.handover !== undefined) this.#successors -= 1;
    if (task.handover !== undefined) this.#successors += 1;
    this.#entries.set(task.id, { task, isTried: old?.isTried ?? false });
    if (old !== undefined) return false;
    this.#untried += 1;
    if (task.pinned === true) this.#addToNode(task);
    return true;
  }

  delete(taskId: string): void {
    const old = this.#entries.get(taskId);
    if (old === undefined) return;
    this.#entries.delete(taskId);
    if (!old.isTried) this.#untried -= 1;
    if (old.task.handover !== undefined) this.#successors -= 1;
    const neighbours = this.#byNode?.get(old.task.nodeId);
    neighbours?.delete(taskId);
    if (neighbours?.size === 0) this.#byNode?.delete(old.task.nodeId);
  }

  noteTried(taskId: string): void {
    const entry = this.#entries.get(taskId);
    if (entry === undefined || entry.isTried) return;
    entry.isTried = true;
    this.#untried -= 1;
  }

  #addToNode({ id, nodeId }: Task): void {
    this.#byNode ??= new Map();
    const neighbours = this.#byNode.get(nodeId);
    if (neighbours === undefined) this.#byNode.set(nodeId, new Set([id]));
    else neighbours.add(id);
  }
}

export class Pending {
  readonly #groups = new Map<string, PendingGroup>();

  /** True: it did not wait before. */
  put(task: Task): boolean {
    const key = groupKey(task);
    let group = this.#groups.get(key);
    if (group === undefined) this.#groups.set(key, (group = new PendingGroup()));
    return group.put(task);
  }

  delete(task: Task): void {
    const key = groupKey(task);
    const group = this.#groups.get(key);
    group?.delete(task.id);
    if (group?.size === 0) this.#groups.delete(key);
  }

  /** Those that there are now; each as it is when its turn comes, or not at all when nobody of it waits any more. */
  *groups(): Iterable<PendingGroup> {
    for (const group of [...this.#groups.values()]) if (group.size > 0) yield group;
  }
}
