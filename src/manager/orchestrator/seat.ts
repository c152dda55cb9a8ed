/** The seam between the reconcilers, which keep every place filled, and the updater, which replaces tasks of an old spec. */
import type { Node, Service, Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { Place } from './place.ts';
import { placeOf } from './place.ts';
import type { SlotContext, SlotDecision } from './reconcile/slot.ts';
import { isLost, isWanted } from './task.ts';

/** A place of a service as an update sees it. */
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
  /** How long a task that ended had run; undefined = this leader did not see it. */
  ranMs(taskId: string): number | undefined;
}

export interface Rollout {
  /** Places to bring to the service's spec now (`replace` is asked for each); all others are kept as they are. */
  readonly places: readonly Place[];
  /** Written over the service when nobody changed it meanwhile. */
  readonly change?: Partial<Omit<Service, 'id' | 'meta'>>;
  /** When to look again though nothing happened. */
  readonly wakeAt?: number;
}

/** Pure. The reconciler asks again after every event of a service whose update is under way. */
export interface Updater {
  rollout(service: Service, seats: readonly Seat[], context: ServiceContext): Rollout;
  /** `kept`: the place's tasks that are not marked for removal. Undefined: nothing to replace, the restart policy decides. */
  replace(kept: readonly Task[], context: SlotContext): SlotDecision | undefined;
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
