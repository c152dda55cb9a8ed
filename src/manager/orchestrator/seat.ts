/** The places of a service with what is in them. */
import type { Node, Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { Place } from './place.ts';
import { placeOf } from './place.ts';
import { isLost, isWanted } from './task.ts';

export interface Seat {
  readonly place: Place;
  /** Its tasks but those marked for removal, oldest first. */
  readonly tasks: readonly Task[];
  /** The task that stands for the place: the newest wanted one that is not lost, else the newest. */
  readonly face: Task | undefined;
  readonly running: boolean;
  /** Empty: nowhere. */
  readonly nodeId: string;
}

export interface ServiceContext {
  readonly now: number;
  nodeOf(id: string): Node | undefined;
}

/** Seats of all places that have a task which is not marked for removal. */
export function seatsOf(tasks: Iterable<Task>, context: ServiceContext): readonly Seat[] {
  const places = new Map<Place, Task[]>();
  for (const task of tasks) {
    if (task.desired === TaskState.remove) continue;
    const place = placeOf(task);
    const own = places.get(place);
    if (own === undefined) places.set(place, [task]);
    else own.push(task);
  }
  return [...places].map(([place, own]) => seat(place, own, context));
}

function seat(place: Place, tasks: readonly Task[], context: ServiceContext): Seat {
  const wanted = tasks.filter(isWanted);
  const here = wanted.filter((task) => !isTerminal(task.status.state) && !isLost(task, context.nodeOf(task.nodeId)));
  const face = here.at(-1) ?? wanted.at(-1) ?? tasks.at(-1);
  const running = here.some((task) => task.status.state === TaskState.running);
  return { place, tasks, face, running, nodeId: here.at(-1)?.nodeId ?? '' };
}
