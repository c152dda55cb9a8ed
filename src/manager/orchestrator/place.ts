/**
 * Where one task of a service belongs: a slot (replicated services and jobs), or a node (global ones). A place is stable over
 * restarts and updates; what happens to a task happens within its place.
 */
import { isJobSpec } from '../../model/job.ts';
import type { Service, Task } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';

/** A slot's number, or a node's id. */
export type Place = number | string;

export function placeOf(task: Task): Place {
  return task.pinned === true ? task.nodeId : task.slot;
}

/** All tasks of a place, oldest first. */
export function tasksAt(view: ClusterView, serviceId: string, place: Place): readonly Task[] {
  if (typeof place === 'number') return view.tasksOfSlot(serviceId, place);
  return [...view.tasksOfNode(place)].filter((task) => task.serviceId === serviceId && task.pinned === true);
}

/** `service/#slot` or `service/@node`. */
export function placeKey(serviceId: string, place: Place): string {
  return typeof place === 'number' ? `${serviceId}/#${place}` : `${serviceId}/@${place}`;
}

export function parsePlaceKey(key: string): { readonly serviceId: string; readonly place: Place } {
  const at = key.lastIndexOf('/');
  const place = key.slice(at + 2);
  return { serviceId: key.slice(0, at), place: key[at + 1] === '#' ? Number(place) : place };
}

export function isGlobal(service: Service): boolean {
  return service.spec.Mode.Global !== undefined || service.spec.Mode.GlobalJob !== undefined;
}

export function isJob(service: Service): boolean {
  return isJobSpec(service.spec);
}
