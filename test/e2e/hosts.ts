/**
 * Test hosts: network namespaces on one private bridge, all inside this machine. Each host has its own daemon, data
 * directory and containerd namespace; one private containerd serves them all. This process sits on the same bridge and
 * plays the world outside. Needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { memoryFolderName } from '../../src/worker/storage/task-files.ts';

export const projectDir = fileURLToPath(new URL('../..', import.meta.url));
const tscluster = join(projectDir, 'bin/tscluster');

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface HostsOptions {
  /** Distinguishes several sets on one machine: at most 5 letters. */
  readonly prefix: string;
  /** Third-octet network of the hosts, e.g. `10.88.0`. */
  readonly network: string;
  readonly count: number;
}

/** Runs a program to its end. Never rejects for an exit code. */
export function execute(
  program: string,
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: options.env ?? process.env, stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 137, stdout, stderr });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
  });
}

async function must(program: string, args: readonly string[], input?: string): Promise<string> {
  const result = await execute(program, args, input === undefined ? {} : { input });
  if (result.code !== 0)
    throw new Error(`${program} ${args.join(' ')}: ${result.stderr.trim() || `exit code ${result.code}`}`);
  return result.stdout;
}

/** Resolves once `path` exists. Watches its directory; the limit only bounds a failure. */
export function appearance(path: string, limitMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (error?: Error) => {
      watcher.close();
      clearTimeout(timer);
      if (error === undefined) resolve();
      else reject(error);
    };
    const watcher = watch(dirname(path), () => existsSync(path) && finish());
    const timer = setTimeout(() => finish(new Error(`${path} did not appear within ${limitMs} ms`)), limitMs);
    if (existsSync(path)) finish();
  });
}

