import type { Node, Task } from '../../model/objects.ts';
import { isTerminal, stateName, TaskState } from '../../model/task-state.ts';
import { head, time } from '../common.ts';
import { convertPort, convertTaskSpec } from '../services/convert.ts';

/** `node`: where the task is, if its node is known. */
export function convertTask(task: Task, node?: Node) {
  return {
    ...head(task),
    Labels: {},
    Spec: convertTaskSpec(task.spec),
    ServiceID: task.serviceId,
    ...(task.slot > 0 ? { Slot: task.slot } : {}),
    ...(task.nodeId === '' ? {} : { NodeID: task.nodeId }),
    Status: convertStatus(task, isUnknown(task, node) ? unknownText(node) : ''),
    DesiredState: stateName(task.desired),
    NetworksAttachments: [],
    ...(task.genericResources === undefined ? {} : { GenericResources: task.genericResources }),
    ...(task.jobIteration === undefined ? {} : { JobIteration: { Index: task.jobIteration } }),
  };
}

/** Its node is down: what was heard of it last may be true no more, and nobody can tell. */
export function isUnknown({ nodeId, status }: Task, node: Node | undefined): node is Node {
  return (
    node?.id === nodeId &&
    node.status.state === 'down' &&
    status.state >= TaskState.assigned &&
    !isTerminal(status.state)
  );
}

/** The state stays one of Docker's words, the one that was heard last; clients show the error beside it. */
function unknownText({ id, spec, description, status }: Node): string {
  const name = spec.Name || description?.hostname || id;
  return `node ${name} is down: state unknown since ${time(status.since)}`;
}

function convertStatus({ status }: Task, unknown: string) {
  const container = status.container;
  const ports = status.ports ?? [];
  const err = [unknown, status.err].filter((text) => text !== '').join('; ');
  return {
    Timestamp: time(status.timestamp),
    State: stateName(status.state),
    Message: status.message,
    ...(err === '' ? {} : { Err: err }),
    ...(container === undefined
      ? {}
      : { ContainerStatus: { ContainerID: container.containerId, PID: container.pid, ExitCode: container.exitCode } }),
    PortStatus: ports.length === 0 ? {} : { Ports: ports.map(convertPort) },
  };
}
