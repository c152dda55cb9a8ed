/** Services as Docker shows them. What is added to a spec on reading counts as equal when a client posts it back. */
import { defaultUpdateConfig, jobSizeOf } from '../../model/defaults.ts';
import type { JobStatus, Service, Task, UpdateStatus } from '../../model/objects.ts';
import type { PortConfig, ServiceMode, ServiceSpec, TaskSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import { head, time } from '../common.ts';

const second = 1_000_000_000;

export function convertService(service: Service) {
  return {
    ...head(service),
    Spec: convertServiceSpec(service.spec),
    ...(service.previousSpec === undefined ? {} : { PreviousSpec: convertServiceSpec(service.previousSpec) }),
    Endpoint: convertEndpoint(service),
    ...(service.updateStatus === undefined ? {} : { UpdateStatus: convertUpdateStatus(service.updateStatus) }),
    ...(service.jobStatus === undefined ? {} : { JobStatus: convertJobStatus(service.jobStatus) }),
    ...(service.endpointError === undefined ? {} : { TsCluster: { EndpointError: service.endpointError } }),
  };
}

export function convertServiceSpec(spec: ServiceSpec) {
  return {
    ...spec,
    Labels: spec.Labels ?? {},
    TaskTemplate: convertTaskSpec(spec.TaskTemplate),
    Mode: convertMode(spec.Mode),
    EndpointSpec: { ...spec.EndpointSpec, Mode: spec.EndpointSpec?.Mode || 'vip' },
  };
}

/** Clients look into these parts without asking whether they are there. */
export function convertTaskSpec(spec: TaskSpec) {
  return {
    ...spec,
    Resources: {
      ...spec.Resources,
      Limits: spec.Resources?.Limits ?? {},
      Reservations: spec.Resources?.Reservations ?? {},
    },
    Placement: spec.Placement ?? {},
    ForceUpdate: spec.ForceUpdate ?? 0,
    Runtime: spec.Runtime || 'container',
  };
}

function convertMode(mode: ServiceMode): ServiceMode {
  if (mode.Replicated !== undefined) return { Replicated: { Replicas: mode.Replicated.Replicas ?? 1 } };
  if (mode.ReplicatedJob === undefined) return mode;
  const { MaxConcurrent = 1, TotalCompletions = MaxConcurrent } = mode.ReplicatedJob;
  return { ReplicatedJob: { MaxConcurrent, TotalCompletions } };
}

/** The spec with Docker's defaults written out (`insertDefaults=true`). */
export function convertServiceWithDefaults(service: Service) {
  const converted = convertService(service);
  return { ...converted, Spec: withDefaults(converted.Spec) };
}

function withDefaults(spec: ReturnType<typeof convertServiceSpec>) {
  const container = spec.TaskTemplate.ContainerSpec;
  return {
    ...spec,
    TaskTemplate: {
      ...spec.TaskTemplate,
      ContainerSpec: {
        ...container,
        StopGracePeriod: container.StopGracePeriod ?? 10 * second,
        DNSConfig: container.DNSConfig ?? {},
      },
      RestartPolicy: { Condition: 'any', Delay: 5 * second, MaxAttempts: 0, ...spec.TaskTemplate.RestartPolicy },
    },
    UpdateConfig: spec.UpdateConfig ?? defaultUpdateConfig,
    RollbackConfig: spec.RollbackConfig ?? defaultUpdateConfig,
  };
}

/** What the allocator gave; before that, or when it has no part in them, the ports that the spec gives numbers. */
function convertEndpoint({ spec: { EndpointSpec: spec }, endpoint }: Service) {
  const ports = endpoint?.ports ?? (spec?.Ports ?? []).filter((port) => (port.PublishedPort ?? 0) > 0);
  const vips = (endpoint?.vips ?? []).flatMap(({ networkId, addresses }) =>
    addresses.map((Addr) => ({ NetworkID: networkId, Addr })),
  );
  return {
    Spec: { ...spec, Mode: spec?.Mode || 'vip' },
    ...(ports.length === 0 ? {} : { Ports: ports.map(convertPort) }),
    ...(vips.length === 0 ? {} : { VirtualIPs: vips }),
  };
}

export function convertPort(port: PortConfig): PortConfig {
  return { ...port, Protocol: port.Protocol || 'tcp', PublishMode: port.PublishMode || 'ingress' };
}

function convertJobStatus({ iteration, lastExecution }: JobStatus) {
  return { JobIteration: { Index: iteration }, LastExecution: time(lastExecution) };
}

function convertUpdateStatus(status: UpdateStatus) {
  return {
    State: status.state,
    ...(status.startedAt === undefined ? {} : { StartedAt: time(status.startedAt) }),
    ...(status.completedAt === undefined ? {} : { CompletedAt: time(status.completedAt) }),
    Message: status.message,
  };
}

/**
 * How many tasks run and should run. A task that is being replaced, or whose node is down, does not count; of a job only the
 * current execution does.
 */
export function serviceStatus(view: ClusterView, service: Service) {
  let running = 0;
  let completed = 0;
  let wanted = 0;
  for (const task of view.tasksOfService(service.id)) {
    if (task.jobIteration !== service.jobStatus?.iteration) continue;
    if (task.status.state === TaskState.complete) completed++;
    else if (isRunning(view, task)) running++;
    if (task.status.state !== TaskState.complete && isWantedHere(view, task)) wanted++;
  }
  return { RunningTasks: running, DesiredTasks: desiredTasks(service, wanted), CompletedTasks: completed };
}

/**
 * Of a global service: as many as there are nodes to have one, which is as many as are wanted. Of a global job those that are
 * not complete yet: clients add the completed ones for the total.
 */
function desiredTasks({ spec }: Service, wanted: number): number {
  if (spec.Mode.Replicated !== undefined) return spec.Mode.Replicated.Replicas ?? 1;
  return spec.Mode.ReplicatedJob === undefined ? wanted : jobSizeOf(spec).maxConcurrent;
}

/** One per place: a task that takes over does not count beside the one it takes over from, nor one whose node is down. */
function isWantedHere(view: ClusterView, task: Task): boolean {
  if (task.desired > TaskState.complete) return false;
  const old = task.handover === undefined ? undefined : view.get('task', task.replaces ?? '');
  if (old !== undefined && old.desired <= TaskState.complete) return false;
  return view.get('node', task.nodeId)?.status.state !== 'down';
}

function isRunning(view: ClusterView, task: Task): boolean {
  if (task.status.state !== TaskState.running || task.desired > TaskState.complete) return false;
  return view.get('node', task.nodeId)?.status.state !== 'down';
}

export function modeName(mode: ServiceMode): string {
  if (mode.Global !== undefined) return 'global';
  if (mode.ReplicatedJob !== undefined) return 'replicated-job';
  return mode.GlobalJob === undefined ? 'replicated' : 'global-job';
}
