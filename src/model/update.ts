/** How updates of services stand and end, in Docker's words: shared by the control API and the update loop. Pure. */
import { type EffectiveUpdateConfig, effectiveUpdateConfig } from './defaults.ts';
import { sameEndpoint, sameSpec, sameTaskSpec } from './equal.ts';
import { isJobSpec, jobStatusAfter } from './job.ts';
import type { Service, UpdateStatus } from './objects.ts';
import { registryAuthFor } from './registry-auth.ts';
import type { ServiceSpec } from './spec.ts';

/** True while tasks are being replaced; false when nothing was begun, it is paused, or over. */
export function isUpdating(service: Service): boolean {
  const state = service.updateStatus?.state;
  return state === 'updating' || state === 'rollback_started';
}

/** By a failure: it goes on when the service is updated, not when it is scaled. */
export function isPaused(service: Service): boolean {
  const state = service.updateStatus?.state;
  return state === 'paused' || state === 'rollback_paused';
}

/** As far as it went: no place waits for it. */
export function isUpdated(service: Service): boolean {
  const state = service.updateStatus?.state;
  return state === 'completed' || state === 'rollback_completed';
}

export function isRollback(service: Service): boolean {
  return service.updateStatus?.state.startsWith('rollback_') === true;
}

/** The rules of the update under way: a rollback has its own. */
export function updateConfigOf(service: Service): EffectiveUpdateConfig {
  return effectiveUpdateConfig(isRollback(service) ? service.spec.RollbackConfig : service.spec.UpdateConfig);
}

type Draft = Omit<Service, 'meta'>;

export function startedUpdate(now: number): UpdateStatus {
  return { state: 'updating', startedAt: now, message: 'update in progress' };
}

export function completedUpdate(status: UpdateStatus, now: number): UpdateStatus {
  return status.state === 'rollback_started'
    ? { ...status, state: 'rollback_completed', completedAt: now, message: 'rollback completed' }
    : { ...status, state: 'completed', completedAt: now, message: 'update completed' };
}

export function pausedUpdate(status: UpdateStatus, message: string): UpdateStatus {
  return { ...status, state: status.state === 'rollback_started' ? 'rollback_paused' : 'paused', message };
}

/**
 * The service with another spec. Where tasks made from the old one are still right, an update under way goes on: scaling during
 * a rollout neither restarts it nor loses what to roll back to. Scaling leaves a paused one paused, too: who needs more (or fewer)
 * tasks has not looked at what failed. Otherwise it is superseded, and the update loop starts afresh.
 */
export function respecced(
  service: Service,
  spec: ServiceSpec,
  now: number,
  registryAuth = registryAuthFor(service, spec.TaskTemplate.ContainerSpec.Image),
): Draft {
  const {
    meta: _,
    updateStatus,
    updateProgress,
    previousSpec,
    registryAuth: __,
    previousRegistryAuth,
    ...draft
  } = service;
  const same = tasksStayRight(service.spec, spec);
  const next = {
    ...draft,
    spec,
    specVersion: service.specVersion + (same ? 0 : 1),
    ...(isScaled(service.spec, spec) ? {} : nextRevision(service, now)),
    ...jobStatusAfter(service, spec, now),
    ...(registryAuth === undefined ? {} : { registryAuth }),
  };
  const goesOn = same && (isUpdating(service) || (isPaused(service) && isMereScaling(service.spec, spec)));
  if (!goesOn) return { ...next, ...previousOf(service) };
  return {
    ...next,
    ...(previousRegistryAuth === undefined ? {} : { previousRegistryAuth }),
    ...(updateStatus === undefined ? {} : { updateStatus }),
    ...(updateProgress === undefined ? {} : { updateProgress }),
    ...(previousSpec === undefined ? {} : { previousSpec: { ...previousSpec, Mode: spec.Mode } }),
  };
}

/** Neither scaling nor a service label makes a task stale. */
function tasksStayRight(one: ServiceSpec, other: ServiceSpec): boolean {
  return sameTaskSpec(one.TaskTemplate, other.TaskTemplate) && sameEndpoint(one.EndpointSpec, other.EndpointSpec);
}

/** Differs at most in how many tasks are wanted. */
export function isScaled(one: ServiceSpec, other: ServiceSpec): boolean {
  const { Mode: _, ...rest } = one;
  const { Mode: __, ...others } = other;
  return tasksStayRight(one, other) && sameSpec(rest, others);
}

function previousOf({ spec, registryAuth }: Service): Pick<Service, 'previousSpec' | 'previousRegistryAuth'> {
  return { previousSpec: spec, ...(registryAuth === undefined ? {} : { previousRegistryAuth: registryAuth }) };
}

function isMereScaling(one: ServiceSpec, other: ServiceSpec): boolean {
  return isScaled(one, other) && !sameSpec(one.Mode, other.Mode);
}

function nextRevision(service: Service, now: number): Pick<Service, 'revision' | 'revisedAt'> {
  return { revision: (service.revision ?? 1) + 1, revisedAt: now };
}

export interface Rollback {
  readonly spec: ServiceSpec;
  readonly message: string;
  readonly startedAt: number;
  /** A user's rollback can be rolled back; one by failure must not lead back to what failed. */
  readonly by: 'user' | 'failure';
}

/** As SwarmKit does it (manager/controlapi/service.go, manager/orchestrator/update/updater.go). */
export function rolledBack(service: Service, { spec, message, startedAt, by }: Rollback, now: number): Draft {
  const {
    meta: _,
    previousSpec: __,
    updateStatus: ___,
    updateProgress: ____,
    registryAuth: _____,
    previousRegistryAuth: ______,
    ...draft
  } = service;
  const registryAuth = registryAuthFor(service, spec.TaskTemplate.ContainerSpec.Image);
  return {
    ...draft,
    ...(registryAuth === undefined ? {} : { registryAuth }),
    spec,
    specVersion: service.specVersion + 1,
    // A job is executed anew, at once and as a whole: nobody would ever say that its rollback is completed.
    ...(isJobSpec(spec) ? {} : { updateStatus: { state: 'rollback_started', startedAt, message } }),
    ...nextRevision(service, now),
    ...jobStatusAfter(service, spec, now),
    ...(by === 'user' ? previousOf(service) : {}),
  };
}

export const manualRollbackMessage = 'manually requested rollback';
