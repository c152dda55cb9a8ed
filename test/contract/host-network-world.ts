/** Three hosts and an outside client as namespaces on one bridge that lives in a namespace of its own; tasks are plain processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { EndpointRecord, NetworkRecord, PeerRecord, SelfRecord, ServiceRecord } from '../../src/model/network.ts';
import type { HostPort } from '../../src/model/ports.ts';
import type { SandboxRecord } from '../../src/worker/network/planes.ts';
import { execute, until } from '../e2e/hosts.ts';

const child = fileURLToPath(new URL('./host-network-child.ts', import.meta.url));
const prefix = `tsn4-${process.pid}`;
const lan = (host: number) => `10.98.0.${host}`;
export const outside = lan(9);
export const dataPathPort = 4789;

export interface TaskSpec {
  readonly id: string;
  readonly host: number;
  /** Last byte of its gateway address. */
  readonly at: number;
  readonly service?: string;
  readonly active?: boolean;
  readonly hostPorts?: readonly HostPort[];
  /** Ids of networks. */
  readonly networks?: readonly string[];
}

export interface Cluster {
  readonly tasks: readonly TaskSpec[];
  readonly services: readonly ServiceRecord[];
  readonly networks?: readonly NetworkRecord[];
  readonly downHosts?: readonly number[];
  /** Removed from the cluster. */
  readonly goneHosts?: readonly number[];
}

export interface Answer {
  readonly value?: readonly { readonly message: string; readonly serviceId?: string }[];
  readonly error?: string;
  readonly changes: number;
  readonly again: number;
  readonly tookMs: number;
}

export const netns = (name: string) => `${prefix}-${name}`;
export const addressOf = ({ host, at }: TaskSpec) => `172.28.${host}.${at}`;

export class World {
  readonly #hosts = new Map<number, { process: ChildProcess; lines: Interface; answers: AsyncIterator<string> }>();
  readonly #programs: ChildProcess[] = [];

  async open(): Promise<void> {
    const names = ['und', 'h1', 'h2', 'h3', 'ext'];
    const ends = [1, 2, 3, 9].map((host) => ({ host, name: host === 9 ? 'ext' : `h${host}` }));
    await ip(names.map((name) => `netns add ${netns(name)}`));
    await ip(['link add br0 type bridge', 'link set br0 up'], 'und');
    await ip(
      ends.flatMap(({ name }) => [
        `link add v${name} type veth peer name eth0 netns ${netns(name)}`,
        `link set v${name} master br0 up`,
      ]),
      'und',
    );
    for (const { host, name } of ends) {
      await ip(['link set lo up', `addr add ${lan(host)}/24 dev eth0`, 'link set eth0 up'], name);
    }
    await Promise.all([1, 2, 3].map((host) => this.startDaemon(host)));
  }

