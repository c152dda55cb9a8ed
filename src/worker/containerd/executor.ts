/**
 * The Executor port on containerd. Everything it makes carries the task's id, so that whatever an earlier agent left can be
 * found and removed: container and snapshot in containerd, one directory under `stateDir/tasks`, secrets in memory, one
 * network sandbox. Containers and their logs do not need this process to live.
 */
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Random } from '../../lib/random.ts';
import type { AssignedTask, LogLine, LogQuery } from '../../model/assignment.ts';
import type { NodeDescription } from '../../model/objects.ts';
import type { GenericResource, Labels } from '../../model/spec.ts';
import type { Controller, Dependencies, Executor, NodeNetworks } from '../executor/port.ts';
import type { NetworkDriver } from '../network/port.ts';
import { readOrUndefined } from '../storage/files.ts';
import { TaskFiles } from '../storage/task-files.ts';
import { Volumes } from '../storage/volumes.ts';
import { Containerd } from './client.ts';
import type { Accounts, ExecutorContext } from './context.ts';
import { ContainerController, taskLabel } from './controller.ts';
import { describeHost, hostFacts, removeEmptyCgroup } from './host.ts';
import { ImageStore, type ResolvedImage } from './image-store.ts';
import { readLog } from './logs/reader.ts';
import { hasLog, TaskLog } from './logs/task-log.ts';
import type { RegistryAuth } from './registry/auth.ts';
import { hostPlatform } from './registry/manifest.ts';
import { Registry } from './registry/registry.ts';
import { Runtime } from './runtime.ts';
import { type LogLimits, logLimits } from './spec.ts';
import { TaskStates } from './task-state.ts';

export type { ResolvedImage } from './image-store.ts';
export type { RegistryAuth } from './registry/auth.ts';

export interface ContainerdExecutorOptions {
  /** containerd's socket. */
  readonly address: string;
  /** containerd namespace: one per daemon, or daemons would remove each other's containers. */
  readonly namespace: string;
  readonly stateDir: string;
  readonly network: NetworkDriver;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hostname: string;
  /** Base URLs asked before Docker Hub. */
  readonly mirrors: readonly string[];
  /** `host:port` of registries that may use plain HTTP. */
  readonly insecureRegistries: readonly string[];
  /** Default: overlayfs where it works, else native. */
  readonly snapshotter?: string;
  /** Default `/tscluster`. */
  readonly cgroupParent?: string;
  readonly engineLabels: Labels;
  readonly genericResources?: readonly GenericResource[];
  /** Default: the kernel's. */
  readonly bootId?: string;
  readonly version: string;
}

export interface ContainerdExecutor extends Executor {
  readonly networks: NodeNetworks;
  /** containerd's version; an error with advice when none answers. */
  probe(): Promise<string>;
  /** The snapshotter in use. Errors: `failed_precondition` when containerd has none that works here. */
  snapshotter(): Promise<string>;
  /** What a reference points to at its registry. */
  resolveImage(reference: string, auth?: RegistryAuth, signal?: AbortSignal): Promise<ResolvedImage>;
  /** The image unpacked on this node; what `prepare` does first. */
  pullImage(
    reference: string,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly digest: string }>;
  /** Stops watching; containers go on. */
  close(): Promise<void>;
}

const accountsMax = 256;

export function createContainerdExecutor(options: ContainerdExecutorOptions): ContainerdExecutor {
  return new Driver(options);
}

class Driver implements ContainerdExecutor {
  readonly #options: ContainerdExecutorOptions;
  readonly #containerd: Containerd;
  readonly #context: ExecutorContext;
  readonly #logs = new Map<string, TaskLog>();
  readonly #accounts = new Map<string, Accounts>();
  readonly #stopped = new AbortController();
  #snapshotter: Promise<string> | undefined;
  readonly networks: NodeNetworks;

