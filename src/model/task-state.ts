import { assert } from '../lib/assert.ts';

/**
 * Task states are ordered and never go back; the gaps leave room (SwarmKit, api/types.proto). A task is one attempt: a
 * restart is a new task in the same slot. `remove` is only ever desired.
 */
export const TaskState = {
  new: 0,
  pending: 64,
  assigned: 192,
  accepted: 256,
  preparing: 320,
  ready: 384,
  starting: 448,
  running: 512,
  complete: 576,
  shutdown: 640,
  failed: 704,
  rejected: 768,
  remove: 800,
  orphaned: 832,
} as const;

export type TaskStateName = keyof typeof TaskState;
export type TaskState = (typeof TaskState)[TaskStateName];

const names = new Map<number, TaskStateName>(
  Object.entries(TaskState).map(([name, value]) => [value, name as TaskStateName]),
);

/** The Docker API's word for a state, e.g. `running`. */
export function stateName(state: TaskState): TaskStateName {
  const name = names.get(state);
  assert(name !== undefined, `no such task state: ${state}`);
  return name;
}

export function stateOf(name: string): TaskState | undefined {
  return Object.hasOwn(TaskState, name) ? TaskState[name as TaskStateName] : undefined;
}

/** Nothing runs any more and nothing will: the task is history. */
export function isTerminal(state: TaskState): boolean {
  return state >= TaskState.complete;
}

export type DesiredState =
  | typeof TaskState.ready
  | typeof TaskState.running
  | typeof TaskState.complete
  | typeof TaskState.shutdown
  | typeof TaskState.remove;
