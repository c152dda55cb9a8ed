/** A private containerd, a registry, and a network of bare namespaces: what the containerd suites run against. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sleep } from '../../src/lib/clock.ts';
import { newId } from '../../src/lib/ids.ts';
import { silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom } from '../../src/lib/real.ts';
import type { AssignedTask } from '../../src/model/assignment.ts';
import type { NetworkState } from '../../src/model/network.ts';
import type { NetworkProblem } from '../../src/model/objects.ts';
import type { ContainerSpec, TaskSpec } from '../../src/model/spec.ts';
import { TaskState } from '../../src/model/task-state.ts';
import { type ContainerdExecutor, createContainerdExecutor } from '../../src/worker/containerd/executor.ts';
import type { NetworkDriver, Sandbox, SandboxRequest } from '../../src/worker/network/port.ts';

const run = promisify(execFile);

export interface ContainerdHost {
  readonly directory: string;
  readonly address: string;
  readonly namespace: string;
  /** `127.0.0.1:port`. */
  readonly registry: string;
  readonly network: BareNetwork;
  executor(options?: Partial<Parameters<typeof createContainerdExecutor>[0]>): ContainerdExecutor;
  /** Kills the daemon the hard way and starts it again. */
  restartContainerd(): Promise<void>;
  stopContainerd(): Promise<void>;
  stopRegistry(): Promise<void>;
  startRegistry(): Promise<void>;
  close(): Promise<void>;
}

export async function startContainerdHost(): Promise<ContainerdHost> {
  const directory = await mkdtemp(join(tmpdir(), 'tsc-ctrd-'));
  const address = join(directory, 'containerd.sock');
  const namespace = `tsctest-${newId(realRandom).slice(0, 8)}`;
  await writeFile(join(directory, 'config.toml'), containerdConfig(directory, address));
  const port = await freePort();
  await writeFile(join(directory, 'registry.yml'), registryConfig(directory, port));
  const containerd = new Daemon(
    ['containerd', '--config', join(directory, 'config.toml')],
    join(directory, 'containerd.log'),
  );
  const registry = new Daemon(
    ['docker-registry', 'serve', join(directory, 'registry.yml')],
    join(directory, 'registry.log'),
  );
  const network = new BareNetwork(join(directory, 'network'));
  const executors: ContainerdExecutor[] = [];
  const host: ContainerdHost = {
    directory,
    address,
    namespace,
    registry: `127.0.0.1:${port}`,
    network,
    executor(options = {}) {
      const made = createContainerdExecutor({
        address,
        namespace,
        stateDir: join(directory, 'state'),
        network,
        clock: realClock,
        random: realRandom,
        log: silentLog,
        hostname: 'test-host',
        mirrors: [`http://127.0.0.1:${port}`],
        insecureRegistries: [],
        cgroupParent: `/${namespace}`,
        engineLabels: {},
        version: 'test',
        ...options,
      });
      executors.push(made);
      return made;
    },
    restartContainerd: async () => {
      await containerd.stop('SIGKILL');
      await containerd.start(() => answers(host));
    },
    stopContainerd: () => containerd.stop('SIGKILL'),
    startRegistry: () => registry.start(() => fetch(`http://127.0.0.1:${port}/v2/`)),
    stopRegistry: () => registry.stop('SIGTERM'),
    close: async () => {
      const cleaner = host.executor();
      for (const id of await cleaner.existing().catch(() => [])) await cleaner.discard(id).catch(() => {});
      for (const executor of executors) await executor.close();
      await registry.stop('SIGTERM');
      await containerd.stop('SIGTERM');
      await network.destroy();
      await rm(directory, { recursive: true, force: true });
    },
  };
  await Promise.all([containerd.start(() => answers(host)), host.startRegistry()]);
  return host;
}

async function answers(host: ContainerdHost): Promise<void> {
  const executor = createContainerdExecutor({ ...probeOptions, address: host.address, namespace: host.namespace });
  try {
    await executor.probe();
  } finally {
    await executor.close();
  }
}

const probeOptions = {
  stateDir: '/nonexistent',
  clock: realClock,
  random: realRandom,
  log: silentLog,
  hostname: 'probe',
  mirrors: [],
  insecureRegistries: [],
  engineLabels: {},
  version: 'test',
  network: undefined as unknown as NetworkDriver,
};

