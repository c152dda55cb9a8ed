/** One task's container on containerd: what the Controller port asks, each step safe to repeat at any time. */
import { sleep } from '../../lib/clock.ts';
import { ClusterError, isKind, messageOf } from '../../lib/errors.ts';
import type { AssignedTask } from '../../model/assignment.ts';
import { stopGraceMs } from '../../model/defaults.ts';
import type { ContainerStatus } from '../../model/objects.ts';
import { hostPortsOf } from '../../model/ports.ts';
import { parseRegistryAuth } from '../../model/registry-auth.ts';
import { signalNumber } from '../../model/signal.ts';
import type { PortConfig, TaskSpec } from '../../model/spec.ts';
import type { Controller, Dependencies, Exit } from '../executor/port.ts';
import type { Sandbox, SandboxRequest } from '../network/port.ts';
import { readInRoot, withRootfs } from '../storage/rootfs.ts';
import type { ExecutorContext } from './context.ts';
import { Status } from './gen/containerd/task.ts';
import { type HealthPlan, healthPlan, watchHealth } from './health.ts';
import { hostNetns, initProgram, outOfMemory } from './host.ts';
import type { LocalImage } from './image-store.ts';
import type { TaskLog } from './logs/task-log.ts';
import { taskMounts } from './mounts.ts';
import { execute } from './process.ts';
import { containerSpec, logLimits, type OciMount, validateTask } from './spec.ts';
import type { ContainerRecord, ExitRecord } from './task-state.ts';
import { expandTemplate, type TemplateContext } from './template.ts';
import { type ProcessUser, resolveUser } from './user.ts';

export const taskLabel = 'tscluster.task';
const lostExitCode = 137;
const sigkill = 9;
const retryMinMs = 100;
const retryMaxMs = 5_000;

export class ContainerController implements Controller {
  readonly #context: ExecutorContext;
  readonly #task: AssignedTask;
  readonly #dependencies: Dependencies;
  /** Ends the watching of process and health: at removal, and when the agent stops. */
  readonly #stop = new AbortController();
  #record: ContainerRecord | undefined;
  #pid = 0;
  #exit: ExitRecord | undefined;
  /** Looked for on disk; from then on only this object writes it. */
  #hasLooked = false;
  /** Made by this object and not started yet: nobody has to be asked. */
  #isNew = false;
  #exiting: Promise<Exit> | undefined;
  #healthy: Promise<void> | undefined;
  #unhealthy = false;

