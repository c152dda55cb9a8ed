/** What the store says about names, addresses and ports, as the API shows it; and what it has said before. */
import { request } from 'node:http';
import type { Host } from './hosts.ts';

export interface HostPort {
  readonly protocol: string;
  readonly published: number;
}

export interface Endpoint {
  readonly taskId: string;
  readonly service: string;
  readonly node: string;
  /** Network id → addresses. */
  readonly addresses: ReadonlyMap<string, readonly string[]>;
  /** Ports of its node, on all addresses. */
  readonly hostPorts: readonly HostPort[];
}

export interface Service {
  readonly name: string;
  readonly dnsrr: boolean;
  readonly vips: ReadonlyMap<string, readonly string[]>;
  readonly ports: readonly (HostPort & { readonly source: string })[];
  /** Network id → other names there. */
  readonly aliases: ReadonlyMap<string, readonly string[]>;
}

export interface Truth {
  readonly services: readonly Service[];
  /** Tasks that run and shall. */
  readonly endpoints: readonly Endpoint[];
  /** Tasks that are about to start or to end: what they have may answer and need not. */
  readonly changing: readonly Endpoint[];
  /** Network id → name. */
  readonly networks: ReadonlyMap<string, string>;
}

interface ApiService {
  readonly Spec: {
    readonly Name: string;
    readonly TaskTemplate: { readonly Networks?: readonly { readonly Target: string; readonly Aliases?: string[] }[] };
  };
  readonly ID: string;
  readonly Endpoint: {
    readonly Spec: { readonly Mode: string };
    readonly VirtualIPs?: readonly { readonly NetworkID: string; readonly Addr: string }[];
    readonly Ports?: readonly ApiPort[];
  };
}

interface ApiPort {
  readonly Protocol: string;
  readonly PublishedPort: number;
  readonly PublishMode: string;
  readonly Source?: string;
  readonly HostIP?: string;
}

interface ApiTask {
  readonly ID: string;
  readonly ServiceID: string;
  readonly NodeID?: string;
  readonly DesiredState: string;
  readonly Status: { readonly State: string; readonly PortStatus?: { readonly Ports?: readonly ApiPort[] } };
  readonly NetworksAttachments?: readonly { readonly Network: { readonly ID: string }; readonly Addresses: string[] }[];
}

interface ApiNode {
  readonly ID: string;
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string };
}

