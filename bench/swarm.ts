/**
 * The peer: Docker Swarm with three managers on three test hosts, each with its own dockerd and containerd, brought up
 * with the shared bench scripts. Everything lives below one folder, and everything whose command line or root file system
 * lies there is ended by {@link Swarm.down}, also after a run that was killed.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execute, until } from '../test/e2e/hosts.ts';
import { busyboxImage, pushImage } from '../test/fixtures/images.ts';
import { get, type Memory, processes, procFile, residentMb, type Subject } from './subject.ts';

export interface SwarmOptions {
  /** The shared bench folder: hosts.sh, swarm-host.sh, orch-bench.mjs. */
  readonly scripts: string;
  readonly prefix: string;
  readonly count: number;
}

/** The distribution's client fits its engine; another one may stand before it in the path. */
const client = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';
/** What the engines make outside their own folder. Removed again when this run made it. */
const strayPaths = ['/run/docker', '/etc/docker/key.json', '/run/containerd', '/opt/containerd'];

export class Swarm implements Subject {
  image = '';
  readonly sockets: readonly string[];
  name = 'Docker Swarm';
  readonly #options: SwarmOptions;
  readonly #dir = join(tmpdir(), 'tscluster-bench-swarm');
  readonly #strays: readonly string[];

  constructor(options: SwarmOptions) {
    this.#options = options;
    this.sockets = this.#indexes().map((index) => join(this.#dir, `${index}/docker.sock`));
    this.#strays = [...strayPaths, ...cgroups()].filter((path) => !existsSync(path));
  }

  /** Why Docker Swarm cannot be measured on this machine, or undefined when it can. */
  static async obstacle(): Promise<string | undefined> {
    for (const program of ['dockerd', client, 'containerd', 'docker-registry', 'busybox']) {
      const found = await execute('sh', ['-c', 'command -v "$0"', program]);
      if (found.code !== 0) return `${program} is not installed (Debian: docker.io, docker-registry, busybox-static)`;
    }
    return undefined;
  }

