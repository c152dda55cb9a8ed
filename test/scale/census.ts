/** Counts what there is, commit by commit. */
import { createHash } from 'node:crypto';
import type { MemoryStore } from '../../src/manager/store/store.ts';
import type { Node, Task } from '../../src/model/objects.ts';
import { TaskState } from '../../src/model/task-state.ts';
import type { ClusterView } from '../../src/model/view.ts';

export class Census {
  /** Nodes that are ready. */
  ready = 0;
  /** Ids of the tasks that run and are meant to, on nodes that are ready. */
  readonly running = new Set<string>();
  readonly #view: ClusterView;

  constructor(store: MemoryStore) {
    this.#view = store.view;
    store.subscribe(({ events }) => {
      for (const event of events) {
        if (event.table === 'task') this.#task(event.before, event.after);
        else if (event.table === 'node') this.#node(event.before, event.after);
      }
    });
  }

  /** Equal for equal sets of running tasks. */
  fingerprint(): string {
    return createHash('sha256')
      .update([...this.running].sort().join())
      .digest('hex');
  }

  #task(before: Task | undefined, after: Task | undefined): void {
    const task = after ?? before;
    if (task === undefined) return;
    if (after !== undefined && this.#counts(after)) this.running.add(task.id);
    else this.running.delete(task.id);
  }

  #node(before: Node | undefined, after: Node | undefined): void {
    const was = before?.status.state === 'ready';
    const is = after?.status.state === 'ready';
    if (was === is) return;
    this.ready += is ? 1 : -1;
    for (const task of this.#view.tasksOfNode(after?.id ?? before?.id ?? '')) this.#task(undefined, task);
  }

  #counts({ status, desired, nodeId }: Task): boolean {
    if (status.state !== TaskState.running || desired !== TaskState.running) return false;
    return this.#view.get('node', nodeId)?.status.state === 'ready';
  }
}