/** A request to the API; an answer that is an error throws. */
export function call<T>(host: Host, method: string, path: string, body?: unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const asked = request({ socketPath: host.socket, path, method, headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('error', reject);
      response.on('end', () => {
        if ((response.statusCode ?? 500) >= 300) reject(new Error(`${method} ${path}: ${text}`));
        else resolve((text === '' ? undefined : JSON.parse(text)) as T);
      });
    });
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export function get<T>(host: Host, path: string): Promise<T> {
  return call(host, 'GET', path);
}

export async function truth(host: Host): Promise<Truth> {
  const [services, tasks, nodes, networks] = await Promise.all([
    get<ApiService[]>(host, '/services'),
    get<ApiTask[]>(host, '/tasks'),
    get<ApiNode[]>(host, '/nodes'),
    get<{ Id: string; Name: string }[]>(host, '/networks'),
  ]);
  const nameOf = new Map(services.map((service) => [service.ID, service.Spec.Name]));
  const up = new Map(
    nodes.filter((node) => node.Status.State === 'ready').map((node) => [node.ID, node.Description.Hostname]),
  );
  const endpoints: Endpoint[] = [];
  const changing: Endpoint[] = [];
  for (const task of tasks) {
    const service = nameOf.get(task.ServiceID);
    const node = up.get(task.NodeID ?? '');
    const runs = task.Status.State === 'running' && task.DesiredState === 'running';
    if (runs && service !== undefined && node !== undefined) endpoints.push(readTask(task, service, node));
    else if (!isOver(task) && (node !== undefined || task.DesiredState === 'running'))
      changing.push(readTask(task, service ?? '', node ?? ''));
  }
  return {
    services: services.map(readService),
    endpoints,
    changing,
    networks: new Map(networks.map(({ Id, Name }) => [Id, Name])),
  };
}

function isOver({ Status }: ApiTask): boolean {
  return ['complete', 'shutdown', 'failed', 'rejected', 'orphaned', 'remove'].includes(Status.State);
}

function readTask(task: ApiTask, service: string, node: string): Endpoint {
  const attachments = task.NetworksAttachments ?? [];
  return {
    taskId: task.ID,
    service,
    node,
    addresses: new Map(attachments.map((one) => [one.Network.ID, one.Addresses.map(plain)])),
    hostPorts: (task.Status.PortStatus?.Ports ?? [])
      .filter(({ PublishMode, HostIP }) => PublishMode === 'host' && HostIP === undefined)
      .map(({ Protocol, PublishedPort }) => ({ protocol: Protocol, published: PublishedPort })),
  };
}

function readService({ Spec, Endpoint: endpoint }: ApiService): Service {
  const vips = new Map<string, string[]>();
  for (const { NetworkID, Addr } of endpoint.VirtualIPs ?? [])
    vips.set(NetworkID, [...(vips.get(NetworkID) ?? []), plain(Addr)]);
  return {
    name: Spec.Name,
    dnsrr: endpoint.Spec.Mode === 'dnsrr',
    vips,
    ports: (endpoint.Ports ?? [])
      .filter((port) => port.PublishMode === 'ingress')
      .map((port) => ({
        protocol: port.Protocol,
        published: port.PublishedPort,
        source: port.Source ?? 'preserve',
      })),
    aliases: new Map((Spec.TaskTemplate.Networks ?? []).map(({ Target, Aliases }) => [Target, Aliases ?? []])),
  };
}

const plain = (address: string) => address.split('/')[0] ?? address;

/** The container's host name, and a name of the task. */
export function hostnameOf({ taskId }: Endpoint): string {
  return taskId.slice(0, 12);
}

/** Of a published port, `tcp 8080`. */
export function portText({ protocol, published }: HostPort): string {
  return `${protocol} ${published}`;
}

/** Every network that its tasks are on, or that it has a virtual address on. */
export function networksOf(service: Service, { endpoints }: Truth): ReadonlySet<string> {
  const own = endpoints.filter((endpoint) => endpoint.service === service.name);
  return new Set([...service.vips.keys(), ...own.flatMap(({ addresses }) => [...addresses.keys()])]);
}

/** Names that lead somewhere on a network. */
export function namesOn(network: string, now: Truth): readonly string[] {
  const services = now.services.filter((service) => networksOf(service, now).has(network));
  const tasks = [...now.endpoints, ...now.changing].filter(({ addresses }) => addresses.has(network));
  return [
    ...services.flatMap(({ name, aliases }) => [name, `tasks.${name}`, ...(aliases.get(network) ?? [])]),
    ...tasks.map(hostnameOf),
  ];
}

function addressesOn(network: string, now: Truth): readonly string[] {
  const tasks = [...now.endpoints, ...now.changing];
  return [
    ...now.services.flatMap(({ vips }) => vips.get(network) ?? []),
    ...tasks.flatMap(({ addresses }) => addresses.get(network) ?? []),
  ];
}

/** Each kind: how many of the latest are asked for. A host or a container is asked for all of them every time. */
const namesMax = 16;
const addressesMax = 16;

/** Whatever the store has ever said, the latest last. What of it the store says no more must not answer. */
export class Seen {
  readonly #names = new Set<string>();
  /** By network id. */
  readonly #addresses = new Map<string, Set<string>>();
  readonly #ports = new Set<string>();

  note(now: Truth): void {
    for (const network of now.networks.keys()) {
      for (const name of namesOn(network, now)) again(this.#names, name);
      const known = this.#addresses.get(network) ?? new Set();
      for (const address of addressesOn(network, now)) again(known, address);
      this.#addresses.set(network, known);
    }
    for (const port of now.services.flatMap(({ ports }) => ports)) this.#ports.add(portText(port));
    for (const port of now.endpoints.flatMap(({ hostPorts }) => hostPorts)) this.#ports.add(portText(port));
  }

  /** That are on none of the networks. */
  namesGone(networks: readonly string[], now: Truth): readonly string[] {
    const there = new Set(networks.flatMap((network) => namesOn(network, now)));
    return [...this.#names].filter((name) => !there.has(name)).slice(-namesMax);
  }

  addressesGone(network: string, now: Truth): readonly string[] {
    const there = new Set(addressesOn(network, now));
    return [...(this.#addresses.get(network) ?? [])].filter((address) => !there.has(address)).slice(-addressesMax);
  }

  /** That a host has neither for a service nor for a task of its own. */
  portsGone(node: string, now: Truth): readonly HostPort[] {
    const tasks = [...now.endpoints, ...now.changing].filter((task) => task.node === node);
    const there = new Set(
      [...now.services.flatMap(({ ports }) => ports), ...tasks.flatMap(({ hostPorts }) => hostPorts)].map(portText),
    );
    return [...this.#ports].filter((port) => !there.has(port)).map(readPort);
  }

  get ports(): readonly HostPort[] {
    return [...this.#ports].map(readPort);
  }
}

function readPort(text: string): HostPort {
  const [protocol = '', published] = text.split(' ');
  return { protocol, published: Number(published) };
}

function again(set: Set<string>, value: string): void {
  set.delete(value);
  set.add(value);
}