/** A child of this test, stopped by its own process id. */
class Daemon {
  readonly #command: readonly string[];
  readonly #logPath: string;
  #child: ChildProcess | undefined;

  constructor(command: readonly string[], logPath: string) {
    this.#command = command;
    this.#logPath = logPath;
  }

  async start(answers: () => Promise<unknown>): Promise<void> {
    const log = await open(this.#logPath, 'a');
    const [program = '', ...args] = this.#command;
    this.#child = spawn(program, args, { stdio: ['ignore', log.fd, log.fd], detached: true });
    await log.close();
    for (let attempt = 0; ; attempt++) {
      try {
        await answers();
        return;
      } catch (error) {
        if (attempt >= 100) {
          const tail = (await readFile(this.#logPath, 'utf8')).slice(-1000);
          throw new Error(`${program} does not answer: ${String(error)}\n${tail}`);
        }
        await sleep(realClock, 50);
      }
    }
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }
}

/** Namespaces with nothing but loopback, and the files for /etc. */
export class BareNetwork implements NetworkDriver {
  readonly #directory: string;
  readonly #sandboxes = new Map<string, Sandbox>();
  #state: NetworkState | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async start(): Promise<void> {}

  async attach(request: SandboxRequest): Promise<Sandbox> {
    const known = this.#sandboxes.get(request.taskId);
    if (known !== undefined) return known;
    const name = `tsct-${request.taskId}`;
    await run('ip', ['netns', 'add', name]);
    await run('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    const directory = join(this.#directory, request.taskId);
    await mkdir(directory, { recursive: true });
    const files = {
      hosts: '127.0.0.1 localhost\n',
      resolv: 'nameserver 127.0.0.1\n',
      hostname: `${request.hostname}\n`,
    };
    for (const [file, text] of Object.entries(files)) await writeFile(join(directory, file), text);
    const ports = request.hostPorts.map((port) => ({
      Protocol: port.protocol,
      TargetPort: port.target,
      PublishedPort: port.port,
      PublishMode: 'host',
    }));
    const sandbox: Sandbox = {
      taskId: request.taskId,
      netnsPath: `/run/netns/${name}`,
      hostsPath: join(directory, 'hosts'),
      resolvConfPath: join(directory, 'resolv'),
      hostnamePath: join(directory, 'hostname'),
      ports,
    };
    this.#sandboxes.set(request.taskId, sandbox);
    return sandbox;
  }

  async detach(taskId: string): Promise<void> {
    if (!this.#sandboxes.delete(taskId)) return;
    await run('ip', ['netns', 'delete', `tsct-${taskId}`]);
    await rm(join(this.#directory, taskId), { recursive: true, force: true });
  }

  async list(): Promise<readonly string[]> {
    return [...this.#sandboxes.keys()];
  }

  async apply(state: NetworkState): Promise<readonly NetworkProblem[]> {
    this.#state = state;
    return [];
  }

  inPlace(): NetworkState | undefined {
    return this.#state;
  }

  onProblems(): void {}

  async close(): Promise<void> {}

  async destroy(): Promise<void> {
    for (const taskId of [...this.#sandboxes.keys()]) await this.detach(taskId);
  }
}

export function makeTask(container: Partial<ContainerSpec>, spec: Partial<TaskSpec> = {}): AssignedTask {
  return {
    id: newId(realRandom),
    serviceId: 'service-id',
    serviceName: 'web',
    serviceLabels: { tier: 'front' },
    slot: 2,
    nodeId: 'node-id',
    spec: { ...spec, ContainerSpec: { Image: 'busybox', ...container } },
    specVersion: 1,
    endpoint: {},
    desired: TaskState.running,
    status: { state: TaskState.assigned, timestamp: 0, message: '', err: '' },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

function containerdConfig(directory: string, address: string): string {
  return `version = 2
root = "${directory}/root"
state = "${directory}/run"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.restart",
]
[grpc]
  address = "${address}"
[ttrpc]
  address = "${address}.ttrpc"
`;
}

function registryConfig(directory: string, port: number): string {
  return `version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: ${directory}/registry } }
http: { addr: "127.0.0.1:${port}" }
`;
}