/** Calls `probe` until it gives a value, about 50 times a second. Errors of the last try are part of the message. */
export async function until<T>(what: string, limitMs: number, probe: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      throw new Error(`${what}: not within ${limitMs} ms${last === undefined ? '' : ` (${(last as Error).message})`}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class Host {
  readonly index: number;
  readonly name: string;
  readonly address: string;
  readonly dir: string;
  readonly socket: string;
  readonly #hosts: Hosts;
  #daemon: ChildProcess | undefined;

  constructor(hosts: Hosts, index: number) {
    this.#hosts = hosts;
    this.index = index;
    this.name = `n${index}`;
    this.address = `${hosts.options.network}.${index}`;
    this.dir = join(hosts.dir, this.name);
    this.socket = join(this.dir, 'tscluster.sock');
  }

  get namespace(): string {
    return `${this.#hosts.options.prefix}${this.index}`;
  }

  get containerdNamespace(): string {
    return `${this.#hosts.options.prefix}-${this.name}`;
  }

  get alive(): boolean {
    return this.#daemon !== undefined && this.#daemon.exitCode === null && this.#daemon.signalCode === null;
  }

  get pid(): number | undefined {
    return this.#daemon?.pid;
  }

  /** Flags of this host's daemon. */
  get daemonFlags(): readonly string[] {
    return [
      '--data-dir',
      join(this.dir, 'data'),
      '--socket',
      this.socket,
      '--advertise-addr',
      this.address,
      '--containerd',
      this.#hosts.containerdSocket,
      '--containerd-namespace',
      this.containerdNamespace,
      '--hostname',
      this.name,
      '--cgroup-parent',
      `/${this.containerdNamespace}`,
      ...this.#hosts.mirrors.flatMap((mirror) => ['--registry-mirror', mirror]),
    ];
  }

  /** Starts the daemon and waits for its socket. */
  async start(extra: readonly string[] = []): Promise<void> {
    await mkdir(this.dir, { recursive: true });
    rmSync(this.socket, { force: true });
    const log = openSync(join(this.dir, 'daemon.log'), 'a');
    const child = spawn(
      'nsenter',
      [`--net=/run/netns/${this.namespace}`, process.execPath, tscluster, 'daemon', ...this.daemonFlags, ...extra],
      {
        stdio: ['ignore', log, log],
        detached: true,
      },
    );
    this.#daemon = child;
    const died = new Promise<never>((_, reject) => {
      child.once('exit', (code) => reject(new Error(`daemon of ${this.name} ended with ${code}: ${this.logTail()}`)));
    });
    died.catch(() => {});
    await Promise.race([appearance(this.socket, 20_000), died]);
  }

  /** Ends the daemon with a signal and waits until it is gone. Containers go on. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#daemon;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
    this.#daemon = undefined;
  }

  /** What a power cut does: daemon and containers end at once, the disk stays. Start again with another `--boot-id`. */
  async losePower(): Promise<void> {
    await this.stop('SIGKILL');
    await this.#hosts.loseContainers(this.containerdNamespace);
  }

  /** `tscluster ARGS` against this host's daemon, run on this host. */
  cli(args: readonly string[], input?: string): Promise<Result> {
    return this.run(process.execPath, [tscluster, ...args], input);
  }

  /** Like {@link cli}, but a failure throws; gives standard output. */
  async ok(args: readonly string[], input?: string): Promise<string> {
    const result = await this.cli(args, input);
    if (result.code !== 0)
      throw new Error(`tscluster ${args.join(' ')} on ${this.name}: ${result.stderr.trim() || result.stdout.trim()}`);
    return result.stdout;
  }

  /** Any program inside this host's network namespace. */
  run(program: string, args: readonly string[], input?: string): Promise<Result> {
    const env = { ...process.env, TSCLUSTER_HOST: `unix://${this.socket}` };
    return execute('nsenter', [`--net=/run/netns/${this.namespace}`, program, ...args], {
      env,
      ...(input === undefined ? {} : { input }),
    });
  }

  logTail(lines = 20): string {
    const path = join(this.dir, 'daemon.log');
    return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : '';
  }

  cut(): Promise<string> {
    return must('ip', [
      '-n',
      `${this.#hosts.options.prefix}sw`,
      'link',
      'set',
      `v${this.#hosts.options.prefix}${this.index}`,
      'down',
    ]);
  }

  heal(): Promise<string> {
    return must('ip', [
      '-n',
      `${this.#hosts.options.prefix}sw`,
      'link',
      'set',
      `v${this.#hosts.options.prefix}${this.index}`,
      'up',
    ]);
  }
}

export class Hosts {
  readonly options: HostsOptions;
  readonly dir: string;
  readonly containerdSocket: string;
  readonly hosts: readonly Host[];
  /** Registry mirrors that daemons started from now on use. */
  mirrors: string[] = [];
  readonly #undo: (() => Promise<void>)[] = [];

  constructor(options: HostsOptions) {
    this.options = options;
    this.dir = join(tmpdir(), `tscluster-${options.prefix}`);
    this.containerdSocket = join(this.dir, 'c.sock');
    this.hosts = Array.from({ length: options.count }, (_, at) => new Host(this, at + 1));
  }

  /** This process's own address on the hosts' network. */
  get outside(): string {
    return `${this.options.network}.254`;
  }

  host(index: number): Host {
    const host = this.hosts[index - 1];
    if (host === undefined) throw new Error(`no host ${index}`);
    return host;
  }

  static async up(options: HostsOptions): Promise<Hosts> {
    const hosts = new Hosts(options);
    await hosts.down(); // what a killed or a kept run left
    try {
      mkdirSync(hosts.dir, { recursive: true, mode: 0o755 });
      await hosts.#plug();
      await hosts.#startContainerd();
    } catch (error) {
      await hosts.down();
      throw error;
    }
    return hosts;
  }

  /** Lets the hosts reach what this machine reaches: forwarding and masquerade, taken back by {@link down}. */
  async openInternet(): Promise<void> {
    const forwarding = '/proc/sys/net/ipv4/ip_forward';
    const before = readFileSync(forwarding, 'utf8').trim();
    writeFileSync(forwarding, '1');
    const table = `tsc_${this.options.prefix}`;
    const rules = `table ip ${table} { }\ndelete table ip ${table}\ntable ip ${table} {\n  chain post {\n    type nat hook postrouting priority srcnat;\n    ip saddr ${this.options.network}.0/24 oifname != "${this.options.prefix}0" masquerade\n  }\n}\n`;
    await must('nft', ['-f', '-'], rules);
    this.#undo.push(async () => {
      writeFileSync(forwarding, before);
      await execute('nft', ['delete', 'table', 'ip', table]);
    });
  }

  /**
   * All network namespaces share the kernel's one table of neighbours, 1024 by default: too few for the containers of several hosts
   * that all talk to each other. Taken back by {@link down}.
   */
  makeRoomForNeighbours(): void {
    for (const family of ['ipv4', 'ipv6']) {
      for (const [name, room] of [
        ['gc_thresh3', 16_384],
        ['gc_thresh2', 8_192],
      ] as const) {
        const path = `/proc/sys/net/${family}/neigh/default/${name}`;
        const before = readFileSync(path, 'utf8').trim();
        if (Number(before) >= room) continue;
        writeFileSync(path, String(room));
        this.#undo.push(async () => writeFileSync(path, before));
      }
    }
  }

  /** Serves an empty OCI registry on the hosts' network; gives its URL. */
  async startRegistry(): Promise<string> {
    const addr = `${this.outside}:5000`;
    const config = join(this.dir, 'registry.yml');
    await writeFile(
      config,
      `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${join(this.dir, 'registry')}}}\nhttp: {addr: "${addr}"}\n`,
    );
    this.#start('docker-registry', ['serve', config], 'registry.log');
    await until('registry', 10_000, async () => ((await fetch(`http://${addr}/v2/`)).ok ? true : undefined));
    return `http://${addr}`;
  }

  /** Stops every process, container, mount and namespace of this prefix, also of an earlier run. */
  async down(): Promise<void> {
    await killAll((command) => command.includes(`${this.dir}/`) && command.includes(' daemon '));
    if (existsSync(this.containerdSocket))
      for (const host of this.hosts) await this.#removeContainers(host.containerdNamespace);
    await killAll((command) => command.includes(`${this.dir}/`));
    for (const undo of this.#undo.reverse()) await undo();
    for (const host of this.hosts) await removeRemains(host);
    await removeNamespaces(this.options.prefix);
    await this.#unmount();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  async #plug(): Promise<void> {
    const { prefix, network, count } = this.options;
    const sw = `${prefix}sw`;
    const lines = [
      `netns add ${sw}`,
      `link add p0 netns ${sw} type veth peer name ${prefix}0`,
      `addr add ${network}.254/24 dev ${prefix}0`,
      `link set ${prefix}0 up`,
    ];
    const inSwitch = ['link add br0 type bridge', 'link set br0 up', 'link set lo up', 'link set p0 master br0 up'];
    for (let at = 1; at <= count; at++) {
      lines.push(
        `netns add ${prefix}${at}`,
        `link add v${prefix}${at} netns ${sw} type veth peer name eth0 netns ${prefix}${at}`,
      );
      inSwitch.push(`link set v${prefix}${at} master br0 up`);
    }
    await must('ip', ['-batch', '-'], `${lines.join('\n')}\n`);
    await must('ip', ['-n', sw, '-batch', '-'], `${inSwitch.join('\n')}\n`);
    await Promise.all(
      this.hosts.map((host) =>
        must(
          'ip',
          ['-n', host.namespace, '-batch', '-'],
          `link set lo up\naddr add ${host.address}/24 dev eth0\nlink set eth0 up\nroute add default via ${this.outside}\n`,
        ),
      ),
    );
  }

  async #startContainerd(): Promise<void> {
    const config = join(this.dir, 'containerd.toml');
    writeFileSync(
      config,
      [
        'version = 2',
        `root = "${join(this.dir, 'c/root')}"`,
        `state = "${join(this.dir, 'c/state')}"`,
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]',
        '[grpc]',
        `address = "${this.containerdSocket}"`,
        '',
      ].join('\n'),
    );
    this.#start('containerd', ['--config', config], 'containerd.log');
    await appearance(this.containerdSocket, 15_000);
  }

  #start(program: string, args: readonly string[], logName: string): void {
    const log = openSync(join(this.dir, logName), 'a');
    spawn(program, args, { stdio: ['ignore', log, log], detached: true }).unref();
  }

  /** Ends the processes of a namespace and lets containerd forget that they ran, as after a reboot. */
  async loseContainers(namespace: string): Promise<void> {
    const tasks = (await this.#ctr(namespace, 'tasks', 'ls', '-q')).stdout.split('\n').filter(Boolean);
    for (const task of tasks) await this.#ctr(namespace, 'tasks', 'rm', '-f', task);
  }

  #ctr(namespace: string, ...args: string[]): Promise<Result> {
    return execute('ctr', ['--address', this.containerdSocket, '--namespace', namespace, ...args], {
      timeoutMs: 20_000,
    });
  }

  async #removeContainers(namespace: string): Promise<void> {
    const ctr = (...args: string[]) => this.#ctr(namespace, ...args);
    await this.loseContainers(namespace);
    const containers = (await ctr('containers', 'ls', '-q')).stdout.split('\n').filter(Boolean);
    if (containers.length > 0) await ctr('containers', 'rm', ...containers);
  }

  /** Innermost first. */
  async #unmount(): Promise<void> {
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(`${this.dir}/`))
      .reverse();
    for (const path of mounts) await execute('umount', ['-l', path]);
  }
}

