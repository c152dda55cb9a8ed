/** What to do next for one task. Pure: the task manager carries it out, one step at a time. */
import { assert } from '../lib/assert.ts';
import { type DesiredState, isTerminal, TaskState } from '../model/task-state.ts';
import type { Exit } from './executor/port.ts';

export type Step = 'accept' | 'prepare' | 'start' | 'wait' | 'shutdown' | 'remove' | 'idle';

export interface Situation {
  readonly state: TaskState;
  readonly desired: DesiredState;
  /** No longer assigned to this node: stop it and free everything. */
  readonly unassigned: boolean;
  /** It was running, but the host restarted since. */
  readonly lost: boolean;
}

export function nextStep({ state, desired, unassigned, lost }: Situation): Step {
  if (unassigned) return 'remove';
  if (isTerminal(state)) return 'idle';
  if (desired >= TaskState.shutdown) return 'shutdown';
  if (lost) return 'prepare';
  if (state < TaskState.accepted) return 'accept';
  if (state < TaskState.ready) return 'prepare';
  if (state === TaskState.ready) return desired === TaskState.ready ? 'idle' : 'start';
  return state === TaskState.starting ? 'start' : 'wait';
}

/** States only grow, and end once. */
export function advance(from: TaskState, to: TaskState): TaskState {
  assert(to >= from && !(isTerminal(from) && to !== from), `task state moved from ${from} to ${to}`);
  return to;
}

/** Docker's words for how a container ended. */
export function outcome(exit: Exit): { readonly state: TaskState; readonly message: string; readonly err: string } {
  if (exit.exitCode === 0 && exit.reason === undefined)
    return { state: TaskState.complete, message: 'finished', err: '' };
  const why = exit.reason === undefined ? '' : `: ${exit.reason}`;
  return { state: TaskState.failed, message: 'started', err: `task: non-zero exit (${exit.exitCode})${why}` };
}