  async up(): Promise<void> {
    await this.#refuseForeignHosts();
    await this.down();
    mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
    await this.#script('hosts.sh', 'up', String(this.#options.count));
    await Promise.all(this.#indexes().map((index) => this.#script('swarm-host.sh', 'start', String(index))));
    await this.#provideImage();
    await this.#form();
    const { Version: version } = await get<{ Version: string }>(this.#socket(1), '/version');
    this.name = `Docker Swarm ${version.replace(/\+.*/, '')}`;
  }

  memory(): Memory {
    const pids = this.#indexes().map((index) => ({
      daemon: Number(readFileSync(join(this.#dir, `${index}/dockerd.pid`), 'utf8')),
      containerd: processes((command) => command.startsWith(`containerd --config ${this.#dir}/${index}/`))[0] ?? 0,
    }));
    return {
      daemonMb: Math.max(...pids.map((pid) => residentMb(pid.daemon))),
      containerdMb: Math.max(...pids.map((pid) => residentMb(pid.containerd))),
    };
  }

  /** dockerd first, gently: it stops its containers. What does not end in time is killed. */
  async down(): Promise<void> {
    await end((command) => command.startsWith('dockerd ') && command.includes(`${this.#dir}/`), 'SIGTERM', 15_000);
    await end((command) => command.includes(`${this.#dir}/`), 'SIGTERM', 3_000);
    await end((command) => command.includes(`${this.#dir}/`), 'SIGKILL', 5_000);
    for (const pid of this.#orphans()) kill(pid, 'SIGKILL');
    await until('containers of Docker Swarm gone', 5_000, async () =>
      this.#orphans().length === 0 ? true : undefined,
    );
    for (const path of this.#mounts()) await execute('umount', ['-l', path]);
    if (existsSync(this.#dir)) await this.#script('hosts.sh', 'down');
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5 });
    for (const path of this.#strays) removeStray(path);
  }

  /** Hosts of this prefix that this bench did not make belong to somebody else. */
  async #refuseForeignHosts(): Promise<void> {
    const { prefix } = this.#options;
    if (existsSync(this.#dir)) return;
    const names = (await execute('ip', ['netns', 'list'])).stdout;
    if (new RegExp(`^${prefix}(sw|\\d+)\\b`, 'm').test(names)) {
      throw new Error(
        `test hosts named ${prefix}… exist already: end what uses them, then HOSTS_PREFIX=${prefix} hosts.sh down`,
      );
    }
  }

  /**
   * The image by digest, pulled beforehand, as `docker service create` pins it: an engine asks a registry again for every
   * task whose image is named by tag, which costs it a round trip, or seconds where no registry answers.
   */
  async #provideImage(): Promise<void> {
    const { prefix } = this.#options;
    const here = `${prefix}0`;
    await must('ip', ['link', 'add', here, 'type', 'veth', 'peer', 'name', 'p0', 'netns', `${prefix}sw`]);
    await must('ip', ['-n', `${prefix}sw`, 'link', 'set', 'p0', 'master', 'br0', 'up']);
    await must('ip', ['addr', 'add', `${address(254)}/24`, 'dev', here]);
    await must('ip', ['link', 'set', here, 'up']);
    const registry = `${address(254)}:5000`;
    this.#startRegistry(registry);
    await until('registry', 10_000, async () => ((await fetch(`http://${registry}/v2/`)).ok ? true : undefined));
    const busybox = await busyboxImage();
    await pushImage(`http://${registry}`, 'bb:latest', busybox);
    this.image = `${registry}/bb@${busybox.manifest.digest}`;
    await Promise.all(this.#indexes().map((index) => this.#docker(index, 'pull', '--quiet', this.image)));
  }

  #startRegistry(addr: string): void {
    const config = join(this.#dir, 'registry.yml');
    const storage = `storage: {filesystem: {rootdirectory: ${join(this.#dir, 'registry')}}}`;
    writeFileSync(config, `version: 0.1\nlog: {level: error}\n${storage}\nhttp: {addr: "${addr}"}\n`);
    const log = openSync(join(this.#dir, 'registry.log'), 'a');
    spawn('docker-registry', ['serve', config], { stdio: ['ignore', log, log], detached: true }).unref();
    closeSync(log);
  }

  async #form(): Promise<void> {
    await this.#docker(1, 'swarm', 'init', '--advertise-addr', address(1));
    const token = (await this.#docker(1, 'swarm', 'join-token', '-q', 'manager')).trim();
    for (const index of this.#indexes().slice(1)) {
      await this.#docker(
        index,
        'swarm',
        'join',
        '--token',
        token,
        '--advertise-addr',
        address(index),
        `${address(1)}:2377`,
      );
    }
  }

  #docker(index: number, ...args: readonly string[]): Promise<string> {
    const env = { ...process.env, DOCKER_CONFIG: join(this.#dir, 'client') };
    return must(client, ['--host', `unix://${this.#socket(index)}`, ...args], env);
  }

  #script(name: string, ...args: readonly string[]): Promise<string> {
    const env = { ...process.env, HOSTS_PREFIX: this.#options.prefix, SWARM_BASE: this.#dir };
    return must('bash', [join(this.#options.scripts, name), ...args], env);
  }

  #socket(index: number): string {
    return join(this.#dir, `${index}/docker.sock`);
  }

  #indexes(): readonly number[] {
    return Array.from({ length: this.#options.count }, (_, at) => at + 1);
  }

  /** Processes of containers, whose shim is gone: their root is an overlay made of our folder. */
  #orphans(): readonly number[] {
    const ours = (line: string) => line.split(' ')[4] === '/' && line.includes(`${this.#dir}/`);
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.filter((pid) => procFile(pid, 'mountinfo').split('\n').some(ours)).map(Number);
  }

  /** Innermost first. */
  #mounts(): readonly string[] {
    const paths = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '');
    return paths.filter((path) => path.startsWith(`${this.#dir}/`)).reverse();
  }
}

/** hosts.sh gives host I this address. */
function address(index: number): string {
  return `10.77.0.${index}`;
}

/** The engines' parent groups of cgroup v1 (one per hierarchy) and v2. */
function cgroups(): readonly string[] {
  const root = '/sys/fs/cgroup';
  const hierarchies = existsSync(root)
    ? readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory())
    : [];
  return [join(root, 'docker'), ...hierarchies.map((entry) => join(root, entry.name, 'docker'))];
}

/** A control group goes with rmdir, from the leaves up; any other path as a tree, when no other daemon uses it. */
function removeStray(path: string): void {
  if (!existsSync(path)) return;
  if (!path.startsWith('/sys/fs/cgroup/')) {
    const user = path.includes('/docker') ? /^(\S*\/)?dockerd\b/ : /^(\S*\/)?containerd\b/;
    if (processes((command) => user.test(command)).length === 0) rmSync(path, { recursive: true, force: true });
    return;
  }
  const children = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const child of children) removeStray(join(path, child.name));
  try {
    rmdirSync(path);
  } catch {} // in use by an engine that is not ours
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {} // ended meanwhile
}

/** Signals the matching processes and waits for their end; a time-out is left to the next, harder step. */
async function end(matches: (command: string) => boolean, signal: NodeJS.Signals, limitMs: number): Promise<void> {
  for (const pid of processes(matches)) kill(pid, signal);
  await until('processes gone', limitMs, async () => (processes(matches).length === 0 ? true : undefined)).catch(
    () => {},
  );
}

async function must(program: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const result = await execute(program, args, { env });
  if (result.code !== 0)
    throw new Error(`${program} ${args.join(' ')}: ${result.stderr.trim() || `exit code ${result.code}`}`);
  return result.stdout;
}
