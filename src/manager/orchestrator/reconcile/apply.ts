/** Writes what was decided about a place. The decision is made again on the state of the transaction, so a race changes nothing. */

import { unreachable } from '../../../lib/assert.ts';
import { newId } from '../../../lib/ids.ts';
import type { Random } from '../../../lib/random.ts';
import type { Service, Task } from '../../../model/objects.ts';
import type { DesiredState } from '../../../model/task-state.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import type { Transaction } from '../../store/port.ts';
import type { Place } from '../place.ts';
import { tasksAt } from '../place.ts';
import { newTask, templateOf } from '../task.ts';
import type { Action, Creation, Intent } from './slot.ts';
import { decideSlot } from './slot.ts';

export interface PlaceItem {
  readonly kind: 'place';
  readonly serviceId: string;
  readonly place: Place;
  readonly intent: Intent;
}

export function applyPlace(tx: Transaction, { serviceId, place, intent }: PlaceItem, random: Random): void {
  const service = tx.get('service', serviceId);
  if (service === undefined) return;
  const context = { now: tx.now, service, place, nodeOf: (id: string) => tx.get('node', id) };
  const { actions } = decideSlot(tasksAt(tx, serviceId, place), context, intent);
  for (const action of actions) applyAction(tx, service, { place, action, random });
}

export interface Step {
  readonly place: Place;
  readonly action: Action;
  readonly random: Random;
}

export function applyAction(tx: Transaction, service: Service, { place, action, random }: Step): void {
  switch (action.kind) {
    case 'create':
      return create(tx, service, action, { id: newId(random), place });
    case 'desire':
      return setDesired(tx, action.taskId, action.desired);
    case 'release':
      return release(tx, action.taskId);
    case 'orphan':
      return orphan(tx, action.taskId, 'Task belonged to a node that has been deleted.');
    default:
      return unreachable(action);
  }
}

function create(
  tx: Transaction,
  service: Service,
  action: Creation,
  { id, place }: { readonly id: string; readonly place: Place },
): void {
  const older = action.like === undefined ? undefined : tx.get('task', action.like);
  const { kind: _, like: __, ...rest } = action;
  const { jobStatus } = service;
  const iteration = jobStatus === undefined ? {} : { jobIteration: jobStatus.iteration };
  const template = older ?? templateOf(service);
  tx.create('task', newTask({ ...rest, ...iteration, id, serviceId: service.id, place, now: tx.now, template }));
}

/** A task that no agent has ends with the wish itself: nobody will report that it stopped. */
export function setDesired(tx: Transaction, taskId: string, desired: DesiredState): void {
  const task = tx.get('task', taskId);
  if (task === undefined || task.desired >= desired) return;
  const { meta: _, ...draft } = task;
  const ends = task.status.state < TaskState.assigned && desired >= TaskState.shutdown;
  const status = ends
    ? { ...task.status, state: TaskState.shutdown, timestamp: tx.now, message: 'never assigned to a node' }
    : task.status;
  tx.update('task', { ...draft, desired, status, ...(ends ? { endedAt: tx.now } : {}) });
}

function release(tx: Transaction, taskId: string): void {
  const task = tx.get('task', taskId);
  if (task === undefined || task.desired >= TaskState.running) return;
  const desired = task.jobIteration === undefined ? TaskState.running : TaskState.complete;
  const { meta: _, notBefore: __, replaces: ___, handover: ____, ...draft }: Task = task;
  tx.update('task', { ...draft, desired });
}

export function orphan(tx: Transaction, taskId: string, message: string): void {
  const task = tx.get('task', taskId);
  if (task === undefined || isTerminal(task.status.state)) return;
  const { meta: _, ...draft } = task;
  const status = { ...task.status, state: TaskState.orphaned, timestamp: tx.now, message };
  tx.update('task', { ...draft, status, endedAt: tx.now });
}
