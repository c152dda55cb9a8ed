/**
 * Nodes for tests of the network driver: namespaces on one bridge, in each a child process with a driver of its own, and containers
 * that are namespaces with a small server. Everything carries one prefix and goes at the end.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  type EndpointRecord,
  type NetworkRecord,
  type NetworkState,
  type PeerRecord,
  type SelfRecord,
  type ServiceRecord,
} from '../../src/model/network.ts';
import type { NetworkAddresses, NetworkProblem } from '../../src/model/objects.ts';
import type { Sandbox, SandboxRequest } from '../../src/worker/network/port.ts';
import { encodeState } from '../../src/worker/network/records.ts';
import { execute, until } from '../e2e/hosts.ts';

const script = fileURLToPath(new URL('./network-node.ts', import.meta.url));
const server = `
const [name, host] = process.argv.slice(1);
const answer = (address) => name + ' ' + address.replace('::ffff:', '');
require('http').createServer((q, r) => r.end(answer(q.socket.remoteAddress))).listen(80, '::').on('error', () => {
  require('http').createServer((q, r) => r.end(answer(q.socket.remoteAddress))).listen(80);
});
const udp = require('dgram').createSocket('udp4');
udp.on('message', (m, from) => udp.send(answer(from.address), from.port, from.address)).bind(80);
`;

export interface SyncResult {
  readonly host: number;
  readonly overlay: number;
  readonly problems: readonly NetworkProblem[];
}

export class LabNode {
  readonly id: string;
  readonly index: number;
  readonly netns: string;
  readonly prefix: string;
  readonly stateDir: string;
  #child: ChildProcess | undefined;
  #next = 1;
  readonly #calls = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();

  constructor(lab: string, index: number) {
    this.index = index;
    this.id = `node${index}`;
    this.netns = `${lab}h${index}`;
    this.prefix = `${lab}${index}`;
    this.stateDir = mkdtempSync(join(tmpdir(), `${lab}-`));
  }

  get underlay(): string {
    return `10.99.0.${this.index}`;
  }

  get peer(): PeerRecord {
    const { index, id, underlay } = this;
    return { nodeId: id, underlay, gatewaySubnet: `172.28.${index}.0/24`, ingressAddress: `10.255.0.${index}` };
  }

  get self(): SelfRecord {
    const same = { dataPathPort: 4789, gatewayPools: ['172.28.0.0/14'], ingressPool: '10.255.0.0/16' };
    return { ...this.peer, ...same };
  }

  async open(): Promise<void> {
    const args = [`--net=/run/netns/${this.netns}`, process.execPath, '-C', 'source', '--import', 'tsx', script];
    const child = spawn('nsenter', [...args, this.stateDir, this.prefix], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child = child;
    child.on('exit', () => {
      for (const { reject } of this.#calls.values()) reject(new Error('the node ended'));
      this.#calls.clear();
    });
    child.stdin?.on('error', () => {});
    if (child.stdout === null) throw new Error('no output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { id, value, error } = JSON.parse(line) as { id: number; value: never; error?: string };
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) call?.resolve(value);
      else call?.reject(new Error(error));
    });
    await this.call('start');
  }

  call<T = unknown>(call: string, argument?: unknown): Promise<T> {
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#child?.stdin?.write(`${JSON.stringify({ id, call, argument })}\n`);
    });
  }

  attach(
    taskId: string,
    attachments: readonly NetworkAddresses[],
    more: Partial<SandboxRequest> = {},
  ): Promise<Sandbox> {
    return this.call('attach', { ...request(taskId, attachments), ...more });
  }

  sync(): Promise<SyncResult> {
    return this.call('sync');
  }

  /** Ends it at once, as a power cut would. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** A program in this node's namespace. */
  run(program: string, ...args: readonly string[]) {
    return execute('nsenter', [`--net=/run/netns/${this.netns}`, program, ...args]);
  }
}

export function request(taskId: string, attachments: readonly NetworkAddresses[]): SandboxRequest {
  return {
    taskId,
    hostname: taskId,
    mode: 'own',
    attachments,
    hostPorts: [],
    dns: { nameservers: [], search: [], options: [] },
    extraHosts: [],
  };
}

export interface LabContainer {
  readonly node: LabNode;
  readonly taskId: string;
  readonly serviceId: string;
  readonly attachments: readonly NetworkAddresses[];
  active: boolean;
}

/** A cluster in miniature: what the managers would say is computed here from containers and services. */
export class Lab {
  readonly prefix: string;
  readonly nodes: readonly LabNode[];
  readonly networks = new Map<string, NetworkRecord>();
  readonly services = new Map<string, ServiceRecord>();
  readonly containers = new Map<string, LabContainer>();
  readonly #servers: ChildProcess[] = [];
  #version = 0;

  constructor(prefix: string, count: number) {
    this.prefix = prefix;
    this.nodes = Array.from({ length: count }, (_, at) => new LabNode(prefix, at + 1));
  }

  node(index: number): LabNode {
    const node = this.nodes[index - 1];
    if (node === undefined) throw new Error(`no node ${index}`);
    return node;
  }