/** Kills the processes whose command line (arguments joined by blanks) matches, and waits until they are gone. */
async function killAll(matches: (command: string) => boolean): Promise<void> {
  const commandOf = (pid: string) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    } catch {
      return '';
    }
  };
  const ours = readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && matches(commandOf(pid)),
  );
  for (const pid of ours) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {} // ended meanwhile
  }
  await until('processes gone', 10_000, async () => (ours.some((pid) => matches(commandOf(pid))) ? undefined : true));
}

/** What killed daemons and shims could not remove themselves: secrets in memory, runc's state, empty cgroups. */
async function removeRemains(host: Host): Promise<void> {
  const folder = memoryFolderName(join(host.dir, 'data/worker'));
  for (const parent of ['/run', '/dev/shm']) rmSync(join(parent, folder), { recursive: true, force: true });
  rmSync(`/run/containerd/runc/${host.containerdNamespace}`, { recursive: true, force: true });
  await execute('find', [
    '/sys/fs/cgroup',
    '-depth',
    '-type',
    'd',
    '-path',
    `*/${host.containerdNamespace}*`,
    '-exec',
    'rmdir',
    '{}',
    ';',
  ]);
}

/** Namespaces and link of `prefix`, also those that a killed run left behind. */
async function removeNamespaces(prefix: string): Promise<void> {
  await execute('ip', ['link', 'delete', `${prefix}0`]);
  const names = (await execute('ip', ['netns', 'list'])).stdout.split('\n').map((line) => line.split(' ')[0] ?? '');
  const ours = names.filter((name) => name === `${prefix}sw` || new RegExp(`^${prefix}(\\d+$|-n\\d+-)`).test(name));
  if (ours.length > 0)
    await execute('ip', ['-force', '-batch', '-'], {
      input: `${ours.map((name) => `netns delete ${name}`).join('\n')}\n`,
    });
}
