/**
 * What the agent remembers over its own restarts and the host's: its tasks and what became of them. Never secrets or configs.
 * `task-db-file.ts` keeps it on disk, the memory one serves tests and the simulator.
 */
import type { AssignedTask } from '../model/assignment.ts';
import type { TaskStatus } from '../model/objects.ts';

export interface StoredTask {
  readonly task: AssignedTask;
  /** As observed here; may be ahead of `task.status`. */
  readonly status: TaskStatus;
  /** The boot in which the status was observed; empty = not known. */
  readonly bootId: string;
}

export type TaskDbChange =
  | { readonly kind: 'put'; readonly entry: StoredTask }
  | { readonly kind: 'status'; readonly taskId: string; readonly status: TaskStatus; readonly bootId: string }
  | { readonly kind: 'remove'; readonly taskId: string };

export interface TaskDb {
  /** Everything, in the order it was first put. Called once, before anything is written. */
  load(): Promise<readonly StoredTask[]>;
  /**
   * All or nothing; resolves when it would survive a power cut. Changes are applied in the order of the calls; many calls may be
   * under way. A status of an unknown task is ignored.
   */
  write(changes: readonly TaskDbChange[]): Promise<void>;
  /** After everything under way is written. Twice does no harm. */
  close(): Promise<void>;
}

/** Applies a change to tasks in memory; the meaning of every implementation. */
export function applyTaskDbChange(tasks: Map<string, StoredTask>, change: TaskDbChange): void {
  if (change.kind === 'put') {
    tasks.set(change.entry.task.id, change.entry);
  } else if (change.kind === 'remove') {
    tasks.delete(change.taskId);
  } else {
    const entry = tasks.get(change.taskId);
    if (entry !== undefined) tasks.set(change.taskId, { ...entry, status: change.status, bootId: change.bootId });
  }
}

/** A disk in memory: outlives the agents that open it. */
export class MemoryTaskDisk {
  readonly #tasks = new Map<string, StoredTask>();

  get size(): number {
    return this.#tasks.size;
  }

  open(): TaskDb {
    const tasks = this.#tasks;
    return {
      load: async () => [...tasks.values()],
      write: async (changes) => {
        for (const change of changes) applyTaskDbChange(tasks, change);
      },
      close: async () => {},
    };
  }
}
