/** Writes what was decided about a slot. The decision is made again on the state of the transaction, so a race changes nothing. */

import { unreachable } from '../../../lib/assert.ts';
import { newId } from '../../../lib/ids.ts';
import type { Random } from '../../../lib/random.ts';
import type { Service, Task } from '../../../model/objects.ts';
import type { DesiredState } from '../../../model/task-state.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import type { Transaction } from '../../store/port.ts';
import { newTask, templateOf } from '../task.ts';
import type { Action, Intent } from './slot.ts';
import { decideSlot } from './slot.ts';

export interface SlotItem {
  readonly kind: 'slot';
  readonly serviceId: string;
  readonly slot: number;
  readonly intent: Intent;
}

export function applySlot(tx: Transaction, item: SlotItem, random: Random): void {
  const service = tx.get('service', item.serviceId);
  if (service === undefined) return;
  const context = { now: tx.now, service, nodeOf: (id: string) => tx.get('node', id) };
  const { actions } = decideSlot(tx.tasksOfSlot(item.serviceId, item.slot), context, item.intent);
  for (const action of actions) applyAction(tx, service, { slot: item.slot, action, random });
}

interface Step {
  readonly slot: number;
  readonly action: Action;
  readonly random: Random;
}

function applyAction(tx: Transaction, service: Service, { slot, action, random }: Step): void {
  switch (action.kind) {
    case 'create':
      return tx.create('task', birth(tx, service, { slot, action, random }));
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

function birth(
  tx: Transaction,
  service: Service,
  { slot, action, random }: Step & { readonly action: Action },
): ReturnType<typeof newTask> {
  if (action.kind !== 'create') throw new TypeError('not a create action');
  const like = action.like === undefined ? undefined : tx.get('task', action.like);
  const { kind: _, like: __, ...rest } = action;
  return newTask({
    ...rest,
    id: newId(random),
    serviceId: service.id,
    slot,
    now: tx.now,
    template: like ?? templateOf(service),
  });
}

/** A task that no node has ends with the wish itself: no agent will report that it stopped. */
export function setDesired(tx: Transaction, taskId: string, desired: DesiredState): void {
  const task = tx.get('task', taskId);
  if (task === undefined || task.desired >= desired) return;
  const { meta: _, ...draft } = task;
  const ends = task.nodeId === '' && desired >= TaskState.shutdown && !isTerminal(task.status.state);
  const status = ends
    ? { ...task.status, state: TaskState.shutdown, timestamp: tx.now, message: 'never assigned to a node' }
    : task.status;
  tx.update('task', { ...draft, desired, status });
}

function release(tx: Transaction, taskId: string): void {
  const task = tx.get('task', taskId);
  if (task === undefined || task.desired >= TaskState.running) return;
  const { meta: _, notBefore: __, replaces: ___, ...draft }: Task = task;
  tx.update('task', { ...draft, desired: TaskState.running });
}

export function orphan(tx: Transaction, taskId: string, message: string): void {
  const task = tx.get('task', taskId);
  if (task === undefined || isTerminal(task.status.state)) return;
  const { meta: _, ...draft } = task;
  tx.update('task', { ...draft, status: { ...task.status, state: TaskState.orphaned, timestamp: tx.now, message } });
}
