/** What an event says of a change: Docker's attributes, the reason where there is one, and what it says of tasks. Pure. */
import { unreachable } from '../../lib/assert.ts';
import { replicasOf } from '../../model/defaults.ts';
import type { Network, Node, Service, Task } from '../../model/objects.ts';
import { stateName } from '../../model/task-state.ts';
import type { ChangeEvent, TableEvent } from '../../model/view.ts';

/** Docker's clients hear of the first five; of tasks only those who ask. */
export const dockerTypes = ['node', 'service', 'network', 'secret', 'config'] as const;
export const eventTypes = [...dockerTypes, 'task'] as const;
export type EventType = (typeof eventTypes)[number];
export type Attributes = Record<string, string>;

type Change = Extract<ChangeEvent, { table: EventType }>;

export function nameOf({ table, before, after }: Change, hostname: (nodeId: string) => string): string {
  const object = after ?? before;
  if (object === undefined) return '';
  if (table === 'node') return (object as Node).description?.hostname ?? '';
  if (table !== 'task') return (object as Service).spec.Name;
  const { serviceName, pinned, nodeId, slot } = object as Task;
  return `${serviceName}.${pinned === true ? hostname(nodeId) : slot}`;
}

/** Besides the name; undefined: nothing that concerns anybody. */
export function changeAttributes(change: Change): Attributes | undefined {
  switch (change.table) {
    case 'task':
      return taskAttributes(change);
    case 'node':
      return nodeAttributes(change);
    case 'network':
      return networkAttributes(change);
    case 'service':
      return serviceAttributes(change);
    case 'secret':
    case 'config':
      return {};
    default:
      return unreachable(change);
  }
}

/** Nobody can change a network; which of its addresses rest is the allocator's own affair. */
function networkAttributes({ before, after }: TableEvent<'network'>): Attributes | undefined {
  const isSame = (one: Network, other: Network) => one.allocation === other.allocation;
  return before !== undefined && after !== undefined && isSame(before, after) ? undefined : {};
}

function serviceAttributes({ before, after }: TableEvent<'service'>): Attributes {
  const attributes: Attributes = {};
  if (before === undefined || after === undefined) return attributes;
  const imageOf = ({ spec }: Service) => spec.TaskTemplate.ContainerSpec.Image;
  change(attributes, 'image', imageOf(before), imageOf(after));
  change(attributes, 'replicas', String(replicasOf(before.spec)), String(replicasOf(after.spec)));
  const [old, now] = [before.updateStatus, after.updateStatus];
  change(attributes, 'updatestate', old?.state ?? '', now?.state ?? '');
  if (now !== undefined && (now.state !== old?.state || now.message !== old.message)) reason(attributes, now.message);
  return attributes;
}

function nodeAttributes({ before, after }: TableEvent<'node'>): Attributes | undefined {
  const attributes: Attributes = {};
  if (before === undefined || after === undefined) return attributes;
  change(attributes, 'state', before.status.state, after.status.state);
  change(attributes, 'availability', before.spec.Availability, after.spec.Availability);
  change(attributes, 'role', before.spec.Role, after.spec.Role);
  change(attributes, 'labels', JSON.stringify(before.spec.Labels), JSON.stringify(after.spec.Labels));
  if (Object.keys(attributes).length === 0) return undefined;
  if (before.status.state !== after.status.state) reason(attributes, after.status.message);
  return attributes;
}

/** A task's transitions: of its state, of what is wished of it, and of what it waits for. */
function taskAttributes({ before, after }: TableEvent<'task'>): Attributes | undefined {
  const changes: Attributes = {};
  const task = after ?? before;
  if (task === undefined) return undefined;
  const state = (one: Task | undefined) => (one === undefined ? '' : stateName(one.status.state));
  const desired = (one: Task | undefined) => (one === undefined ? '' : stateName(one.desired));
  change(changes, 'state', state(before), state(after));
  change(changes, 'desired', desired(before), desired(after));
  if (Object.keys(changes).length === 0 && before?.status.err === after?.status.err) return undefined;
  const { message, err } = task.status;
  reason(changes, message);
  return {
    'service.id': task.serviceId,
    'service.name': task.serviceName,
    ...(task.nodeId === '' ? {} : { 'node.id': task.nodeId }),
    ...changes,
    ...(err === '' ? {} : { err }),
  };
}

function reason(attributes: Attributes, message: string): void {
  if (message !== '') attributes['message'] = message;
}

function change(attributes: Attributes, name: string, before: string, after: string): void {
  if (before === after) return;
  if (before !== '') attributes[`${name}.old`] = before;
  if (after !== '') attributes[`${name}.new`] = after;
}
