/**
 * Drives one task's container, one step at a time: look at the state, do one step, say what came of it, look again. A change of
 * what is wanted interrupts the step under way. Stopping the manager leaves the container alone.
 */
import { type Clock, sleep } from '../lib/clock.ts';
import { messageOf, toClusterError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { fraction, type Random } from '../lib/random.ts';
import type { AssignedTask } from '../model/assignment.ts';
import type { ContainerStatus, TaskStatus } from '../model/objects.ts';
import { type DesiredState, isTerminal, TaskState } from '../model/task-state.ts';
import type { Controller } from './executor/port.ts';
import { Gate, type Slots } from './gate.ts';
import { advance, nextStep, outcome, type Step } from './task-step.ts';

export interface TaskManagerOptions {
  readonly task: AssignedTask;
  readonly status: TaskStatus;
  /** The host restarted since the status was observed. */
  readonly lost: boolean;
  readonly controller: Controller;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Places for tasks that prepare at the same time, shared by the node. */
  readonly preparing: Slots;
  /** Resolves when the task's secrets and configs are here, or are known not to come. */
  readonly dependencies: (task: AssignedTask, signal: AbortSignal) => Promise<void>;
  /** Called for every new status. */
  readonly observed: (taskId: string, status: TaskStatus) => void;
  /** Called once, when nothing of an unassigned task is left. */
  readonly removed: (taskId: string) => void;
}

const retryFirstMs = 1_000;
const retryMaxMs = 30_000;
/** Tries of a step before the container runs. */
const attemptsMax = 10;

export class TaskManager {
  readonly #options: TaskManagerOptions;
  readonly #gate = new Gate();
  #status: TaskStatus;
  #desired: DesiredState;
  #lost: boolean;
  #unassigned = false;
  #detached = false;
  #attempts = 0;
  #step: Step = 'idle';
  #interrupt = new AbortController();
  #done: Promise<void> = Promise.resolve();

  constructor(options: TaskManagerOptions) {
    this.#options = options;
    this.#status = options.status;
    this.#desired = wanted(options.task);
    this.#lost = options.lost && options.status.state > TaskState.accepted && !isTerminal(options.status.state);
  }

  get task(): AssignedTask {
    return this.#options.task;
  }

  get status(): TaskStatus {
    return this.#status;
  }

  get lost(): boolean {
    return this.#lost;
  }

  get unassigned(): boolean {
    return this.#unassigned;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** What is wanted only grows. */
  update(task: AssignedTask): void {
    const desired = wanted(task);
    if (desired <= this.#desired) return;
    this.#desired = desired;
    if (desired >= TaskState.shutdown) this.#abort();
    this.#gate.signal();
  }

  /** The task is no longer this node's: stops and removes everything of it. */
  unassign(): void {
    if (this.#unassigned) return;
    this.#unassigned = true;
    this.#abort();
    this.#gate.signal();
  }

  /** Stops managing. A stop or removal under way is not waited for: it is done again by the next agent. */
  async stop(): Promise<void> {
    this.#detached = true;
    this.#interrupt.abort();
    this.#gate.signal();
    if (this.#step !== 'shutdown' && this.#step !== 'remove') await this.#done;
  }

  /** A step that stops or removes is never interrupted by another wish: the next look finds it. */
  #abort(): void {
    if (this.#step !== 'shutdown' && this.#step !== 'remove') this.#interrupt.abort();
  }

  async #run(): Promise<void> {
    while (!this.#detached) {
      this.#step = nextStep({
        state: this.#status.state,
        desired: this.#desired,
        unassigned: this.#unassigned,
        lost: this.#lost,
      });
      this.#interrupt = new AbortController();
      const { signal } = this.#interrupt;
      const step = this.#step;
      try {
        await this.#perform(step, signal);
        if (step === 'remove') return;
        this.#attempts = 0;
      } catch (error) {
        if (!signal.aborted) await this.#failed(step, { error, signal });
      }
    }
  }

  #perform(step: Step, signal: AbortSignal): Promise<void> {
    switch (step) {
      case 'idle':
        return this.#idle(signal);
      case 'accept':
        return this.#accept();
      case 'prepare':
        return this.#prepare(signal);
      case 'start':
        return this.#start(signal);
      case 'wait':
        return this.#wait(signal);
      case 'shutdown':
        return this.#shutdown();
      case 'remove':
        return this.#remove();
    }
  }

  async #idle(signal: AbortSignal): Promise<void> {
    const { state } = this.#status;
    const before = this.#desired;
    await this.#gate.until(
      () => this.#unassigned || this.#detached || (!isTerminal(state) && this.#desired !== before),
      signal,
    );
  }

  async #accept(): Promise<void> {
    this.#observe(TaskState.accepted, 'accepted');
  }

  async #prepare(signal: AbortSignal): Promise<void> {
    const { controller, preparing, dependencies, task } = this.#options;
    await dependencies(task, signal);
    const leave = await preparing.take(signal);
    try {
      if (this.#status.state < TaskState.preparing) this.#observe(TaskState.preparing, 'preparing');
      await controller.prepare(signal);
    } finally {
      leave();
    }
    if (!this.#lost) {
      this.#observe(TaskState.ready, 'prepared');
      return;
    }
    if (this.#status.state === TaskState.running) {
      await controller.start(signal);
      this.#lost = false;
      await this.#observeContainer(TaskState.running, { message: 'started' });
      return;
    }
    this.#lost = false;
    if (this.#status.state < TaskState.ready) this.#observe(TaskState.ready, 'prepared');
  }

  async #start(signal: AbortSignal): Promise<void> {
    if (this.#status.state < TaskState.starting) this.#observe(TaskState.starting, 'starting');
    await this.#options.controller.start(signal);
    await this.#observeContainer(TaskState.running, { message: 'started' });
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const exit = await this.#options.controller.wait(signal);
    const { state, message, err } = outcome(exit);
    await this.#observeContainer(state, { message, err, at: exit.at, exitCode: exit.exitCode });
  }

  async #shutdown(): Promise<void> {
    await this.#options.controller.shutdown();
    await this.#observeContainer(TaskState.shutdown, { message: 'shutdown' });
  }

  async #remove(): Promise<void> {
    const { controller, removed, task } = this.#options;
    if (!isTerminal(this.#status.state)) await controller.shutdown();
    await controller.remove();
    removed(task.id);
  }

  async #failed(
    step: Step,
    { error, signal }: { readonly error: unknown; readonly signal: AbortSignal },
  ): Promise<void> {
    const { retryable, message } = toClusterError(error);
    const stopping = step === 'shutdown' || step === 'remove';
    const last = step !== 'wait' && !stopping && this.#attempts >= attemptsMax - 1;
    if (stopping || (retryable && !last)) {
      this.#explain(stopping ? `stopping container: ${message}` : message);
      await this.#pause(signal);
      return;
    }
    const before = this.#status.state < TaskState.starting;
    // Whatever a step that failed left running must not run beside the replacement.
    if (!before) await this.#stopQuietly();
    const shown = step === 'wait' ? 'started' : before ? 'preparing' : 'starting';
    await this.#observeContainer(before ? TaskState.rejected : TaskState.failed, { message: shown, err: message });
  }

  /** Why it takes so long, in the state that it is in. */
  #explain(err: string): void {
    if (this.#unassigned || isTerminal(this.#status.state) || this.#status.err === err) return;
    this.#report({ ...this.#status, timestamp: this.#options.clock.now(), err });
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    const delayMs = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(this.#attempts, 10));
    this.#attempts += 1;
    await sleep(clock, delayMs * (0.75 + fraction(random) / 4), signal).catch(() => {});
  }

  async #stopQuietly(): Promise<void> {
    const { controller, log, task } = this.#options;
    try {
      await controller.shutdown();
    } catch (error) {
      log.warn('stopping what is left of a task', { task: task.id, reason: messageOf(error) });
    }
  }

  #observe(state: TaskState, message: string): void {
    this.#report({
      ...containerOf(this.#status),
      state: advance(this.#status.state, state),
      timestamp: this.#options.clock.now(),
      message,
      err: '',
    });
  }

  /** With what the executor knows of the container now. */
  async #observeContainer(
    state: TaskState,
    {
      message,
      err = '',
      at,
      exitCode,
    }: { readonly message: string; readonly err?: string; readonly at?: number; readonly exitCode?: number },
  ): Promise<void> {
    const known = (await this.#containerStatus()) ?? this.#status.container;
    const container = known === undefined || exitCode === undefined ? known : { ...known, exitCode };
    const now = this.#options.clock.now();
    const ports = isTerminal(state) ? [] : this.#options.controller.ports();
    this.#report({
      state: advance(this.#status.state, state),
      timestamp: at !== undefined && at > 0 && at < now ? at : now,
      message,
      err,
      ...(container === undefined ? {} : { container }),
      ...(ports.length === 0 ? {} : { ports }),
    });
  }

  async #containerStatus(): Promise<ContainerStatus | undefined> {
    try {
      return await this.#options.controller.status();
    } catch {
      return undefined; // only an embellishment of the status
    }
  }

  #report(status: TaskStatus): void {
    this.#status = status;
    this.#options.observed(this.task.id, status);
  }
}

/** A task that the managers have given up is to be stopped, whatever was wanted of it. */
function wanted(task: AssignedTask): DesiredState {
  return isTerminal(task.status.state) && task.desired < TaskState.shutdown ? TaskState.shutdown : task.desired;
}

function containerOf(status: TaskStatus): Pick<TaskStatus, 'container' | 'ports'> {
  const { container, ports } = status;
  return { ...(container === undefined ? {} : { container }), ...(ports === undefined ? {} : { ports }) };
}
