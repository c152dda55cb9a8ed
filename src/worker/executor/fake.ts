/**
 * Containers in memory: what the simulator and the tests run tasks on. The object is the host's runtime: it outlives agents, and
 * `reboot` is the host's. Same clock and random, same course of events.
 */
import { type Clock, sleep } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import { between, type Random } from '../../lib/random.ts';
import type { AssignedTask, LogLine, LogQuery } from '../../model/assignment.ts';
import type { ContainerStatus, NodeDescription } from '../../model/objects.ts';
import { hostPortsOf } from '../../model/ports.ts';
import type { PortConfig } from '../../model/spec.ts';
import { FakeNetworks } from './fake-networks.ts';
import type { Controller, Dependencies, Executor, Exit } from './port.ts';

export interface FakeExecutorOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly description?: NodeDescription;
  /** Shortest and longest time, ms. */
  readonly prepareMs?: readonly [number, number];
  readonly startMs?: readonly [number, number];
  readonly stopMs?: readonly [number, number];
  /** The host has networks, and a new state of them takes this long. */
  readonly networksMs?: readonly [number, number];
}

interface FakeContainer {
  readonly containerId: string;
  readonly task: AssignedTask;
  /** `lost`: ended with the host, without an exit. */
  state: 'created' | 'running' | 'exited' | 'lost';
  pid: number;
  exit: Exit | undefined;
  readonly lines: LogLine[];
  readonly watchers: Set<() => void>;
}

export const fakeDescription: NodeDescription = {
  hostname: 'fake',
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: { NanoCPUs: 4e9, MemoryBytes: 8 * 1024 ** 3 },
  engine: { version: '0.0.0', labels: {}, plugins: [] },
};

const linesMax = 10_000;

export class FakeExecutor implements Executor {
  readonly networks?: FakeNetworks;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #options: FakeExecutorOptions;
  readonly #containers = new Map<string, FakeContainer>();
  readonly #failures = new Map<string, ClusterError>();
  /** Processes started, by task, over the whole life of the host. */
  readonly #starts = new Map<string, number>();
  #boot = 1;
  #pid = 100;
  #preparing = 0;
  #preparingMost = 0;

