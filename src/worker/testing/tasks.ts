/** Tasks for tests. */
import type { AssignedTask } from '../../model/assignment.ts';
import { TaskState } from '../../model/task-state.ts';

export function assignedTask(id: string, over: Partial<AssignedTask> = {}): AssignedTask {
  return {
    id,
    serviceId: 'service',
    serviceName: 'web',
    serviceLabels: {},
    slot: 1,
    nodeId: 'node',
    spec: { ContainerSpec: { Image: 'nginx:1' } },
    specVersion: 1,
    endpoint: {},
    desired: TaskState.running,
    status: { state: TaskState.assigned, timestamp: 0, message: 'scheduler assigned task to node', err: '' },
    ...over,
  };
}
