/**
 * A replicated job: `MaxConcurrent` tasks at a time until `TotalCompletions` slots have completed. Slots count from 0; a slot whose
 * task failed is tried again by the restart policy; one that used up its attempts stays open and holds nobody up. Pure.
 */
import { jobSizeOf } from '../../../model/defaults.ts';
import type { Service, Task } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import type { Place } from '../place.ts';
import { placeOf } from '../place.ts';
import { mayMove, shouldRestart } from '../restart.ts';
import type { Seat } from '../seat.ts';
import { seatsOf } from '../seat.ts';
import { isWanted } from '../task.ts';
import type { Intents, ModeContext } from './mode.ts';
import type { Intent } from './slot.ts';
import { endedByItself } from './slot.ts';

export function decideJob(service: Service, tasks: Iterable<Task>, context: ModeContext): Intents {
  const { maxConcurrent, totalCompletions } = jobSizeOf(service.spec);
  const iteration = service.jobStatus?.iteration;
  const intents = new Map<Place, Intent>();
  const current: Task[] = [];
  for (const task of tasks) {
    if (task.jobIteration === iteration) current.push(task);
    // Of an earlier execution: whatever is decided about its place removes it.
    else if (task.desired < TaskState.remove) intents.set(placeOf(task), 'hold');
  }
  let active = 0;
  const taken = new Set<Place>();
  for (const seat of seatsOf(current, context)) {
    taken.add(seat.place);
    if (isDone(seat) && seat.tasks.length === 1 && !intents.has(seat.place)) continue;
    intents.set(seat.place, 'keep');
    if (!isDone(seat) && !isSpent(seat)) active += 1;
  }
  for (let slot = 0; slot < totalCompletions && active < maxConcurrent; slot++) {
    if (taken.has(slot)) continue;
    intents.set(slot, 'keep');
    active += 1;
  }
  return intents;
}

function isDone(seat: Seat): boolean {
  return seat.tasks.some((task) => task.status.state === TaskState.complete);
}

/** The restart policy has given it up. */
function isSpent({ tasks }: Seat): boolean {
  const last = tasks.at(-1);
  if (last === undefined || tasks.some((task) => isWanted(task) && !endedByItself(task))) return false;
  return endedByItself(last) ? !shouldRestart(last) : !mayMove(last);
}