  constructor(options: FakeExecutorOptions) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#options = options;
    const { clock, random, networksMs: applyMs } = options;
    if (applyMs !== undefined) this.networks = new FakeNetworks({ clock, random, applyMs });
  }

  async describe(): Promise<NodeDescription> {
    return this.#options.description ?? fakeDescription;
  }

  async bootId(): Promise<string> {
    return `boot-${this.#boot}`;
  }

  controller(task: AssignedTask, dependencies: Dependencies): Controller {
    return {
      prepare: (signal) => this.#prepare(task, dependencies, signal),
      start: (signal) => this.#start(task, signal),
      wait: (signal) => this.#wait(task.id, signal),
      shutdown: () => this.#shutdown(task.id),
      remove: () => this.discard(task.id),
      status: async () => this.#status(task.id),
      ports: () => this.#ports(task),
    };
  }

  async existing(): Promise<readonly string[]> {
    return [...this.#containers.keys()];
  }

  async discard(taskId: string): Promise<void> {
    await this.#shutdown(taskId);
    this.networks?.detach(taskId);
    const container = this.#containers.get(taskId);
    if (container === undefined) return;
    this.#containers.delete(taskId);
    container.state = 'exited';
    this.#changed(container);
  }

  async *logs(taskId: string, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
    const container = this.#containers.get(taskId);
    if (container === undefined) return;
    const wanted = ({ stream, time }: LogLine) => {
      const at = Date.parse(time);
      return query[stream] && at >= query.since && (query.until === 0 || at < query.until);
    };
    const first = container.lines.filter(wanted);
    let at = container.lines.length;
    yield* query.tail >= 0 ? first.slice(first.length - Math.min(query.tail, first.length)) : first;
    while (query.follow && !signal.aborted) {
      const more = container.lines.slice(at);
      at += more.length;
      yield* more.filter(wanted);
      if (more.length > 0) continue;
      if (container.state !== 'running' && container.state !== 'created') return;
      await this.#change(container, signal).catch(() => {});
    }
  }

  // What tests and the simulator do to it.

  /** Ids of tasks whose process runs now. */
  running(): readonly string[] {
    return [...this.#containers].filter(([, container]) => container.state === 'running').map(([taskId]) => taskId);
  }

  isRunning(taskId: string): boolean {
    return this.#containers.get(taskId)?.state === 'running';
  }

  /** How often a process was started for the task. */
  starts(taskId: string): number {
    return this.#starts.get(taskId) ?? 0;
  }

  /** The most tasks that ever prepared at the same time. */
  get preparingMost(): number {
    return this.#preparingMost;
  }

  /** The process ends by itself. False when it does not run. */
  exit(taskId: string, exitCode: number, reason?: string): boolean {
    const container = this.#containers.get(taskId);
    if (container?.state !== 'running') return false;
    this.#end(container, { exitCode, at: this.#clock.now(), ...(reason === undefined ? {} : { reason }) });
    return true;
  }

  /** The process writes a line. */
  write(taskId: string, text: string, stream: LogLine['stream'] = 'stdout'): void {
    const container = this.#containers.get(taskId);
    if (container === undefined || container.lines.length >= linesMax) return;
    const time = new Date(this.#clock.now()).toISOString().replace('Z', '000000Z');
    container.lines.push({ taskId, stream, time, text });
    this.#changed(container);
  }

  /** From now on preparing a task with this image fails; without an error it works again. */
  failImage(image: string, error?: ClusterError): void {
    if (error === undefined) this.#failures.delete(image);
    else this.#failures.set(image, error);
  }

  /** The host restarts: what ran is gone without an exit, what was created has to be prepared again. Stop the agent first. */
  reboot(): void {
    this.#boot += 1;
    for (const container of this.#containers.values()) {
      if (container.state === 'exited') continue;
      container.state = 'lost';
      container.pid = 0;
      this.#changed(container);
    }
  }

  async #prepare(task: AssignedTask, dependencies: Dependencies, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const existing = this.#containers.get(task.id);
    if (existing !== undefined && existing.state !== 'lost') return;
    this.#preparing += 1;
    this.#preparingMost = Math.max(this.#preparingMost, this.#preparing);
    try {
      await this.#take(this.#options.prepareMs, signal);
    } finally {
      this.#preparing -= 1;
    }
    const failure = this.#failures.get(task.spec.ContainerSpec.Image);
    if (failure !== undefined) throw failure;
    requireDependencies(task, dependencies);
    await this.networks?.attach(task, signal);
    if (existing !== undefined && this.#containers.get(task.id) === existing) {
      existing.state = 'created';
    } else if (!this.#containers.has(task.id)) {
      this.#containers.set(task.id, this.#container(task));
    }
  }

  #container(task: AssignedTask): FakeContainer {
    const containerId = Buffer.from(this.#random.bytes(32)).toString('hex');
    return { containerId, task, state: 'created', pid: 0, exit: undefined, lines: [], watchers: new Set() };
  }

  async #start(task: AssignedTask, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const container = this.#containers.get(task.id);
    if (container === undefined || container.state === 'lost')
      throw new ClusterError('failed_precondition', `task ${task.id} is not prepared`);
    if (container.state !== 'created') return;
    await this.#take(this.#options.startMs, signal);
    if (container.state !== 'created' || this.#containers.get(task.id) !== container) return;
    container.state = 'running';
    container.pid = this.#pid++;
    this.#starts.set(task.id, this.starts(task.id) + 1);
    this.#changed(container);
  }

  async #wait(taskId: string, signal: AbortSignal): Promise<Exit> {
    for (;;) {
      signal.throwIfAborted();
      const container = this.#containers.get(taskId);
      if (container === undefined || container.state === 'lost')
        throw new ClusterError('not_found', `no container of task ${taskId}`);
      if (container.exit !== undefined) return container.exit;
      await this.#change(container, signal);
    }
  }

  async #shutdown(taskId: string): Promise<void> {
    const container = this.#containers.get(taskId);
    if (container === undefined) return;
    if (container.state === 'running') await this.#take(this.#options.stopMs, new AbortController().signal);
    if (container.state === 'running') this.#end(container, { exitCode: 143, at: this.#clock.now() });
    else if (container.state === 'created') container.state = 'exited';
  }

  #end(container: FakeContainer, exit: Exit): void {
    container.state = 'exited';
    container.exit = exit;
    container.pid = 0;
    this.#changed(container);
  }

  #status(taskId: string): ContainerStatus | undefined {
    const container = this.#containers.get(taskId);
    if (container === undefined) return undefined;
    const { containerId, pid, exit } = container;
    const gateway = this.networks?.gatewayOf(taskId);
    return { containerId, pid, exitCode: exit?.exitCode ?? 0, ...(gateway === undefined ? {} : { gateway }) };
  }

  #ports(task: AssignedTask): readonly PortConfig[] {
    if (!this.isRunning(task.id)) return [];
    return hostPortsOf(task.endpoint).map(({ port, protocol, target }) => ({
      Protocol: protocol,
      TargetPort: target,
      PublishedPort: port || 32_768,
      PublishMode: 'host',
    }));
  }

  #take(range: readonly [number, number] | undefined, signal: AbortSignal): Promise<void> {
    const [low, high] = range ?? [1, 1];
    return sleep(this.#clock, between(this.#random, low, high), signal);
  }

  #changed(container: FakeContainer): void {
    for (const wake of [...container.watchers]) wake();
  }

  #change(container: FakeContainer, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = () => {
        container.watchers.delete(done);
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = () => {
        container.watchers.delete(done);
        reject(signal.reason);
      };
      container.watchers.add(done);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

function requireDependencies(task: AssignedTask, dependencies: Dependencies): void {
  const { Secrets = [], Configs = [] } = task.spec.ContainerSpec;
  for (const { SecretID, SecretName } of Secrets) {
    if (dependencies.secret(SecretID) === undefined)
      throw new ClusterError('not_found', `secret ${SecretName} not found`);
  }
  for (const { ConfigID, ConfigName } of Configs) {
    if (dependencies.config(ConfigID) === undefined)
      throw new ClusterError('not_found', `config ${ConfigName} not found`);
  }
}
