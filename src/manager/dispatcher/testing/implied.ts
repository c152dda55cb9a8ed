/**
 * What a node must know of the networks according to the store: written from the words of `model/network.ts`, slowly and plainly,
 * without the code that it judges.
 */
import type { NetworkState } from '../../../model/network.ts';
import type { NetworkAddresses, Node, Service, Task } from '../../../model/objects.ts';
import type { ClusterView } from '../../../model/view.ts';

type Item = Readonly<Record<string, unknown>>;

export interface ImpliedState {
  readonly self: Item | undefined;
  readonly peers: readonly Item[];
  readonly networks: readonly Item[];
  readonly endpoints: readonly Item[];
  readonly services: readonly Item[];
}

const running = 512;
const complete = 576;

export function impliedState(view: ClusterView, nodeId: string): ImpliedState {
  const nodes = [...view.list('node')];
  const given = [...view.list('task')].filter(
    ({ nodeId: host, status }) => host !== '' && status.state >= 192 && status.state < complete,
  );
  const here = new Set(given.filter((task) => task.nodeId === nodeId).flatMap(networksOfTask));
  const services = [...view.list('service')];
  const published = new Set(services.filter((service) => ingressPorts(service).length > 0).map(({ id }) => id));
  const nodeOf = (task: Task) => view.get('node', task.nodeId);
  const cluster = view.cluster()?.network;
  const self = nodes.filter(({ id }) => id === nodeId).flatMap(place)[0];
  return {
    self: self && {
      ...self,
      dataPathPort: cluster?.dataPathPort ?? 4789,
      gatewayPools: cluster?.gatewayPools ?? ['172.28.0.0/14'],
      ingressPool: cluster?.ingressPool ?? '10.255.0.0/16',
    },
    peers: nodes.filter(({ id }) => id !== nodeId).flatMap(peer),
    networks: [...view.list('network')]
      .filter(({ id, allocation }) => here.has(id) && allocation !== undefined)
      .map(({ id, spec, allocation }) => ({
        id,
        name: spec.Name,
        driver: spec.Driver || 'overlay',
        vni: allocation?.vni,
        subnets: allocation?.subnets,
        internal: spec.Internal === true,
        options: spec.Options ?? {},
      })),
    endpoints: given
      .filter(
        (task) =>
          networksOfTask(task).some((id) => here.has(id)) ||
          (published.has(task.serviceId) && active(task, nodeOf(task))),
      )
      .map((task) => ({
        taskId: task.id,
        nodeId: task.nodeId,
        serviceId: task.serviceId,
        names: [task.id.slice(0, 12), `${task.serviceName}.${task.slot || task.nodeId}.${task.id}`],
        attachments: task.attachments ?? [],
        ...(task.status.container?.gateway === undefined ? {} : { gateway: task.status.container.gateway }),
        active: active(task, nodeOf(task)),
      })),
    services: services
      .filter((service) => published.has(service.id) || serviceNetworks(service).some((id) => here.has(id)))
      .map((service) => ({
        id: service.id,
        name: service.spec.Name,
        mode: service.spec.EndpointSpec?.Mode || 'vip',
        networks: serviceNetworks(service).map((networkId) => ({
          networkId,
          addresses: vips(service).find((vip) => vip.networkId === networkId)?.addresses ?? [],
          aliases: service.spec.TaskTemplate.Networks?.find(({ Target }) => Target === networkId)?.Aliases ?? [],
        })),
        ports: ingressPorts(service).map((port) => ({
          protocol: port.Protocol || 'tcp',
          published: port.PublishedPort,
          target: port.TargetPort,
          source: port.Source ?? 'preserve',
          ...(port.HostIP ? { hostIp: port.HostIP } : {}),
        })),
      })),
  };
}

/** How the state that a node has in place differs from that; undefined: it does not. */
export function difference(implied: ImpliedState, { self, ...maps }: NetworkState): string | undefined {
  if (sorted(self) !== sorted(implied.self)) return `self is ${sorted(self)} instead of ${sorted(implied.self)}`;
  for (const part of ['peers', 'networks', 'endpoints', 'services'] as const) {
    const has = [...maps[part].values()].map(sorted).toSorted();
    const needs = implied[part].map(sorted).toSorted();
    const extra = has.find((item) => !needs.includes(item));
    const missing = needs.find((item) => !has.includes(item));
    if (extra !== undefined) return `${part} has ${extra}, which should be ${missing ?? 'gone'}`;
    if (missing !== undefined) return `${part} misses ${missing}`;
  }
  return undefined;
}

function place({ id, network, status }: Node): readonly Item[] {
  return network === undefined || status.addr === '' ? [] : [{ nodeId: id, underlay: status.addr, ...network }];
}

function peer(node: Node): readonly Item[] {
  return place(node).map((item) => (node.status.state === 'down' ? { ...item, down: true } : item));
}

function active({ status, desired }: Task, node: Node | undefined): boolean {
  return (
    status.state === running && desired <= complete && ['ready', 'disconnected'].includes(node?.status.state ?? '')
  );
}

function networksOfTask(task: Task): readonly string[] {
  return (task.attachments ?? []).map(({ networkId }) => networkId);
}

function vips(service: Service): readonly NetworkAddresses[] {
  return service.endpoint?.vips ?? [];
}

function serviceNetworks(service: Service): readonly string[] {
  const targets = (service.spec.TaskTemplate.Networks ?? []).map(({ Target }) => Target);
  const own = targets.filter((target) => !['host', 'none', 'bridge'].includes(target));
  return [...new Set([...own, ...vips(service).map(({ networkId }) => networkId)])];
}

function ingressPorts(service: Service) {
  return (service.endpoint?.ports ?? []).filter(
    ({ PublishMode, PublishedPort }) => PublishMode !== 'host' && (PublishedPort ?? 0) > 0,
  );
}

function sorted(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
