/**
 * The node-local network: a namespace and a routed veth pair per task, egress by masquerade, host-mode ports by DNAT.
 * State is a small file per task, written before the kernel is touched, so that whatever a killed daemon left can be found;
 * the kernel's state is otherwise never read back but rebuilt.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { run } from './exec.ts';
import {
  addElements,
  deleteElements,
  type Endpoint,
  hostsFile,
  hostWiring,
  linkName,
  linkPrefix,
  nextAddress,
  nftTable,
  parseSubnet,
  resolvConf,
  taskWiring,
} from './plan.ts';
import type { NetworkDriver, Sandbox, SandboxRequest } from './port.ts';
import { PortReservations } from './ports.ts';

export interface RoutedNetworkOptions {
  /** Where the per-task files live. */
  readonly stateDir: string;
  /** e.g. `172.30.0.0/16`; node-local, so every node may use the same one. */
  readonly subnet: string;
  /** Distinguishes several daemons on one machine: prefix of namespaces. Letters, digits and `-`. */
  readonly prefix: string;
  readonly log: Log;
}

const table = 'tsc';
const netnsDir = '/run/netns';

export function createRoutedNetwork(options: RoutedNetworkOptions): NetworkDriver {
  return new RoutedNetwork(options);
}

class RoutedNetwork implements NetworkDriver {
  readonly #options: RoutedNetworkOptions;
  readonly #gateway: string;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #ports = new PortReservations();
  #lastAddress: string | undefined;
  /** nft transactions one after the other; attach and detach of one task likewise. */
  #nft: Promise<unknown> = Promise.resolve();
  readonly #perTask = new Map<string, Promise<unknown>>();

  constructor(options: RoutedNetworkOptions) {
    this.#options = options;
    this.#gateway = parseSubnet(options.subnet).gateway;
  }

