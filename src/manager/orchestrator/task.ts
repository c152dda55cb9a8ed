/** Making and judging tasks of a service. */
import { sameEndpoint, sameTaskSpec } from '../../model/equal.ts';
import { needsAllocation } from '../../model/network.ts';
import type { Node, Service, Task, UpdateOrder } from '../../model/objects.ts';
import type { EndpointSpec, TaskSpec } from '../../model/spec.ts';
import type { DesiredState } from '../../model/task-state.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import { isUpdated } from '../../model/update.ts';
import { constraintsMatch } from '../../scheduler/index.ts';
import type { Draft } from '../store/port.ts';
import type { Place } from './place.ts';

/** What a new task is made from: the service, or an older task of the slot. */
export interface Template {
  readonly spec: TaskSpec;
  readonly specVersion: number;
  readonly endpoint: EndpointSpec;
  readonly serviceName: string;
  readonly serviceLabels: Task['serviceLabels'];
}

export function templateOf(service: Service): Template {
  return {
    spec: service.spec.TaskTemplate,
    specVersion: service.specVersion,
    endpoint: service.spec.EndpointSpec ?? {},
    serviceName: service.spec.Name,
    serviceLabels: service.spec.Labels,
  };
}

export interface Birth {
  readonly id: string;
  readonly serviceId: string;
  readonly place: Place;
  readonly now: number;
  readonly template: Template;
  readonly desired: DesiredState;
  readonly restarts: readonly number[];
  readonly failures?: number;
  readonly jobIteration?: number;
  readonly notBefore?: number;
  readonly replaces?: string;
  readonly handover?: UpdateOrder;
  readonly updateBegunAt?: number;
}

export function newTask(birth: Birth): Draft<'task'> {
  const { id, serviceId, place, now, template, desired, restarts, failures = 0 } = birth;
  const { jobIteration, notBefore, replaces, handover, updateBegunAt } = birth;
  const { spec, specVersion, endpoint, serviceName, serviceLabels } = template;
  return {
    id,
    serviceId,
    ...(typeof place === 'number' ? { slot: place, nodeId: '' } : { slot: 0, nodeId: place, pinned: true as const }),
    ...(jobIteration === undefined ? {} : { jobIteration }),
    spec,
    specVersion,
    serviceName,
    serviceLabels,
    endpoint,
    desired,
    status: needsAllocation(spec, endpoint)
      ? { state: TaskState.new, timestamp: now, message: 'waiting for network addresses', err: '' }
      : { state: TaskState.pending, timestamp: now, message: 'pending task scheduling', err: '' },
    restarts,
    ...(failures === 0 ? {} : { failures }),
    ...(notBefore === undefined ? {} : { notBefore }),
    ...(replaces === undefined ? {} : { replaces }),
    ...(handover === undefined ? {} : { handover }),
    ...(updateBegunAt === undefined ? {} : { updateBegunAt }),
  };
}

/** Made from a spec that differs from the service's in a way that matters; `node` is where the task is, if anywhere. */
export function isDirty(task: Task, service: Service, node: Node | undefined): boolean {
  if (task.specVersion === service.specVersion) return false;
  const wanted = service.spec.TaskTemplate;
  if (!sameEndpoint(task.endpoint, service.spec.EndpointSpec)) return true;
  if (sameTaskSpec(task.spec, wanted)) return false;
  // A changed placement alone moves only those that stand where they may not; for the limit per node see `hasOtherLimit`.
  if (node === undefined || !sameTaskSpec(withoutPlacement(task.spec), withoutPlacement(wanted))) return true;
  return !constraintsMatch(wanted.Placement?.Constraints, node);
}

/**
 * No update is going to move it: it is of the service's spec, or differs from that in nothing but where it may be placed, and the
 * update that said so is over.
 */
export function isSettled(task: Task, service: Service): boolean {
  if (task.specVersion === service.specVersion) return true;
  const wanted = service.spec.TaskTemplate;
  if (!sameEndpoint(task.endpoint, service.spec.EndpointSpec)) return false;
  if (sameTaskSpec(task.spec, wanted)) return true;
  return isUpdated(service) && sameTaskSpec(withoutPlacement(task.spec), withoutPlacement(wanted));
}

/** Made under another limit of replicas per node: whether it has to go depends on who else is there. */
export function hasOtherLimit(task: Task, service: Service): boolean {
  return task.specVersion !== service.specVersion && maxPerNode(service.spec.TaskTemplate) !== maxPerNode(task.spec);
}

/** 0 = no limit. */
export function maxPerNode(spec: TaskSpec): number {
  return spec.Placement?.MaxReplicas ?? 0;
}

function withoutPlacement(spec: TaskSpec): TaskSpec {
  const { Placement: _, ...rest } = spec;
  return rest;
}

/** Still wanted to run, now or soon. */
export function isWanted(task: Task): boolean {
  return task.desired <= TaskState.complete;
}

/** Nothing of it runs, or ever did. */
export function isStopped(task: Task): boolean {
  return isTerminal(task.status.state) || task.status.state < TaskState.assigned;
}

/** Its node is not coming back soon: down, or removed. A node that is `unknown` or `disconnected` has lost nothing yet. */
export function isLost(task: Task, node: Node | undefined): boolean {
  return task.nodeId !== '' && (node === undefined || node.status.state === 'down');
}
