/**
 * All records of the cluster, and which nodes need them, kept right by the store's changes. A handler only marks; `refresh` looks
 * at what was marked. What has neither a network nor a published port costs one look per change, and nothing is kept of it.
 */
import type { EndpointRecord, NetworkRecord, PeerRecord, SelfRecord, ServiceRecord } from '../../../model/network.ts';
import type { Node, Task } from '../../../model/objects.ts';
import type { ChangeEvent, ClusterView } from '../../../model/view.ts';
import {
  endpointRecord,
  isActive,
  isReachable,
  networkRecord,
  peerRecord,
  selfRecord,
  serviceRecord,
} from './records.ts';
import { Groups, Tracked } from './tracked.ts';

export interface Endpoint {
  readonly record: EndpointRecord;
  /** Every node needs it: its service has a published port, and it is active. */
  readonly everywhere: boolean;
}

export class Catalogue {
  readonly peers = new Tracked<PeerRecord>();
  readonly networks = new Tracked<NetworkRecord>();
  readonly endpoints = new Tracked<Endpoint>();
  readonly services = new Tracked<ServiceRecord>();
  /** What every node needs. */
  readonly endpointsEverywhere = new Set<string>();
  readonly servicesEverywhere = new Set<string>();
  /** By network. */
  readonly endpointsOn = new Groups();
  readonly servicesOn = new Groups();
  /** By node and network: how many of its tasks are on it. */
  readonly #members = new Map<string, Map<string, number>>();
  /** Nodes whose networks may be others since they were asked for last. */
  readonly #membersChanged = new Set<string>();
  readonly #view: ClusterView;
  readonly #tasks = new Set<string>();
  readonly #nodes = new Set<string>();
  readonly #services = new Set<string>();
  readonly #networks = new Set<string>();
  #isNew = true;

  constructor(view: ClusterView) {
    this.#view = view;
  }

  /** Something was marked. */
  get stale(): boolean {
    return this.#isNew || this.#tasks.size + this.#nodes.size + this.#services.size + this.#networks.size > 0;
  }