  async start(): Promise<void> {
    await mkdir(this.#options.stateDir, { recursive: true, mode: 0o700 });
    await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
    for (const endpoint of await this.#load()) {
      this.#endpoints.set(endpoint.taskId, endpoint);
      await this.#ports
        .reserve(endpoint.taskId, endpoint.hostPorts)
        .catch((error) => this.#options.log.warn(messageOf(error)));
    }
    await this.#collectGarbage();
    await this.#applyNft(nftTable(table, this.#options.subnet, this.#endpoints.values()));
  }

  attach(request: SandboxRequest): Promise<Sandbox> {
    return this.#serially(request.taskId, () => this.#attach(request));
  }

  detach(taskId: string): Promise<void> {
    return this.#serially(taskId, () => this.#detach(taskId));
  }

  async list(): Promise<readonly string[]> {
    return [...this.#endpoints.keys()];
  }

  async destroy(): Promise<void> {
    for (const taskId of [...this.#endpoints.keys()]) await this.detach(taskId);
    await this.#collectGarbage();
    await this.#applyNft(`table ip ${table} { }\ndelete table ip ${table}\n`);
    await this.#ports.releaseAll();
  }

  async #attach(request: SandboxRequest): Promise<Sandbox> {
    const existing = this.#endpoints.get(request.taskId);
    if (existing !== undefined && (await this.#isWired(existing))) return this.#finish(existing, request);
    if (existing !== undefined) await this.#detach(request.taskId);
    await this.#ports.reserve(request.taskId, request.hostPorts);
    try {
      const endpoint = await this.#allocate(request);
      await this.#wire(endpoint);
      if (endpoint.hostPorts.length > 0) await this.#applyNft(addElements(table, endpoint));
      return await this.#finish(endpoint, request);
    } catch (error) {
      await this.#detach(request.taskId);
      throw error;
    }
  }

  async #allocate(request: SandboxRequest): Promise<Endpoint> {
    const taken = new Set([...this.#endpoints.values()].map((endpoint) => endpoint.address));
    const address = nextAddress(this.#options.subnet, taken, this.#lastAddress);
    if (address === undefined) {
      throw new ClusterError(
        'exhausted',
        `no free address left in ${this.#options.subnet}: choose a larger --bridge-subnet`,
      );
    }
    this.#lastAddress = address;
    const endpoint = { taskId: request.taskId, address, hostPorts: request.hostPorts };
    this.#endpoints.set(request.taskId, endpoint);
    await mkdir(this.#dir(request.taskId), { recursive: true, mode: 0o755 });
    await this.#write(request.taskId, 'endpoint.json', JSON.stringify(endpoint));
    return endpoint;
  }

  async #wire(endpoint: Endpoint): Promise<void> {
    const namespace = this.#namespace(endpoint.taskId);
    await run(
      'ip',
      ['-batch', '-'],
      [`netns add ${namespace}`, ...hostWiring(endpoint, namespace, this.#gateway), ''].join('\n'),
    );
    const link = linkName(endpoint.taskId);
    await Promise.all([
      run('ip', ['-netns', namespace, '-batch', '-'], [...taskWiring(endpoint, this.#gateway), ''].join('\n')),
      writeFile(`/proc/sys/net/ipv4/conf/${link}/route_localnet`, '1'),
      writeFile(`/proc/sys/net/ipv4/conf/${link}/rp_filter`, '1'),
    ]);
  }

  async #isWired(endpoint: Endpoint): Promise<boolean> {
    const [links, namespaces] = await Promise.all([
      run('ip', ['-o', 'link', 'show']),
      readdir(netnsDir).catch((): string[] => []),
    ]);
    return namespaces.includes(this.#namespace(endpoint.taskId)) && links.includes(` ${linkName(endpoint.taskId)}@`);
  }

  async #finish(endpoint: Endpoint, request: SandboxRequest): Promise<Sandbox> {
    const hostResolv = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
    const files = {
      hosts: hostsFile(endpoint.address, request.hostname, request.extraHosts),
      'resolv.conf': resolvConf(hostResolv, request.dns),
      hostname: `${request.hostname}\n`,
    };
    await Promise.all(Object.entries(files).map(([name, text]) => this.#write(endpoint.taskId, name, text)));
    const path = (name: string) => join(this.#dir(endpoint.taskId), name);
    return {
      taskId: endpoint.taskId,
      netnsPath: `${netnsDir}/${this.#namespace(endpoint.taskId)}`,
      address: endpoint.address,
      hostsPath: path('hosts'),
      resolvConfPath: path('resolv.conf'),
      hostnamePath: path('hostname'),
      ports: endpoint.hostPorts.map(({ port, protocol, target }) => ({
        Protocol: protocol,
        TargetPort: target,
        PublishedPort: port,
        PublishMode: 'host',
      })),
    };
  }

  async #detach(taskId: string): Promise<void> {
    const endpoint = this.#endpoints.get(taskId);
    if (endpoint !== undefined && endpoint.hostPorts.length > 0) {
      await this.#applyNft(deleteElements(table, endpoint)).catch(() => {}); // gone already: a flushed table or a half-made endpoint
    }
    await this.#unwire(taskId);
    await this.#ports.release(taskId);
    await rm(this.#dir(taskId), { recursive: true, force: true });
    this.#endpoints.delete(taskId);
  }

  /** The link goes first: removing a namespace while its veth is busy leaves a zombie of both. */
  async #unwire(taskId: string): Promise<void> {
    const lines = [`link delete ${linkName(taskId)}`, `netns delete ${this.#namespace(taskId)}`, ''];
    await run('ip', ['-force', '-batch', '-'], lines.join('\n')).catch(() => {}); // either may be missing
    await rm(`${netnsDir}/${this.#namespace(taskId)}`, { force: true }).catch(() => {});
  }

  /** What an earlier daemon began and nobody knows: namespaces and links of our naming without an endpoint. */
  async #collectGarbage(): Promise<void> {
    const wantedLinks = new Set([...this.#endpoints.keys()].map(linkName));
    const links = await run('ip', ['-o', 'link', 'show', 'type', 'veth']);
    const strays = [...links.matchAll(new RegExp(`^\\d+: (${linkPrefix}[0-9a-f]{8})@`, 'gm'))].map(
      ([, name]) => name ?? '',
    );
    const lines = strays.filter((name) => !wantedLinks.has(name)).map((name) => `link delete ${name}`);
    for (const name of await readdir(netnsDir).catch((): string[] => [])) {
      const taskId = name.startsWith(`${this.#options.prefix}-`)
        ? name.slice(this.#options.prefix.length + 1)
        : undefined;
      if (taskId !== undefined && !this.#endpoints.has(taskId)) lines.push(`netns delete ${name}`);
    }
    if (lines.length > 0) await run('ip', ['-force', '-batch', '-'], `${lines.join('\n')}\n`).catch(() => {});
  }

  async #load(): Promise<readonly Endpoint[]> {
    const endpoints: Endpoint[] = [];
    for (const taskId of await readdir(this.#options.stateDir)) {
      try {
        endpoints.push(JSON.parse(await readFile(join(this.#dir(taskId), 'endpoint.json'), 'utf8')) as Endpoint);
      } catch {
        await rm(this.#dir(taskId), { recursive: true, force: true }); // died before the endpoint was written: nothing was wired
      }
    }
    return endpoints;
  }

  async #write(taskId: string, name: string, text: string): Promise<void> {
    const path = join(this.#dir(taskId), name);
    // hosts, resolv.conf and hostname are bind-mounted into the container: a rename would leave it with the old file.
    if (name !== 'endpoint.json') return writeFile(path, text, { mode: 0o644 });
    await writeFile(`${path}.new`, text, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  #applyNft(text: string): Promise<unknown> {
    const next = this.#nft.then(() => run('nft', ['-f', '-'], text));
    this.#nft = next.catch(() => {});
    return next;
  }

  #serially<T>(taskId: string, work: () => Promise<T>): Promise<T> {
    const next = (this.#perTask.get(taskId) ?? Promise.resolve()).then(work);
    const settled = next.then(
      () => {},
      () => {},
    );
    this.#perTask.set(taskId, settled);
    void settled.then(() => {
      if (this.#perTask.get(taskId) === settled) this.#perTask.delete(taskId);
    });
    return next;
  }

  #namespace(taskId: string): string {
    return `${this.#options.prefix}-${taskId}`;
  }

  #dir(taskId: string): string {
    return join(this.#options.stateDir, taskId);
  }
}