  async close(): Promise<void> {
    for (const program of this.#programs) program.kill('SIGKILL');
    for (const host of [...this.#hosts.keys()]) await this.killDaemon(host);
    const { stdout } = await execute('ip', ['netns', 'list']);
    const left = stdout
      .split('\n')
      .map((line) => line.split(' ')[0] ?? '')
      .filter((name) => name.startsWith(`${prefix}-`));
    await ip(left.map((name) => `netns delete ${name}`));
  }

  async startDaemon(host: number): Promise<void> {
    const process_ = this.#start(`h${host}`, [process.execPath, '-C', 'source', '--import', 'tsx', child], 'pipe');
    if (process_.stdout === null) throw new Error('no output');
    const lines = createInterface({ input: process_.stdout });
    this.#hosts.set(host, { process: process_, lines, answers: lines[Symbol.asyncIterator]() });
  }

  async killDaemon(host: number): Promise<void> {
    const daemon = this.#hosts.get(host);
    this.#hosts.delete(host);
    if (daemon === undefined || daemon.process.exitCode !== null || daemon.process.signalCode !== null) return;
    const ended = once(daemon.process, 'exit');
    daemon.process.kill('SIGKILL');
    await ended;
  }

  /** Sends a command and does not wait. */
  tell(host: number, verb: string, cluster: Cluster, more: { taskId?: string; full?: boolean } = {}): void {
    const line = JSON.stringify({ verb, ...more, desired: desiredFor(host, cluster) });
    this.#hosts.get(host)?.process.stdin?.write(`${line}\n`);
  }

  async ask(
    host: number,
    verb: string,
    cluster: Cluster,
    more: { taskId?: string; full?: boolean } = {},
  ): Promise<Answer> {
    this.tell(host, verb, cluster, more);
    const { value, done } = (await this.#hosts.get(host)?.answers.next()) ?? { done: true };
    if (done === true || value === undefined) throw new Error(`host ${host} ended`);
    return JSON.parse(value) as Answer;
  }

  /** On every host: what it should have; answers with the problems and the number of changes. */
  sync(cluster: Cluster, full = true): Promise<readonly Answer[]> {
    return Promise.all([1, 2, 3].map((host) => this.ask(host, 'sync', cluster, { full })));
  }

  /** Makes the task's namespace and wires it. */
  async attach(task: TaskSpec, cluster: Cluster): Promise<Answer> {
    await ip([`netns add ${netns(task.id)}`]);
    return this.ask(task.host, 'wire', cluster, { taskId: task.id });
  }

  async detach(task: TaskSpec, cluster: Cluster): Promise<Answer> {
    const answer = await this.ask(task.host, 'unwire', cluster, { taskId: task.id });
    await ip([`netns delete ${netns(task.id)}`]);
    return answer;
  }

  /** An HTTP and datagram server that answers with its name and the client's address. */
  async serve(where: string, name: string, port = 80): Promise<ChildProcess> {
    const program = this.#start(where, [process.execPath, '-e', server, name, String(port)], 'ignore');
    await until(`server ${name}`, 10_000, async () => {
      const { code } = await inNetns(where, 'curl', ['-s', '-m1', '-o', '/dev/null', `http://127.0.0.1:${port}/`]);
      return code === 0 ? true : undefined;
    });
    return program;
  }

  #start(where: string, command: readonly string[], input: 'pipe' | 'ignore'): ChildProcess {
    const started = spawn('nsenter', [`--net=/run/netns/${netns(where)}`, ...command], {
      stdio: [input, 'pipe', 'inherit'],
    });
    this.#programs.push(started);
    return started;
  }
}

const server = `
const [name, port] = process.argv.slice(1);
require('http').createServer((q, r) => r.end(name + ' ' + q.socket.remoteAddress)).listen(+port, '0.0.0.0');
const u = require('dgram').createSocket('udp4');
u.on('message', (m, i) => u.send(name + ' ' + i.address, i.port, i.address));
u.bind(+port);`;

const datagram = `
const [host, port, from] = process.argv.slice(1);
const d = require('dgram').createSocket('udp4');
const end = (text) => { console.log(text); process.exit(0); };
d.on('message', (m) => end(m.toString()));
d.on('error', (e) => end(e.code === 'ECONNREFUSED' ? 'refused' : e.code));
d.bind(+from, () => d.connect(+port, host, () => d.send('?')));
setTimeout(() => end('silence'), 700);`;

export function inNetns(where: string, program: string, args: readonly string[]) {
  return execute('nsenter', [`--net=/run/netns/${netns(where)}`, program, ...args]);
}

/** What answered, `refused` at once, or `silence`. */
export async function get(from: string, target: string): Promise<string> {
  const { code, stdout } = await inNetns(from, 'curl', ['-s', '-m', '1', `http://${target}/`]);
  if (code === 0) return stdout;
  return code === 7 ? 'refused' : 'silence';
}

export async function getTwice(from: string, target: string): Promise<readonly string[]> {
  return [await get(from, target), await get(from, target)].toSorted();
}

export async function send(from: string, host: string, port: number, sourcePort = 0): Promise<string> {
  const { stdout } = await inNetns(from, process.execPath, ['-e', datagram, host, String(port), String(sourcePort)]);
  return stdout.trim();
}

export async function ip(lines: readonly string[], where?: string): Promise<void> {
  if (lines.length === 0) return;
  const place = where === undefined ? [] : ['-netns', netns(where)];
  const { code, stderr } = await execute('ip', [...place, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  if (code !== 0) throw new Error(`${lines.join('; ')}: ${stderr}`);
}

function selfOf(host: number): SelfRecord {
  return {
    nodeId: `n${host}`,
    underlay: lan(host),
    gatewaySubnet: `172.28.${host}.0/24`,
    ingressAddress: `10.255.0.${host}`,
    dataPathPort,
    gatewayPools: ['172.28.0.0/14'],
    ingressPool: '10.255.0.0/16',
  };
}

function peerOf(host: number, isDown: boolean): PeerRecord {
  const { nodeId, underlay, gatewaySubnet, ingressAddress } = selfOf(host);
  return { nodeId, underlay, gatewaySubnet, ingressAddress, ...(isDown ? { down: true } : {}) };
}

function sandboxOf(task: TaskSpec): SandboxRecord {
  return {
    taskId: task.id,
    mode: 'own',
    netns: netns(task.id),
    gateway: addressOf(task),
    attachments: (task.networks ?? []).map((networkId) => ({ networkId, addresses: [] })),
    hostPorts: task.hostPorts ?? [],
    nameservers: [],
  };
}

function desiredFor(host: number, { tasks, services, networks = [], downHosts = [], goneHosts = [] }: Cluster) {
  const endpoints = tasks.flatMap((task): EndpointRecord[] => {
    if (task.service === undefined) return [];
    const { id: taskId, service: serviceId, active = true } = task;
    return [
      { taskId, nodeId: `n${task.host}`, serviceId, names: [], attachments: [], gateway: addressOf(task), active },
    ];
  });
  const others = [1, 2, 3].filter((other) => other !== host && !goneHosts.includes(other));
  const peers = others.map((other) => peerOf(other, downHosts.includes(other)));
  return {
    sandboxes: tasks.filter((task) => task.host === host).map(sandboxOf),
    state: { self: selfOf(host), peers, networks, endpoints, services },
  };
}
