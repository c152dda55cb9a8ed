/** Parts of a service spec that are all or nothing: one flag fills the rest with defaults. Shared by create and update. */
import { ClusterError } from '../../lib/errors.ts';
import { drainDelayLabel, failoverDelayLabel, progressDeadlineLabel } from '../../model/service-labels.ts';
import type {
  Healthcheck,
  Labels,
  ResourceRequirements,
  RestartPolicy,
  TaskSpec,
  UpdateConfig,
} from '../../model/spec.ts';
import { formatDuration } from '../../stack/values.ts';
import { labelMap } from '../options.ts';
import type { CommonFlags } from './flags.ts';

const second = 1_000_000_000;

export function restartPolicy(flags: CommonFlags, current: RestartPolicy | undefined): RestartPolicy | undefined {
  const { restartCondition, restartDelay, restartMaxAttempts, restartWindow } = flags;
  if ([restartCondition, restartDelay, restartMaxAttempts, restartWindow].every((value) => value === undefined))
    return current;
  const window = restartWindow ?? current?.Window;
  return {
    Condition: restartCondition ?? current?.Condition ?? 'any',
    Delay: restartDelay ?? current?.Delay ?? 5 * second,
    MaxAttempts: restartMaxAttempts ?? current?.MaxAttempts ?? 0,
    ...(window === undefined ? {} : { Window: window }),
  };
}

export function updateConfig(
  flags: CommonFlags,
  kind: 'update' | 'rollback',
  current: UpdateConfig | undefined,
): UpdateConfig | undefined {
  const given =
    kind === 'update'
      ? {
          Parallelism: flags.updateParallelism,
          Delay: flags.updateDelay,
          FailureAction: flags.updateFailureAction,
          Monitor: flags.updateMonitor,
          MaxFailureRatio: flags.updateMaxFailureRatio,
          Order: flags.updateOrder,
        }
      : {
          Parallelism: flags.rollbackParallelism,
          Delay: flags.rollbackDelay,
          FailureAction: flags.rollbackFailureAction,
          Monitor: flags.rollbackMonitor,
          MaxFailureRatio: flags.rollbackMaxFailureRatio,
          Order: flags.rollbackOrder,
        };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (Object.keys(set).length === 0) return current;
  const defaults = {
    Parallelism: 1,
    FailureAction: 'pause',
    Monitor: 5 * second,
    MaxFailureRatio: 0,
    Order: 'stop-first',
  };
  return { ...defaults, ...current, ...set };
}

/** Flags that become labels: Docker's spec has no field for them. */
export function flagLabels({ updateProgressDeadline, failoverDelay, drainDelay }: CommonFlags): Labels {
  return {
    ...(updateProgressDeadline === undefined
      ? {}
      : { [progressDeadlineLabel]: formatDuration(updateProgressDeadline) }),
    ...(failoverDelay === undefined ? {} : { [failoverDelayLabel]: formatDuration(failoverDelay) }),
    ...(drainDelay === undefined ? {} : { [drainDelayLabel]: formatDuration(drainDelay) }),
  };
}

export function healthcheck(flags: CommonFlags, current: Healthcheck | undefined): Healthcheck | undefined {
  const timing = {
    Interval: flags.healthInterval,
    Timeout: flags.healthTimeout,
    Retries: flags.healthRetries,
    StartPeriod: flags.healthStartPeriod,
    StartInterval: flags.healthStartInterval,
  };
  const given = Object.fromEntries(Object.entries(timing).filter(([, value]) => value !== undefined));
  const any = flags.healthCmd !== undefined || Object.keys(given).length > 0;
  if (!flags.healthcheck) {
    if (any) throw new ClusterError('invalid', '--no-healthcheck conflicts with --health-* options');
    return { Test: ['NONE'] };
  }
  if (!any) return current;
  const kept = current?.Test?.[0] === 'NONE' ? {} : current;
  const test =
    flags.healthCmd === undefined ? {} : { Test: flags.healthCmd === '' ? [] : ['CMD-SHELL', flags.healthCmd] };
  return { ...kept, ...test, ...given };
}

export function resources(flags: CommonFlags, current: ResourceRequirements | undefined): ResourceRequirements {
  const limits = { NanoCPUs: flags.limitCpu, MemoryBytes: flags.limitMemory, Pids: flags.limitPids };
  const reservations = { NanoCPUs: flags.reserveCpu, MemoryBytes: flags.reserveMemory };
  return {
    ...current,
    Limits: { ...current?.Limits, ...defined(limits) },
    Reservations: { ...current?.Reservations, ...defined(reservations) },
  };
}

/** Options without a driver are nothing, as in Docker's client. */
export function logDriver(flags: CommonFlags, current: TaskSpec['LogDriver']): TaskSpec['LogDriver'] {
  if (!flags.logDriver) return current;
  return { Name: flags.logDriver, Options: labelMap(flags.logOpt) };
}

export function defined<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
