/** The store's objects as the flat records that nodes get. Pure; a record that cannot be made yet is undefined. */
import { clusterNetworkOf } from '../../../model/cluster-labels.ts';
import { contains, parseBlock } from '../../../model/ip.ts';
import {
  type EndpointRecord,
  type IngressPort,
  type NetworkRecord,
  networksOf,
  type PeerRecord,
  type SelfRecord,
  type ServiceNetwork,
  type ServiceRecord,
} from '../../../model/network.ts';
import type { Cluster, Network, Node, Service, Task } from '../../../model/objects.ts';
import type { PortConfig } from '../../../model/spec.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import { expandTemplate } from '../../../model/template.ts';

export function peerRecord(node: Node): PeerRecord | undefined {
  const { network, status } = node;
  if (network === undefined || status.addr === '') return undefined;
  const { gatewaySubnet, ingressAddress } = network;
  const down = status.state === 'down' ? { down: true } : {};
  return { nodeId: node.id, underlay: status.addr, gatewaySubnet, ingressAddress, ...down };
}

export function selfRecord(peer: PeerRecord, cluster: Cluster | undefined): SelfRecord {
  const { dataPathPort, gatewayPools, ingressPool } = clusterNetworkOf(cluster);
  const { down: _, ...place } = peer;
  return { ...place, dataPathPort, gatewayPools, ingressPool };
}

export function networkRecord({ id, spec, allocation }: Network): NetworkRecord | undefined {
  if (allocation === undefined) return undefined;
  const { vni, subnets } = allocation;
  const driver = spec.Driver === 'macvlan' || spec.Driver === 'ipvlan' ? spec.Driver : 'overlay';
  return { id, name: spec.Name, driver, vni, subnets, internal: spec.Internal ?? false, options: spec.Options ?? {} };
}

/** Only services that other containers or the world can reach by a name or a port have one. */
export function serviceRecord(service: Service): ServiceRecord | undefined {
  const { id, spec, endpoint } = service;
  const networks = serviceNetworks(service);
  const ports = (endpoint?.ports ?? []).flatMap(ingressPort);
  if (networks.length === 0 && ports.length === 0) return undefined;
  const mode = spec.EndpointSpec?.Mode === 'dnsrr' ? 'dnsrr' : 'vip';
  return { id, name: spec.Name, mode, networks, ports };
}

/** Those of its spec, and those it still has virtual addresses on. */
function serviceNetworks({ spec, endpoint }: Service): readonly ServiceNetwork[] {
  const vips = endpoint?.vips ?? [];
  const wanted = networksOf(spec.TaskTemplate);
  const left = vips.map((vip) => vip.networkId).filter((networkId) => !wanted.includes(networkId));
  return [...new Set([...wanted, ...left])].map((networkId) => ({
    networkId,
    addresses: vips.find((vip) => vip.networkId === networkId)?.addresses ?? [],
    aliases: (spec.TaskTemplate.Networks ?? []).flatMap(({ Target, Aliases = [] }) =>
      Target === networkId ? Aliases : [],
    ),
  }));
}

function ingressPort(port: PortConfig): readonly IngressPort[] {
  const { Protocol, TargetPort, PublishedPort = 0, PublishMode, HostIP = '', Source } = port;
  const protocol = Protocol || 'tcp';
  if ((PublishMode || 'ingress') !== 'ingress' || PublishedPort === 0) return [];
  if (protocol !== 'tcp' && protocol !== 'udp') return [];
  const source = Source ?? 'preserve';
  const hostIp = HostIP === '' ? {} : { hostIp: HostIP };
  return [{ protocol, published: PublishedPort, target: TargetPort, source, ...hostIp }];
}

/** It has been given to a node, and has not ended. */
export function isReachable(task: Task): boolean {
  return task.nodeId !== '' && task.status.state >= TaskState.assigned && !isTerminal(task.status.state);
}

/** Whoever turns to its service may be led to it. A job's task is wanted until it completes. */
export function isActive(task: Task, node: Node | undefined): boolean {
  const wanted = task.desired <= TaskState.complete && task.status.state === TaskState.running;
  return wanted && (node?.status.state === 'ready' || node?.status.state === 'disconnected');
}

/** Of a reachable task. */
export function endpointRecord(task: Task, node: Node | undefined): EndpointRecord {
  const { id, nodeId, serviceId, attachments = [] } = task;
  const gateway = gatewayOf(task, node);
  return {
    taskId: id,
    nodeId,
    serviceId,
    names: namesOf(task, node),
    attachments,
    ...(gateway === undefined ? {} : { gateway }),
    active: isActive(task, node),
  };
}

/** An address outside its node's own subnet is not believed: it would lead a service's requests to somebody else. */
function gatewayOf(task: Task, node: Node | undefined): string | undefined {
  const gateway = task.status.container?.gateway;
  if (gateway === undefined || node?.network === undefined) return undefined;
  const subnet = parseBlock(node.network.gatewaySubnet);
  return subnet !== undefined && contains(subnet, gateway) ? gateway : undefined;
}

function namesOf(task: Task, node: Node | undefined): readonly string[] {
  const name = taskName(task);
  const names = [task.id.slice(0, 12), name];
  const hostname = hostnameOf(task, { name, node });
  return hostname === '' || names.includes(hostname) ? names : [...names, hostname];
}

/** As the container has it; empty: none of its own. */
function hostnameOf(task: Task, { name, node }: { readonly name: string; readonly node: Node | undefined }): string {
  const own = task.spec.ContainerSpec.Hostname ?? '';
  if (!own.includes('{{')) return own;
  const { hostname = '', platform } = node?.description ?? {};
  const { architecture = '', os = '' } = platform ?? {};
  try {
    return expandTemplate(
      own,
      {
        Service: { ID: task.serviceId, Name: task.serviceName, Labels: task.serviceLabels },
        Node: { ID: task.nodeId, Hostname: hostname, Platform: { Architecture: architecture, OS: os } },
        Task: { ID: task.id, Name: name, Slot: slotText(task) },
      },
      'hostname',
    );
  } catch {
    return ''; // the node refuses the task for it, and says why
  }
}

/** Docker's name of the container. */
function taskName(task: Task): string {
  return `${task.serviceName}.${slotText(task)}.${task.id}`;
}

function slotText({ slot, nodeId }: Task): string {
  return slot === 0 ? nodeId : `${slot}`;
}
