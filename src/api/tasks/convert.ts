import type { Node, Task } from '../../model/objects.ts';
import { isTerminal, stateName, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import { memoJson } from '../cache.ts';
import { head, time } from '../common.ts';
import { convertAttachedNetwork } from '../networks/convert.ts';
import { convertPort, convertTaskSpec } from '../services/convert.ts';

/** `node`: where the task is, if its node is known. Without its networks, which change on their own: `withAttachments` adds them. */
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
    ...(task.genericResources === undefined ? {} : { GenericResources: task.genericResources }),
    ...(task.jobIteration === undefined ? {} : { JobIteration: { Index: task.jobIteration } }),
  };
}

const networkJson = memoJson(convertAttachedNetwork);

/** The JSON of a task with the networks it is on as they are now; of one that is gone only the id is known. */
export function withAttachments(view: ClusterView, task: Task, json: string): string {
  const items = (task.attachments ?? []).map(({ networkId, addresses }) => {
    const network = view.get('network', networkId);
    const text = network === undefined ? JSON.stringify({ ID: networkId }) : networkJson(network);
    return `{"Network":${text},"Addresses":${JSON.stringify(addresses)}}`;
  });
  return `${json.slice(0, -1)},"NetworksAttachments":[${items.join(',')}]}`;
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
