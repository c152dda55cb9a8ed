import type { Task } from '../../model/objects.ts';
import { stateName } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import { memoJson } from '../cache.ts';
import { head, time } from '../common.ts';
import { convertAttachedNetwork } from '../networks/convert.ts';
import { convertPort, convertTaskSpec } from '../services/convert.ts';

/** Without its networks, which change on their own: `withAttachments` adds them. */
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
