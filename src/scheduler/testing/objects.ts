/** Nodes and tasks for the scheduler's tests. */
import type { Node, Task } from '../../model/objects.ts';
import type { EndpointSpec, TaskSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';

export interface NodeShape {
  readonly labels?: Record<string, string>;
  readonly memory?: number;
  readonly state?: Node['status']['state'];
  readonly availability?: Node['spec']['Availability'];
  readonly architecture?: string;
  readonly os?: string;
  readonly plugins?: readonly { readonly type: string; readonly name: string }[];
  readonly addr?: string;
}

export function node(id: string, shape: NodeShape = {}): Node {
  return {
    id,
    meta: { version: 1, createdAt: 0, updatedAt: 0 },
    spec: { Labels: shape.labels ?? {}, Role: 'worker', Availability: shape.availability ?? 'active' },
    role: 'worker',
    description: {
      hostname: id,
      platform: { architecture: shape.architecture ?? 'x86_64', os: shape.os ?? 'linux' },
      resources: { NanoCPUs: 4e9, MemoryBytes: shape.memory ?? 8e9 },
      engine: { version: '1', labels: {}, plugins: shape.plugins ?? [] },
    },
    status: { state: shape.state ?? 'ready', message: '', addr: shape.addr ?? '10.0.0.1', since: 0 },
  };
}

/** Waits to be placed. */
export function pendingTask(
  id: string,
  serviceId: string,
  spec: Partial<TaskSpec> = {},
  endpoint: EndpointSpec = {},
): Task {
  return {
    id,
    meta: { version: 1, createdAt: 0, updatedAt: 0 },
    serviceId,
    slot: 1,
    nodeId: '',
    spec: { ContainerSpec: { Image: 'x' }, ...spec },
    specVersion: 1,
    serviceName: serviceId,
    serviceLabels: {},
    endpoint,
    desired: TaskState.running,
    status: { state: TaskState.pending, timestamp: 0, message: '', err: '' },
    restarts: [],
  };
}
