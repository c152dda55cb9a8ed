import type { Task } from '../../model/objects.ts';
import { stateName } from '../../model/task-state.ts';
import { head, time } from '../common.ts';
import { convertPort, convertTaskSpec } from '../services/convert.ts';

export function convertTask(task: Task) {
  return {
    ...head(task),
    Labels: {},
    Spec: convertTaskSpec(task.spec),
    ServiceID: task.serviceId,
    ...(task.slot > 0 ? { Slot: task.slot } : {}),
    ...(task.nodeId === '' ? {} : { NodeID: task.nodeId }),
    Status: convertStatus(task),
    DesiredState: stateName(task.desired),
    NetworksAttachments: [],
    ...(task.genericResources === undefined ? {} : { GenericResources: task.genericResources }),
    ...(task.jobIteration === undefined ? {} : { JobIteration: { Index: task.jobIteration } }),
  };
}

function convertStatus({ status }: Task) {
  const container = status.container;
  const ports = status.ports ?? [];
  return {
    Timestamp: time(status.timestamp),
    State: stateName(status.state),
    Message: status.message,
    ...(status.err === '' ? {} : { Err: status.err }),
    ...(container === undefined
      ? {}
      : { ContainerStatus: { ContainerID: container.containerId, PID: container.pid, ExitCode: container.exitCode } }),
    PortStatus: ports.length === 0 ? {} : { Ports: ports.map(convertPort) },
  };
}
