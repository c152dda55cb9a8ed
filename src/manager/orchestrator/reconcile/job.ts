/**
 * A replicated job: `MaxConcurrent` tasks at a time until `TotalCompletions` slots have completed. Slots count from 0; a slot whose
 * task failed is tried again by the restart policy; one that used up its attempts stays open and holds nobody up.
 * Of each slot it is remembered what it amounts to, so a task's change costs a look at its slot, not at the job. Pure.
 */
import type { Task } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import { mayMove, shouldRestart } from '../restart.ts';
import { isWanted } from '../task.ts';
import type { Intent } from './slot.ts';
import { endedByItself } from './slot.ts';

export interface JobSlot {
  /** `free`: nothing of this execution is in it. `active`: counts among those at a time. `over`: done, or given up. */
  readonly state: 'free' | 'active' | 'over';
  /** What is wanted of it without a look at the others; undefined: nothing. */
  readonly intent: Intent | undefined;
}

/** `tasks`: all of the slot, oldest first. */
export function jobSlotOf(tasks: readonly Task[], iteration: number | undefined): JobSlot {
  const kept = tasks.filter((task) => task.desired < TaskState.remove);
  const current = kept.filter((task) => task.jobIteration === iteration);
  // Of an earlier execution: whatever is decided about its slot removes it.
  const hasOutdated = current.length < kept.length;
  if (current.length === 0) return { state: 'free', intent: hasOutdated ? 'hold' : undefined };
  const isDone = current.some((task) => task.status.state === TaskState.complete);
  const isSettled = isDone && current.length === 1 && !hasOutdated;
  return { state: isDone || isSpent(current) ? 'over' : 'active', intent: isSettled ? undefined : 'keep' };
}

/** The restart policy has given it up. */
function isSpent(tasks: readonly Task[]): boolean {
  const last = tasks.at(-1);
  if (last === undefined || tasks.some((task) => isWanted(task) && !endedByItself(task))) return false;
  return endedByItself(last) ? !shouldRestart(last) : !mayMove(last);
}

export class JobBook {
  /** False until every slot was put in once: till then nobody can say how many are active. */
  isComplete = false;
  /** Slots that are not free. */
  readonly #taken = new Map<number, 'active' | 'over'>();
  #active = 0;
  /** This one and all behind it are free. */
  #end = 0;
  /** Free ones before it. */
  readonly #gaps = new Set<number>();

  /** Slots that count among those at a time. */
  get active(): number {
    return this.#active;
  }

  /** Replaces what was known of the slot. */
  put(slot: number, state: JobSlot['state']): void {
    if (this.#taken.get(slot) === 'active') this.#active -= 1;
    if (state === 'active') this.#active += 1;
    if (state === 'free') return this.#free(slot);
    this.#taken.set(slot, state);
    this.#gaps.delete(slot);
    for (; this.#end <= slot; this.#end++) if (this.#end !== slot) this.#gaps.add(this.#end);
  }

  /** The lowest free slots before `total`, `count` at most. */
  firstFree(count: number, total: number): readonly number[] {
    if (count <= 0) return [];
    const gaps = [...this.#gaps].filter((slot) => slot < total).sort((one, other) => one - other);
    const found = gaps.slice(0, count);
    for (let slot = this.#end; slot < total && found.length < count; slot++) found.push(slot);
    return found;
  }

  #free(slot: number): void {
    if (this.#taken.delete(slot)) this.#gaps.add(slot);
  }
}