  constructor(context: ExecutorContext, task: AssignedTask, dependencies: Dependencies) {
    this.#context = context;
    this.#task = task;
    this.#dependencies = dependencies;
    context.stopped.addEventListener('abort', this.#onAgentStop, { once: true });
  }

  readonly #onAgentStop = (): void => this.#stop.abort(this.#context.stopped.reason);

  async prepare(signal: AbortSignal): Promise<void> {
    if ((await this.#exited()) !== undefined) return;
    const { runtime, states, network } = this.#context;
    const { id } = this.#task;
    const known = await states.container(id);
    const process = known === undefined ? undefined : await runtime.process(id);
    // A try that failed after containerd had made the container has taken its network away: it is made anew.
    const isWhole = process !== undefined && (await network.list()).includes(id);
    if (isWhole && known !== undefined) return this.#adopt(known, process.pid);
    validateTask(this.#task);
    try {
      const { image, sandbox } = await this.#obtain(signal);
      signal.throwIfAborted();
      await this.#log.open();
      const mounts = await this.#mounts(image, sandbox);
      signal.throwIfAborted();
      await this.#create(image, sandbox, mounts);
    } catch (error) {
      await this.#releaseNetwork();
      throw error;
    }
  }

  async start(signal: AbortSignal): Promise<void> {
    const exit = await this.#exited();
    if (exit === undefined) await this.#startProcess();
    const healthy = this.#watchHealth();
    const ended = this.#watchExit();
    if (healthy === undefined) return;
    const early = await abortable(Promise.race([healthy, ended]), signal);
    if (early !== undefined && (early.exitCode !== 0 || early.reason !== undefined)) throw earlyExit(early);
  }

  async wait(signal: AbortSignal): Promise<Exit> {
    const exited = await this.#exited();
    if (exited !== undefined) {
      // An agent killed between writing the exit down and this leaves it to the next one.
      await this.#releaseNetwork();
      return exited;
    }
    await this.#load();
    if (this.#record === undefined) throw new ClusterError('not_found', `no container of task ${this.#task.id}`);
    void this.#watchHealth();
    return abortable(this.#watchExit(), signal);
  }

  async shutdown(): Promise<void> {
    if ((await this.#exited()) !== undefined) return;
    await this.#load();
    const { runtime } = this.#context;
    const { id } = this.#task;
    const process = await runtime.process(id);
    if (process?.status === Status.STOPPED) return;
    if (process === undefined || process.status === Status.CREATED) {
      if (process !== undefined) await runtime.deleteTask(id);
      return this.#releaseNetwork();
    }
    const signal = this.#record?.stopSignal ?? signalNumber(this.#task.spec.ContainerSpec.StopSignal ?? '');
    await runtime.kill(id, signal, false);
    await this.#grace();
    if (this.#exit !== undefined) return;
    await runtime.kill(id, sigkill, true);
    await this.#watchExit();
  }

  async remove(): Promise<void> {
    this.#stop.abort(new ClusterError('cancelled', 'the task was removed'));
    await this.#exiting?.catch(() => {});
    this.#context.stopped.removeEventListener('abort', this.#onAgentStop);
    await this.#context.removeTask(this.#task.id);
    this.#record = undefined;
    this.#exit = undefined;
    this.#hasLooked = false;
    this.#isNew = false;
  }

  async status(): Promise<ContainerStatus | undefined> {
    const { id } = this.#task;
    const exit = await this.#exited();
    if (exit !== undefined) return { containerId: id, pid: exit.pid, exitCode: exit.exitCode };
    await this.#load();
    if (this.#record === undefined) return undefined;
    const { gateway } = this.#record;
    return { containerId: id, pid: this.#pid, exitCode: 0, ...(gateway === undefined ? {} : { gateway }) };
  }

  ports(): readonly PortConfig[] {
    return this.#exit === undefined ? (this.#record?.ports ?? []) : [];
  }

  /** The same object that serves the task's readers; made when first used, so that a bad option is an error of prepare. */
  get #log(): TaskLog {
    return this.#context.logOf(this.#task.id, logLimits(this.#task.spec.LogDriver));
  }

  /** Image and network at the same time; both have come to an end when this throws, so that a removal misses nothing. */
  async #obtain(signal: AbortSignal): Promise<{ image: LocalImage; sandbox: Sandbox }> {
    const { images, network } = this.#context;
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const attached = network.attach(this.#sandboxRequest(), either);
    attached.catch((error: unknown) => failed.abort(error));
    const pulled = this.#pull(images, either);
    await Promise.allSettled([attached, pulled]);
    return { sandbox: await attached, image: await pulled };
  }

  /** Credentials are in memory only: those of a task that is still to be prepared after a restart come with the first session. */
  async #pull(images: ExecutorContext['images'], signal: AbortSignal): Promise<LocalImage> {
    const { id, spec, hasCredentials } = this.#task;
    const auth = this.#dependencies.registryAuth?.(id);
    try {
      return await images.ensure(spec.ContainerSpec.Image, parseRegistryAuth(auth ?? ''), signal);
    } catch (error) {
      if (auth !== undefined || hasCredentials !== true || !isKind(error, 'permission_denied')) throw error;
      throw new ClusterError('unavailable', 'waiting for the credentials of the registry', { cause: error });
    }
  }

  async #create(image: LocalImage, sandbox: Sandbox, mounts: readonly OciMount[]): Promise<void> {
    const { runtime, states, host, cgroupParent } = this.#context;
    const { id, serviceId, serviceName, nodeId, spec } = this.#task;
    const container = spec.ContainerSpec;
    const cgroupsPath = `${cgroupParent}/${id}`;
    const snapshotter = await this.#context.snapshotter();
    const user = await this.#user(image, snapshotter);
    const health = healthPlan(container.Healthcheck, image.config);
    const templates = this.#templates();
    const common = { task: this.#task, image: image.config, user, host, templates, cgroupsPath, mounts };
    const isHostNetwork = sandbox.netnsPath === '';
    const netnsPath = isHostNetwork ? hostNetns() : sandbox.netnsPath;
    const own = { hostname: this.#hostname(), initPath: this.#initPath(), netnsPath, isHostNetwork };
    const ociSpec = containerSpec({ ...common, ...own });
    this.#record = {
      snapshotter,
      cgroupsPath,
      stopSignal: signalNumber(container.StopSignal ?? image.config.stopSignal),
      ports: sandbox.ports,
      ...(sandbox.gateway === undefined ? {} : { gateway: sandbox.gateway }),
      ...(health === undefined ? {} : { health }),
    };
    await states.saveContainer(id, this.#record);
    this.#pid = await runtime.create({
      id,
      labels: {
        [taskLabel]: id,
        'tscluster.service': serviceId,
        'tscluster.service-name': serviceName,
        'tscluster.node': nodeId,
      },
      image: image.name,
      spec: ociSpec,
      snapshotter,
      parent: image.chainId,
      stdout: this.#log.stdoutPath,
      stderr: this.#log.stderrPath,
      terminal: container.TTY ?? false,
    });
    this.#isNew = true;
  }

  async #startProcess(): Promise<void> {
    const { runtime } = this.#context;
    const { id } = this.#task;
    if (this.#isNew) {
      this.#isNew = false;
      await runtime.start(id);
      return;
    }
    await this.#load();
    const process = await runtime.process(id);
    if (process === undefined) throw new ClusterError('failed_precondition', `container ${id} is not there`);
    if (process.status === Status.CREATED) await runtime.start(id);
  }

  #sandboxRequest(): SandboxRequest {
    const { id, spec, endpoint, attachments } = this.#task;
    const { DNSConfig, Hosts } = spec.ContainerSpec;
    return {
      taskId: id,
      hostname: this.#hostname(),
      mode: networkMode(spec),
      attachments: attachments ?? [],
      hostPorts: hostPortsOf(endpoint),
      dns: {
        nameservers: DNSConfig?.Nameservers ?? [],
        search: DNSConfig?.Search ?? [],
        options: DNSConfig?.Options ?? [],
      },
      extraHosts: Hosts ?? [],
    };
  }

  #mounts(image: LocalImage, sandbox: Sandbox): Promise<readonly OciMount[]> {
    const { volumes, taskFiles } = this.#context;
    return taskMounts({
      task: this.#task,
      image: image.config,
      templates: this.#templates(),
      volumes,
      taskFiles,
      dependencies: this.#dependencies,
      sandbox,
      withImage: (work) => this.#withImage(image, work),
    });
  }

  async #withImage<T>(image: LocalImage, work: (root: string) => Promise<T>): Promise<T> {
    const snapshotter = await this.#context.snapshotter();
    return this.#context.images.view(image.chainId, snapshotter, (mounts) =>
      withRootfs(mounts, this.#context.scratchDirectory, work),
    );
  }

  async #user(image: LocalImage, snapshotter: string): Promise<ProcessUser> {
    const container = this.#task.spec.ContainerSpec;
    const spec = container.User === undefined || container.User === '' ? image.config.user : container.User;
    const files = await this.#context.accounts.of(`${snapshotter} ${image.chainId}`, () =>
      this.#withImage(image, async (root) => ({
        passwd: await readInRoot(root, '/etc/passwd'),
        group: await readInRoot(root, '/etc/group'),
      })),
    );
    return resolveUser(spec, files, container.Groups ?? []);
  }

  #initPath(): string | undefined {
    if (this.#task.spec.ContainerSpec.Init !== true) return undefined;
    const path = initProgram();
    if (path !== undefined) return path;
    const text = 'no init program on this node: install one with: apt-get install tini';
    throw new ClusterError('failed_precondition', text);
  }

  #templates(): TemplateContext {
    return templateContext(this.#task, this.#context);
  }

  #hostname(): string {
    const own = this.#task.spec.ContainerSpec.Hostname ?? '';
    if (own !== '') return expandTemplate(own, this.#templates(), 'hostname');
    return networkMode(this.#task.spec) === 'host' ? this.#context.host.hostname : this.#task.id.slice(0, 12);
  }

  async #adopt(record: ContainerRecord, pid: number): Promise<void> {
    this.#record = record;
    this.#pid = pid;
    await this.#log.open();
  }

  /** What an earlier agent left. */
  async #load(): Promise<void> {
    if (this.#record !== undefined) return;
    const record = await this.#context.states.container(this.#task.id);
    if (record === undefined) return;
    const process = await this.#context.runtime.process(this.#task.id);
    await this.#adopt(record, process?.pid ?? 0);
  }

  async #exited(): Promise<ExitRecord | undefined> {
    if (!this.#hasLooked) {
      const exit = await this.#context.states.exit(this.#task.id);
      this.#exit ??= exit;
      this.#hasLooked = true;
    }
    return this.#exit;
  }

  #watchExit(): Promise<Exit> {
    if (this.#exiting === undefined) {
      this.#exiting = this.#untilExit();
      this.#exiting.catch(() => {
        this.#exiting = undefined;
      });
    }
    return this.#exiting;
  }

  /** Waits over restarts of containerd. The end is written down before containerd forgets it. */
  async #untilExit(): Promise<Exit> {
    const ended = await this.#waitProcess();
    const exitCode = ended?.exitStatus ?? lostExitCode;
    const reason = ended === undefined ? 'the container is gone' : this.#reason(exitCode);
    const at = ended?.at ?? this.#context.clock.now();
    const exit = { exitCode, at, pid: this.#pid, ...(reason === undefined ? {} : { reason }) };
    const { states, runtime } = this.#context;
    await states.saveExit(this.#task.id, exit);
    this.#exit = exit;
    // Frees the shim's memory, and returns only when all output is in the files.
    await runtime.deleteTask(this.#task.id).catch((error: unknown) => {
      this.#context.log.warn('freeing an ended container', { task: this.#task.id, error: messageOf(error) });
    });
    await this.#log.finish();
    await this.#releaseNetwork();
    return { exitCode, at, ...(reason === undefined ? {} : { reason }) };
  }

  /** An ended task is kept as history: its address and its ports are not. */
  async #releaseNetwork(): Promise<void> {
    await this.#context.network.detach(this.#task.id).catch((error: unknown) => {
      this.#context.log.warn('freeing the network of an ended container', {
        task: this.#task.id,
        error: messageOf(error),
      });
    });
  }

  async #waitProcess(): Promise<{ exitStatus: number; at: number | undefined } | undefined> {
    const { runtime, clock } = this.#context;
    const { id } = this.#task;
    for (let delayMs = retryMinMs; ; delayMs = Math.min(delayMs * 2, retryMaxMs)) {
      this.#stop.signal.throwIfAborted();
      try {
        return await runtime.wait(id, this.#stop.signal);
      } catch (error) {
        if (isKind(error, 'not_found')) return undefined;
        if (this.#stop.signal.aborted) throw error;
        this.#context.log.debug('waiting for a container', { task: id, error: messageOf(error) });
      }
      await sleep(clock, delayMs, this.#stop.signal);
    }
  }

  #reason(exitCode: number): string | undefined {
    if (this.#unhealthy) return 'unhealthy container';
    if (exitCode !== lostExitCode || this.#record === undefined) return undefined;
    return outOfMemory(this.#record.cgroupsPath) ? 'out of memory' : undefined;
  }

  /** Starts the checks once; resolves when first healthy. Undefined = the container has none. */
  #watchHealth(): Promise<void> | undefined {
    const plan = this.#record?.health;
    if (plan === undefined || this.#exit !== undefined) return undefined;
    this.#healthy ??= this.#health(plan);
    return this.#healthy;
  }

  #health(plan: HealthPlan): Promise<void> {
    const { clock, log } = this.#context;
    const { id } = this.#task;
    const until = new AbortController();
    this.#stop.signal.addEventListener('abort', () => until.abort(), { once: true });
    this.#watchExit().then(
      () => until.abort(),
      () => until.abort(),
    );
    return new Promise((resolve) => {
      const report = (health: string) => {
        log.info('container health', { task: id, health });
        if (health === 'healthy') return resolve();
        this.#unhealthy = true;
        this.shutdown().catch((error: unknown) => {
          log.warn('stopping an unhealthy container', { task: id, error: messageOf(error) });
        });
      };
      const probe = (timeoutMs: number, signal: AbortSignal) =>
        execute(this.#context, id, plan.args, { timeoutMs, signal });
      watchHealth({ clock, plan, probe, report }, until.signal).catch((error: unknown) => {
        if (!until.signal.aborted) log.warn('checking health', { task: id, error: messageOf(error) });
      });
    });
  }

  /** Until the process has ended or its time to stop is over. */
  async #grace(): Promise<void> {
    const over = new AbortController();
    const ended = this.#watchExit().then(() => over.abort());
    const graceMs = stopGraceMs(this.#task.spec);
    const waited = sleep(this.#context.clock, graceMs, over.signal).catch(() => {});
    await Promise.race([ended, waited]);
  }
}

export function templateContext(
  task: AssignedTask,
  context: Pick<ExecutorContext, 'host' | 'platform'>,
): TemplateContext {
  const slot = task.slot === 0 ? task.nodeId : `${task.slot}`;
  return {
    Service: { ID: task.serviceId, Name: task.serviceName, Labels: task.serviceLabels },
    Node: {
      ID: task.nodeId,
      Hostname: context.host.hostname,
      Platform: { Architecture: context.platform.architecture, OS: context.platform.os },
    },
    Task: { ID: task.id, Name: `${task.serviceName}.${slot}.${task.id}`, Slot: slot },
  };
}

/** `host` and `none` stand alone; `bridge` is what every container has anyway. */
function networkMode(spec: TaskSpec): SandboxRequest['mode'] {
  const targets = (spec.Networks ?? []).map(({ Target }) => Target);
  if (targets.includes('host')) return 'host';
  return targets.includes('none') ? 'none' : 'own';
}

function earlyExit(exit: Exit): ClusterError {
  const detail = exit.reason === undefined ? '' : `: ${exit.reason}`;
  return new ClusterError('failed_precondition', `task: non-zero exit (${exit.exitCode})${detail}`);
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      work.catch(() => {}); // nobody waits for it any more, but it must not end the daemon
      return reject(signal.reason);
    }
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