  mark(event: ChangeEvent): void {
    const id = event.after?.id ?? event.before?.id ?? '';
    if (event.table === 'task') {
      if (this.#concerns(event.after ?? event.before)) this.#tasks.add(id);
    } else if (event.table === 'node') {
      if (JSON.stringify(placeOf(event.before)) !== JSON.stringify(placeOf(event.after))) this.#nodes.add(id);
    } else if (event.table === 'service') {
      this.#services.add(id);
    } else if (event.table === 'network') {
      this.#networks.add(id);
    }
  }

  /** Takes in all that was marked; the first time, all there is. */
  refresh(): void {
    if (this.#isNew) this.#markAll();
    for (const id of drain(this.#networks)) this.#setNetwork(id);
    for (const id of drain(this.#services)) this.#setService(id);
    for (const id of drain(this.#nodes)) this.#setNode(id);
    for (const id of drain(this.#tasks)) this.#setTask(id);
  }

  /** Ids of the networks that the node's tasks are on. */
  networksOf(nodeId: string): ReadonlySet<string> {
    return new Set(this.#members.get(nodeId)?.keys());
  }

  takeMembersChanged(): readonly string[] {
    return drain(this.#membersChanged);
  }

  self(nodeId: string): SelfRecord | undefined {
    const peer = this.peers.get(nodeId);
    return peer === undefined ? undefined : selfRecord(peer, this.#view.cluster());
  }

  settle(): void {
    for (const tracked of [this.peers, this.networks, this.endpoints, this.services]) tracked.settle();
  }

  #markAll(): void {
    this.#isNew = false;
    for (const { id } of this.#view.list('network')) this.#networks.add(id);
    for (const { id } of this.#view.list('service')) this.#services.add(id);
    for (const { id } of this.#view.list('node')) this.#nodes.add(id);
    for (const task of this.#view.list('task')) if (hasAttachments(task)) this.#tasks.add(task.id);
  }

  #concerns(task: Task | undefined): boolean {
    if (task === undefined) return false;
    const { id, serviceId } = task;
    return hasAttachments(task) || this.servicesEverywhere.has(serviceId) || this.endpoints.get(id) !== undefined;
  }

  #setNetwork(id: string): void {
    const network = this.#view.get('network', id);
    this.networks.set(id, network === undefined ? undefined : networkRecord(network));
  }

  #setService(id: string): void {
    const old = this.services.get(id);
    const service = this.#view.get('service', id);
    const record = service === undefined ? undefined : serviceRecord(service);
    if (!this.services.set(id, record)) return;
    for (const { networkId } of old?.networks ?? []) this.servicesOn.delete(networkId, id);
    for (const { networkId } of record?.networks ?? []) this.servicesOn.add(networkId, id);
    const published = (record?.ports.length ?? 0) > 0;
    if (published === this.servicesEverywhere.has(id)) return;
    if (published) this.servicesEverywhere.add(id);
    else this.servicesEverywhere.delete(id);
    for (const task of this.#view.tasksOfService(id)) this.#tasks.add(task.id);
  }

  #setNode(id: string): void {
    const node = this.#view.get('node', id);
    this.peers.set(id, node === undefined ? undefined : peerRecord(node));
    for (const task of this.#view.tasksOfNode(id)) if (this.#concerns(task)) this.#tasks.add(task.id);
  }

  #setTask(id: string): void {
    const old = this.endpoints.get(id);
    const task = this.#view.get('task', id);
    const endpoint = task === undefined ? undefined : this.#endpoint(task);
    if (!this.endpoints.set(id, endpoint)) return;
    if (endpoint?.everywhere === true) this.endpointsEverywhere.add(id);
    else this.endpointsEverywhere.delete(id);
    if (old !== undefined) this.#leave(old.record);
    if (endpoint !== undefined) this.#join(endpoint.record);
  }

  #endpoint(task: Task): Endpoint | undefined {
    if (!isReachable(task)) return undefined;
    const node = this.#view.get('node', task.nodeId);
    const everywhere = this.servicesEverywhere.has(task.serviceId) && isActive(task, node);
    return everywhere || hasAttachments(task) ? { record: endpointRecord(task, node), everywhere } : undefined;
  }

  #join({ taskId, nodeId, attachments }: EndpointRecord): void {
    const members = this.#members.get(nodeId) ?? new Map<string, number>();
    for (const { networkId } of attachments) {
      this.endpointsOn.add(networkId, taskId);
      const count = (members.get(networkId) ?? 0) + 1;
      members.set(networkId, count);
      if (count === 1) this.#membersChanged.add(nodeId);
    }
    if (members.size > 0) this.#members.set(nodeId, members);
  }

  #leave({ taskId, nodeId, attachments }: EndpointRecord): void {
    const members = this.#members.get(nodeId);
    for (const { networkId } of attachments) {
      this.endpointsOn.delete(networkId, taskId);
      const count = (members?.get(networkId) ?? 1) - 1;
      if (count > 0) members?.set(networkId, count);
      else if (members?.delete(networkId) === true) this.#membersChanged.add(nodeId);
    }
    if (members?.size === 0) this.#members.delete(nodeId);
  }
}

function hasAttachments(task: Task): boolean {
  return (task.attachments?.length ?? 0) > 0;
}

/** What records say of a node, and whether its tasks count. */
function placeOf(node: Node | undefined): unknown {
  if (node === undefined) return undefined;
  const { network, status, description } = node;
  const alive = status.state === 'ready' || status.state === 'disconnected';
  return [network, status.addr, alive, status.state === 'down', description?.hostname, description?.platform];
}

function drain(ids: Set<string>): readonly string[] {
  const drained = [...ids];
  ids.clear();
  return drained;
}