  async up(): Promise<void> {
    await this.#removeNamespaces();
    const sw = `${this.prefix}sw`;
    const batch = (args: readonly string[], lines: readonly string[]) => must('ip', [...args, '-batch', '-'], lines);
    await batch([], [`netns add ${sw}`, ...this.nodes.map(({ netns }) => `netns add ${netns}`)]);
    await batch(
      ['-n', sw],
      [
        'link add br0 type bridge',
        'link set br0 up',
        ...this.nodes.flatMap(({ index, netns }) => [
          `link add p${index} type veth peer name eth0 netns ${netns}`,
          `link set p${index} master br0 up`,
        ]),
      ],
    );
    for (const { netns, underlay } of this.nodes) {
      await batch(['-n', netns], ['link set lo up', `addr add ${underlay}/24 dev eth0`, 'link set eth0 up']);
    }
    await Promise.all(this.nodes.map((node) => node.open()));
  }

  async down(): Promise<void> {
    for (const child of this.#servers) child.kill('SIGKILL');
    for (const node of this.nodes) await node.kill();
    await this.#removeNamespaces();
    for (const node of this.nodes) rmSync(node.stateDir, { recursive: true, force: true });
  }

  /** Declares a container; `run` makes it. */
  declare(node: LabNode, taskId: string, serviceId: string, attachments: readonly NetworkAddresses[]): LabContainer {
    const container = { node, taskId, serviceId, attachments, active: true };
    this.containers.set(taskId, container);
    return container;
  }

  /** Everybody is told what is so now. */
  async tell(): Promise<void> {
    this.#version++;
    await Promise.all(this.nodes.map((node) => node.call('apply', encodeState(this.stateFor(node)))));
  }

  stateFor(node: LabNode): NetworkState {
    const endpoints = [...this.containers.values()].map((container): EndpointRecord => {
      const { taskId, serviceId, attachments, active } = container;
      return { taskId, serviceId, nodeId: container.node.id, names: [taskId], attachments, active };
    });
    return {
      version: this.#version,
      self: node.self,
      peers: new Map(this.nodes.filter((one) => one !== node).map((one) => [one.id, one.peer])),
      networks: this.networks,
      endpoints: new Map(endpoints.map((endpoint) => [endpoint.taskId, endpoint])),
      services: this.services,
    };
  }

  /** Attaches what was declared on the node and starts a server in it that answers `TASK CLIENT-ADDRESS`. */
  async run(taskId: string): Promise<void> {
    const container = this.container(taskId);
    const sandbox = await container.node.attach(taskId, container.attachments);
    this.#servers.push(
      spawn('nsenter', [`--net=${sandbox.netnsPath}`, process.execPath, '-e', server, taskId], { stdio: 'ignore' }),
    );
    await until(`server of ${taskId}`, 10_000, async () =>
      (await this.get(taskId, 'http://127.0.0.1/')) === `${taskId} 127.0.0.1` ? true : undefined,
    );
  }

  container(taskId: string): LabContainer {
    const container = this.containers.get(taskId);
    if (container === undefined) throw new Error(`no container ${taskId}`);
    return container;
  }

  /** A program in a container's namespace. */
  inside(taskId: string, program: string, ...args: readonly string[]) {
    const { node } = this.container(taskId);
    return execute('nsenter', [`--net=/run/netns/${node.prefix}-${taskId}`, program, ...args]);
  }

  async get(taskId: string, url: string, ...more: readonly string[]): Promise<string> {
    const { code, stdout } = await this.inside(taskId, 'curl', '-s', '-g', '--max-time', '2', ...more, url);
    if (code === 0) return stdout.trim();
    return code === 7 ? 'refused' : code === 28 ? 'no answer' : `curl ${code}`;
  }

  /** Several requests, one after the other. */
  async gets(taskId: string, url: string, count: number): Promise<readonly string[]> {
    const answers: string[] = [];
    for (let at = 0; at < count; at++) answers.push(await this.get(taskId, url));
    return answers;
  }

  async #removeNamespaces(): Promise<void> {
    const names = (await execute('ip', ['netns', 'list'])).stdout.split('\n').map((line) => line.split(' ')[0] ?? '');
    const ours = names.filter((name) => name.startsWith(this.prefix));
    for (const name of ours.filter((one) => one.includes('-net-'))) {
      const links = await execute('ip', ['-n', name, '-o', 'link', 'show', 'type', 'vxlan']);
      const vxlan = /: (vx\d+)/.exec(links.stdout)?.[1];
      if (vxlan !== undefined) await execute('ip', ['-n', name, 'link', 'delete', vxlan]);
    }
    if (ours.length > 0) {
      await execute('ip', ['-force', '-batch', '-'], {
        input: `${ours.map((one) => `netns delete ${one}`).join('\n')}\n`,
      });
    }
  }
}

async function must(program: string, args: readonly string[], lines: readonly string[]): Promise<void> {
  const { code, stderr } = await execute(program, args, { input: `${lines.join('\n')}\n` });
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
}
