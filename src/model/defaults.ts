/** Defaults at use: specs are stored as given (Docker's defaults, docs.docker.com/reference/cli/docker/service/create). */
import type { UpdateOrder } from './objects.ts';
import type { ClusterSpec, RestartPolicy, ServiceSpec, TaskSpec, UpdateConfig } from './spec.ts';

const second = 1_000_000_000;

export const defaultStopGraceMs = 10_000;

export interface EffectiveRestartPolicy {
  readonly condition: 'none' | 'on-failure' | 'any';
  readonly delayMs: number;
  /** 0 = no limit. */
  readonly maxAttempts: number;
  /** 0 = unbounded. */
  readonly windowMs: number;
}

export function effectiveRestartPolicy(policy: RestartPolicy | undefined): EffectiveRestartPolicy {
  const condition = policy?.Condition;
  return {
    condition: condition === 'none' || condition === 'on-failure' ? condition : 'any',
    delayMs: policy?.Delay === undefined ? 5_000 : nanosToMs(policy.Delay),
    maxAttempts: policy?.MaxAttempts ?? 0,
    windowMs: nanosToMs(policy?.Window ?? 0),
  };
}

export const defaultUpdateConfig: UpdateConfig = {
  Parallelism: 1,
  Delay: 0,
  FailureAction: 'pause',
  Monitor: 5 * second,
  MaxFailureRatio: 0,
  Order: 'stop-first',
};

export interface EffectiveUpdateConfig {
  /** 0 = all at once. */
  readonly parallelism: number;
  readonly delayMs: number;
  readonly monitorMs: number;
  readonly failureAction: 'pause' | 'continue' | 'rollback';
  readonly maxFailureRatio: number;
  readonly order: UpdateOrder;
}

/** Empty values mean the default, as `docker stack deploy` sends them; parallelism 0 means "all at once". */
export function effectiveUpdateConfig(config: UpdateConfig | undefined): EffectiveUpdateConfig {
  const action = config?.FailureAction;
  return {
    parallelism: config?.Parallelism ?? 1,
    delayMs: nanosToMs(config?.Delay ?? 0),
    monitorMs: nanosToMs(config?.Monitor || 5 * second),
    failureAction: action === 'continue' || action === 'rollback' ? action : 'pause',
    maxFailureRatio: config?.MaxFailureRatio ?? 0,
    order: config?.Order === 'start-first' ? 'start-first' : 'stop-first',
  };
}

export const defaultClusterSpec: ClusterSpec = {
  Name: 'default',
  Labels: {},
  Orchestration: { TaskHistoryRetentionLimit: 5 },
  Raft: {
    SnapshotInterval: 10_000,
    KeepOldSnapshots: 0,
    LogEntriesForSlowFollowers: 500,
    ElectionTick: 10,
    HeartbeatTick: 1,
  },
  Dispatcher: { HeartbeatPeriod: 1 * second },
  CAConfig: { NodeCertExpiry: 90 * 24 * 3600 * second },
  TaskDefaults: {},
  EncryptionConfig: { AutoLockManagers: false },
};

export function nanosToMs(nanos: number): number {
  return Math.round(nanos / 1e6);
}

export function replicasOf(spec: ServiceSpec): number {
  return spec.Mode.Replicated?.Replicas ?? 1;
}

export function stopGraceMs(spec: TaskSpec): number {
  const grace = spec.ContainerSpec.StopGracePeriod;
  return grace === undefined ? defaultStopGraceMs : nanosToMs(grace);
}

/** Of a replicated job. Without a total every concurrent task completes once, as in Docker's API. */
export function jobSizeOf(spec: ServiceSpec): { readonly maxConcurrent: number; readonly totalCompletions: number } {
  const maxConcurrent = spec.Mode.ReplicatedJob?.MaxConcurrent ?? 1;
  return { maxConcurrent, totalCompletions: spec.Mode.ReplicatedJob?.TotalCompletions ?? maxConcurrent };
}
