/** The suite that every Executor passes. The harness says how to make tasks that live long, end, or print on that executor. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AssignedTask, LogLine, LogQuery } from '../../model/assignment.ts';
import { contains, parseBlock } from '../../model/ip.ts';
import { emptyNetworkState, type NetworkState } from '../../model/network.ts';
import type { Controller, Dependencies, Executor } from './port.ts';

export interface ExecutorHarness {
  readonly executor: Executor;
  /** The same host seen by an agent that has just started: nothing of the old object is used any more. */
  restarted(): Promise<Executor>;
  /** A task whose process runs until it is stopped. A fresh id each time. */
  longTask(): AssignedTask;
  /** A task whose process ends by itself, soon after its start (or when `finish` is called), with this code. */
  endingTask(exitCode: number): AssignedTask;
  /** Makes the process of an ending task end, if it does not by itself. */
  finish(taskId: string): void;
  /** A task that writes `line-1` … `line-3` to stdout and then ends (`finish`) with code 0. */
  printingTask(): AssignedTask;
  /** A task whose image cannot be had. */
  badTask(): AssignedTask;
  /** Two tasks on a network, with the state that they need; absent: this executor is tested without networks. */
  attachedTasks?(): { readonly tasks: readonly [AssignedTask, AssignedTask]; readonly state: NetworkState };
  /** Awaits; a harness with a simulated clock drives it meanwhile. */
  settle<T>(work: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const nothing: Dependencies = { secret: () => undefined, config: () => undefined };
const everything: LogQuery = { stdout: true, stderr: true, follow: false, tail: -1, since: 0, until: 0 };

/** What the tests of one group work with; `harness` is a fresh one for each test. */
interface Subject {
  harness: ExecutorHarness;
  run(task: AssignedTask): Promise<Controller>;
}

const never = () => new AbortController().signal;

export function executorContract(name: string, make: () => Promise<ExecutorHarness>): void {
  describe(`executor contract: ${name}`, () => {
    let current: ExecutorHarness | undefined;
    const subject: Subject = {
      get harness() {
        if (current === undefined) throw new Error('no harness outside of a test');
        return current;
      },
      async run(task) {
        const controller = this.harness.executor.controller(task, nothing);
        await this.harness.settle(controller.prepare(never()));
        await this.harness.settle(controller.start(never()));
        return controller;
      },
    };
    beforeEach(async () => {
      current = await make();
    });
    afterEach(() => subject.harness.close());
    stepTests(subject);
    endTests(subject);
    logTests(subject);
    networkTests(subject);
  });
}

function stepTests(subject: Subject): void {
  test('a task is unknown before prepare, runs after start, and its exit code is told', async () => {
    const { harness } = subject;
    const task = harness.endingTask(3);
    const controller = harness.executor.controller(task, nothing);
    expect(await harness.settle(controller.status())).toBeUndefined();
    await harness.settle(controller.prepare(never()));
    expect(await harness.settle(harness.executor.existing())).toContain(task.id);
    await harness.settle(controller.start(never()));
    const exit = controller.wait(never());
    harness.finish(task.id);
    expect(await harness.settle(exit)).toMatchObject({ exitCode: 3 });
    expect(await harness.settle(controller.status())).toMatchObject({ exitCode: 3 });
  });

  test('prepare and start are safe to repeat, and keep the process', async () => {
    const { harness } = subject;
    const task = harness.longTask();
    const controller = await subject.run(task);
    const before = await harness.settle(controller.status());
    expect(before?.pid).toBeGreaterThan(0);
    await harness.settle(controller.prepare(never()));
    await harness.settle(controller.start(never()));
    expect(await harness.settle(controller.status())).toEqual(before);
  });

  test('start does not run a process again that has ended', async () => {
    const { harness } = subject;
    const task = harness.endingTask(4);
    const controller = await subject.run(task);
    harness.finish(task.id);
    await harness.settle(controller.wait(never()));
    await harness.settle(controller.start(never()));
    expect(await harness.settle(controller.wait(never()))).toMatchObject({ exitCode: 4 });
  });

  test('shutdown ends the process and is safe to repeat, also when there is nothing to stop', async () => {
    const { harness } = subject;
    const unknown = harness.executor.controller(harness.longTask(), nothing);
    await harness.settle(unknown.shutdown());
    const controller = await subject.run(harness.longTask());
    const exit = controller.wait(never());
    await harness.settle(controller.shutdown());
    await harness.settle(exit);
    await harness.settle(controller.shutdown());
  });
}

function endTests(subject: Subject): void {
  test('remove leaves nothing, and is safe to repeat', async () => {
    const { harness } = subject;
    const task = harness.longTask();
    const controller = await subject.run(task);
    await harness.settle(controller.shutdown());
    await harness.settle(controller.remove());
    await harness.settle(controller.remove());
    expect(await harness.settle(harness.executor.existing())).not.toContain(task.id);
    expect(await harness.settle(controller.status())).toBeUndefined();
  });

  test('discard removes a task that runs, from its id alone', async () => {
    const { harness } = subject;
    const task = harness.longTask();
    await subject.run(task);
    await harness.settle(harness.executor.discard(task.id));
    expect(await harness.settle(harness.executor.existing())).not.toContain(task.id);
  });

  test('an aborted wait leaves the process alone', async () => {
    const { harness } = subject;
    const controller = await subject.run(harness.longTask());
    const before = await harness.settle(controller.status());
    const stop = new AbortController();
    const waiting = controller.wait(stop.signal);
    stop.abort();
    await expect(harness.settle(waiting)).rejects.toBeDefined();
    expect(await harness.settle(controller.status())).toEqual(before);
  });

  test('a new agent finds the same process, and learns of an exit that happened meanwhile', async () => {
    const { harness } = subject;
    const running = harness.longTask();
    const ending = harness.endingTask(5);
    const before = await harness.settle((await subject.run(running)).status());
    const ended = await subject.run(ending);
    harness.finish(ending.id);
    await harness.settle(ended.wait(never()));
    const executor = await harness.settle(harness.restarted());
    expect(await harness.settle(executor.existing())).toEqual(expect.arrayContaining([running.id, ending.id]));
    expect(await harness.settle(executor.controller(running, nothing).status())).toEqual(before);
    expect(await harness.settle(executor.controller(ending, nothing).wait(never()))).toMatchObject({ exitCode: 5 });
  });

  test('an image that cannot be had refuses prepare with a message', async () => {
    const { harness } = subject;
    const controller = harness.executor.controller(harness.badTask(), nothing);
    await expect(harness.settle(controller.prepare(never()))).rejects.toMatchObject({
      name: 'ClusterError',
      message: expect.stringMatching(/./),
    });
  });
}

function logTests(subject: Subject): void {
  test('logs are told oldest first, and cut by tail', async () => {
    const { harness } = subject;
    const task = harness.printingTask();
    const controller = await subject.run(task);
    harness.finish(task.id);
    await harness.settle(controller.wait(never()));
    const all = await harness.settle(collect(harness.executor.logs(task.id, everything, never())));
    expect(all.map((line) => line.text.trimEnd())).toEqual(['line-1', 'line-2', 'line-3']);
    const tail = await harness.settle(collect(harness.executor.logs(task.id, { ...everything, tail: 1 }, never())));
    expect(tail.map((line) => line.text.trimEnd())).toEqual(['line-3']);
    const none = await harness.settle(
      collect(harness.executor.logs(task.id, { ...everything, stdout: false }, never())),
    );
    expect(none).toEqual([]);
  });

  test('a followed log ends when the process has ended', async () => {
    const { harness } = subject;
    const task = harness.printingTask();
    await subject.run(task);
    const lines = collect(harness.executor.logs(task.id, { ...everything, follow: true }, never()));
    harness.finish(task.id);
    expect((await harness.settle(lines)).map((line) => line.text.trimEnd())).toEqual(['line-1', 'line-2', 'line-3']);
  });

  test('the node is described', async () => {
    const { harness } = subject;
    const { hostname, resources } = await harness.settle(harness.executor.describe());
    expect(hostname).not.toBe('');
    expect(resources.MemoryBytes).toBeGreaterThan(0);
  });
}

function networkTests(subject: Subject): void {
  test('a task waits for its network, and has a gateway address of its own as long as it is there', async () => {
    const { harness } = subject;
    const { executor } = harness;
    const { tasks, state } = harness.attachedTasks?.() ?? { tasks: [], state: emptyNetworkState };
    if (executor.networks === undefined || tasks.length === 0) return; // tested without networks
    let prepared = 0;
    const controllers = tasks.map((task) => executor.controller(task, nothing));
    const preparing = controllers.map((one) => one.prepare(never()).then(() => void (prepared += 1)));
    expect(await harness.settle(executor.networks.apply(emptyNetworkState))).toEqual([]);
    expect(prepared).toBe(0);
    for (let count = 0; count < 2; count++) expect(await harness.settle(executor.networks.apply(state))).toEqual([]);
    await harness.settle(Promise.all(preparing));
    for (const one of controllers) await harness.settle(one.start(never()));
    const gateways = [];
    for (const one of controllers) gateways.push((await harness.settle(one.status()))?.gateway ?? '');
    const subnet = parseBlock(state.self?.gatewaySubnet ?? '');
    expect(gateways.map((gateway) => subnet !== undefined && contains(subnet, gateway))).toEqual([true, true]);
    expect(gateways[0]).not.toBe(gateways[1]);
    for (const one of controllers) {
      await harness.settle(one.shutdown());
      await harness.settle(one.remove());
    }
  });
}

async function collect(lines: AsyncIterable<LogLine>): Promise<LogLine[]> {
  const all: LogLine[] = [];
  for await (const line of lines) all.push(line);
  return all;
}