  constructor(options: ContainerdExecutorOptions) {
    this.#options = options;
    const { clock, random, log, stateDir, network } = options;
    this.networks = {
      apply: (state) => network.apply(state),
      inPlace: () => network.inPlace(),
      onProblems: (handle) => network.onProblems(handle),
      forget: () => network.destroy(),
    };
    this.#containerd = new Containerd({ address: options.address, namespace: options.namespace, clock });
    const { mirrors, insecureRegistries } = options;
    const registry = new Registry({ clock, log: log.part('registry'), mirrors, insecureRegistries });
    const host = hostFacts(options.hostname);
    const snapshotter = () => this.#chooseSnapshotter();
    const images = new ImageStore({
      containerd: this.#containerd,
      registry,
      clock,
      random,
      log,
      platform: hostPlatform(host.arch),
      snapshotter,
    });
    this.#context = {
      containerd: this.#containerd,
      clock,
      random,
      log,
      network,
      host,
      images,
      snapshotter,
      runtime: new Runtime(this.#containerd, clock),
      states: new TaskStates(join(stateDir, 'tasks')),
      volumes: new Volumes(join(stateDir, 'volumes')),
      taskFiles: new TaskFiles(stateDir),
      accounts: { of: (key, read) => this.#accountsOf(key, read) },
      platform: describeHost(options.hostname, { version: options.version, labels: {} }).platform,
      cgroupParent: options.cgroupParent ?? '/tscluster',
      scratchDirectory: join(stateDir, 'scratch'),
      stopped: this.#stopped.signal,
      logOf: (taskId, limits) => this.#logOf(taskId, limits),
      removeTask: (taskId) => this.#remove(taskId),
    };
  }

  probe(): Promise<string> {
    return this.#containerd.probe();
  }

  resolveImage(reference: string, auth?: RegistryAuth, signal?: AbortSignal): Promise<ResolvedImage> {
    return this.#context.images.resolve(reference, auth, signal);
  }

  pullImage(
    reference: string,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly digest: string }> {
    return this.#context.images.ensure(reference, auth, signal);
  }

  snapshotter(): Promise<string> {
    return this.#chooseSnapshotter();
  }

  async describe(): Promise<NodeDescription> {
    const { hostname, version, engineLabels, genericResources = [] } = this.#options;
    const description = describeHost(hostname, { version, labels: engineLabels });
    if (genericResources.length === 0) return description;
    return { ...description, resources: { ...description.resources, GenericResources: genericResources } };
  }

  /** The kernel makes a new one at every boot. */
  async bootId(): Promise<string> {
    if (this.#options.bootId !== undefined) return this.#options.bootId;
    return (await readOrUndefined('/proc/sys/kernel/random/boot_id'))?.trim() ?? '';
  }

  controller(task: AssignedTask, dependencies: Dependencies): Controller {
    return new ContainerController(this.#context, task, dependencies);
  }

  async existing(): Promise<readonly string[]> {
    const { runtime, states, taskFiles, network } = this.#context;
    const found = await Promise.all([runtime.list(taskLabel), states.list(), taskFiles.list(), network.list()]);
    return [...new Set(found.flat())].sort();
  }

  discard(taskId: string): Promise<void> {
    return this.#remove(taskId);
  }

  async *logs(taskId: string, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
    const { states } = this.#context;
    if (!this.#logs.has(taskId) && !(await hasLog(states.logDirectory(taskId)))) {
      throw new ClusterError('not_found', `No such task on this node: ${taskId}`);
    }
    const log = this.#logOf(taskId);
    if ((await states.exit(taskId)) === undefined) await log.open();
    else await log.finish();
    yield* readLog(taskId, log, query, signal);
  }

  async close(): Promise<void> {
    this.#stopped.abort(new ClusterError('cancelled', 'the agent stops'));
    await Promise.all([...this.#logs.values()].map((log) => log.close()));
    removeEmptyCgroup(this.#context.cgroupParent);
    this.#containerd.close();
  }

  #logOf(taskId: string, limits: LogLimits = logLimits(undefined)): TaskLog {
    const known = this.#logs.get(taskId);
    if (known !== undefined) return known;
    const { clock, log } = this.#options;
    const directory = this.#context.states.logDirectory(taskId);
    const made = new TaskLog({ directory, clock, log, ...limits });
    this.#logs.set(taskId, made);
    return made;
  }

  async #remove(taskId: string): Promise<void> {
    const { runtime, states, network, taskFiles, volumes } = this.#context;
    const record = await states.container(taskId);
    const snapshotter = record?.snapshotter ?? (await this.#chooseSnapshotter());
    await runtime.removeRecord(taskId, snapshotter);
    await network.detach(taskId);
    await taskFiles.remove(taskId);
    await volumes.removeOf(taskId);
    await this.#logs.get(taskId)?.close();
    this.#logs.delete(taskId);
    await states.remove(taskId);
  }

  #chooseSnapshotter(): Promise<string> {
    const { snapshotter } = this.#options;
    if (snapshotter !== undefined) return Promise.resolve(snapshotter);
    this.#snapshotter ??= this.#containerd.snapshotters().then((names) => {
      const chosen = ['overlayfs', 'native'].find((name) => names.includes(name));
      if (chosen === undefined) throw new ClusterError('failed_precondition', 'containerd has no usable snapshotter');
      return chosen;
    });
    this.#snapshotter.catch(() => {
      this.#snapshotter = undefined;
    });
    return this.#snapshotter;
  }

  async #accountsOf(key: string, read: () => Promise<Accounts>): Promise<Accounts> {
    const known = this.#accounts.get(key);
    if (known !== undefined) return known;
    const accounts = await read();
    this.#accounts.set(key, accounts);
    const oldest = this.#accounts.keys().next().value;
    if (this.#accounts.size > accountsMax && oldest !== undefined) this.#accounts.delete(oldest);
    return accounts;
  }
}
