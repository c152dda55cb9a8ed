/** Who is on a network: what `network inspect` adds to the network itself. */
import { macOf, withoutPrefix } from '../../model/ip.ts';
import type { Network, NetworkAddresses, Node, Service, Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';

interface Attached {
  readonly task: Task;
  readonly addresses: readonly string[];
}

/** Tasks in one answer. */
const attachedMax = 1_000;

/** Nodes with a task on the network, and its services with their virtual addresses, ports and tasks. */
export function networkDetails(view: ClusterView, network: Network) {
  const attached = [...tasksOn(view, network.id)];
  const nodes = new Set(attached.map(({ task }) => task.nodeId).filter((id) => id !== ''));
  return {
    Peers: [...nodes].flatMap((id) => {
      const node = view.get('node', id);
      return node === undefined ? [] : [{ Name: hostnameOf(node), IP: node.status.addr }];
    }),
    Services: Object.fromEntries(
      [...view.servicesUsingNetwork(network.id)].map((service) => [
        service.spec.Name,
        serviceDetails(service, { view, networkId: network.id, attached }),
      ]),
    ),
  };
}

/** The containers of this node, by id, as Docker shows them. */
export function containersHere(view: ClusterView, network: Network, nodeId: string) {
  const here = [...tasksOn(view, network.id)].filter(({ task }) => task.nodeId === nodeId);
  const entries = here.flatMap(({ task, addresses }) => {
    const containerId = task.status.container?.containerId;
    if (containerId === undefined || task.status.state > TaskState.running) return [];
    const [IPv4Address = '', IPv6Address = ''] = addresses;
    const MacAddress = macOf(withoutPrefix(IPv4Address));
    return [[containerId, { Name: nameOf(task), EndpointID: task.id, MacAddress, IPv4Address, IPv6Address }] as const];
  });
  return entries.length === 0 ? null : Object.fromEntries(entries);
}

function* tasksOn(view: ClusterView, networkId: string): Iterable<Attached> {
  let count = 0;
  for (const task of view.tasksUsingNetwork(networkId)) {
    const { addresses } = task.attachments?.find((one) => one.networkId === networkId) ?? {};
    if (addresses === undefined || isTerminal(task.status.state) || ++count > attachedMax) continue;
    yield { task, addresses };
  }
}

interface Place {
  readonly view: ClusterView;
  readonly networkId: string;
  readonly attached: readonly Attached[];
}

function serviceDetails(service: Service, { view, networkId, attached }: Place) {
  const isHere = (one: NetworkAddresses) => one.networkId === networkId;
  const vip = service.endpoint?.vips.find(isHere)?.addresses[0] ?? '';
  const ports = service.endpoint?.ports ?? [];
  return {
    VIP: withoutPrefix(vip),
    Ports: ports.map(
      ({ PublishedPort = 0, TargetPort, Protocol }) =>
        `Target: ${TargetPort}, Publish: ${PublishedPort}${Protocol === 'udp' ? '/udp' : ''}`,
    ),
    LocalLBIndex: 0,
    Tasks: attached
      .filter(({ task }) => task.serviceId === service.id)
      .map(({ task, addresses }) => ({
        Name: nameOf(task),
        EndpointID: task.id,
        EndpointIP: withoutPrefix(addresses[0] ?? ''),
        Info: { 'Host IP': view.get('node', task.nodeId)?.status.addr ?? '' },
      })),
  };
}

function nameOf(task: Task): string {
  return `${task.serviceName}.${task.pinned === true ? task.nodeId : task.slot}.${task.id}`;
}

function hostnameOf(node: Node): string {
  return node.description?.hostname ?? node.id;
}
