import { describe, expect, test } from 'vitest';
import { ClusterError } from '../../lib/errors.ts';
import type { LogLine, LogQuery } from '../../model/assignment.ts';
import { TaskState } from '../../model/task-state.ts';
import { TestCluster, type TestHost, taskDraft } from './testing/cluster.ts';

async function clusterWith(...nodeIds: string[]): Promise<{ cluster: TestCluster; hosts: TestHost[] }> {
  const cluster = new TestCluster();
  await cluster.start();
  const hosts: TestHost[] = [];
  for (const nodeId of nodeIds) {
    const host = await cluster.addHost(nodeId);
    await host.start();
    hosts.push(host);
  }
  return { cluster, hosts };
}

async function oneHost(): Promise<{ cluster: TestCluster; host: TestHost }> {
  const { cluster, hosts } = await clusterWith('n1');
  const [host] = hosts;
  if (host === undefined) throw new Error('no host');
  return { cluster, host };
}

async function runTask(cluster: TestCluster, taskId: string, nodeId: string, over = {}): Promise<void> {
  await cluster.change((tx) => tx.create('task', taskDraft(taskId, nodeId, over)));
  await cluster.clock.until(() => cluster.taskState(taskId) === TaskState.running);
}

describe('dispatcher and agent: the life of a task', () => {
  test('an assigned task runs within the time of its steps, and says so with container and ports', async () => {
    const { cluster } = await oneHost();
    const endpoint = { Ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host', Protocol: 'tcp' }] };
    await cluster.change((tx) => tx.create('task', taskDraft('t1', 'n1', { endpoint })));
    const ms = await cluster.clock.until(() => cluster.taskState('t1') === TaskState.running);
    expect(ms).toBeLessThan(60);
    const task = cluster.store.view.get('task', 't1');
    expect(task?.status).toMatchObject({ message: 'started', err: '', container: { pid: 100 } });
    expect(task?.status.ports).toEqual([{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host', Protocol: 'tcp' }]);
  });

  test('an exit becomes complete or failed, with Docker’s words', async () => {
    const { cluster, host } = await oneHost();
    for (const id of ['t0', 't3', 'sick']) await runTask(cluster, id, 'n1');
    host.executor.exit('t0', 0);
    host.executor.exit('t3', 3);
    host.executor.exit('sick', 137, 'unhealthy container');
    await cluster.clock.advance(50);
    const told = (id: string) => cluster.store.view.get('task', id)?.status;
    expect(told('t0')).toMatchObject({ state: TaskState.complete, message: 'finished', err: '' });
    expect(told('t3')).toMatchObject({
      state: TaskState.failed,
      message: 'started',
      err: 'task: non-zero exit (3)',
      container: { exitCode: 3 },
    });
    expect(told('sick')).toMatchObject({ err: 'task: non-zero exit (137): unhealthy container' });
  });

  test('desired ready waits before the start, desired shutdown stops, removal leaves nothing', async () => {
    const { cluster, host } = await oneHost();
    await cluster.change((tx) => tx.create('task', taskDraft('t1', 'n1', { desired: TaskState.ready })));
    await cluster.clock.advance(1_000);
    expect(cluster.taskState('t1')).toBe(TaskState.ready);
    expect(host.executor.isRunning('t1')).toBe(false);
    const wish = (desired: typeof TaskState.running | typeof TaskState.shutdown) =>
      cluster.change((tx) => {
        const task = tx.get('task', 't1');
        if (task !== undefined) tx.update('task', { ...task, desired });
      });
    await wish(TaskState.running);
    await cluster.clock.advance(50);
    expect(cluster.taskState('t1')).toBe(TaskState.running);
    await wish(TaskState.shutdown);
    await cluster.clock.advance(50);
    expect(cluster.store.view.get('task', 't1')?.status).toMatchObject({
      state: TaskState.shutdown,
      message: 'shutdown',
    });
    expect(await host.executor.existing()).toEqual(['t1']);
    await cluster.change((tx) => tx.remove('task', 't1'));
    await cluster.clock.advance(50);
    expect(await host.executor.existing()).toEqual([]);
    expect(host.disk.size).toBe(0);
  });

  test('shutdown interrupts a preparation', async () => {
    const { cluster, host } = await oneHost();
    await cluster.change((tx) => tx.create('task', taskDraft('t1', 'n1')));
    await cluster.clock.advance(15); // of the 20 ms that a preparation takes
    expect(host.disk.size).toBe(1);
    await cluster.change((tx) => {
      const task = tx.get('task', 't1');
      if (task !== undefined) tx.update('task', { ...task, desired: TaskState.shutdown });
    });
    await cluster.clock.until(() => cluster.taskState('t1') === TaskState.shutdown, 30);
    expect(host.executor.starts('t1')).toBe(0);
  });

  test('a refused image rejects the task at once; one that may come is tried ten times and explained meanwhile', async () => {
    const { cluster, host } = await oneHost();
    host.executor.failImage('missing:1', new ClusterError('not_found', 'No such image: missing:1'));
    host.executor.failImage('away:1', new ClusterError('unavailable', 'registry does not answer'));
    await cluster.change((tx) => {
      tx.create('task', taskDraft('missing', 'n1', { spec: { ContainerSpec: { Image: 'missing:1' } } }));
      tx.create('task', taskDraft('away', 'n1', { spec: { ContainerSpec: { Image: 'away:1' } } }));
    });
    await cluster.clock.advance(500);
    expect(cluster.store.view.get('task', 'missing')?.status).toMatchObject({
      state: TaskState.rejected,
      message: 'preparing',
      err: 'No such image: missing:1',
    });
    expect(cluster.store.view.get('task', 'away')?.status).toMatchObject({
      state: TaskState.preparing,
      err: 'registry does not answer',
    });
    await cluster.clock.until(() => cluster.taskState('away') === TaskState.rejected, 300_000);
    expect(cluster.clock.monotonic()).toBeGreaterThan(90_000);
  });

  test('at most eight tasks prepare at a time', async () => {
    const { cluster, host } = await oneHost();
    await cluster.change((tx) => {
      for (let slot = 1; slot <= 30; slot++) tx.create('task', taskDraft(`t${slot}`, 'n1', { slot }));
    });
    await cluster.clock.until(() => host.executor.running().length === 30);
    expect(host.executor.preparingMost).toBe(8);
  });

  test('D12: a secret that comes with the task is there at prepare; a missing one rejects', async () => {
    const { cluster } = await oneHost();
    const spec = (id: string) => ({ ContainerSpec: { Image: 'a', Secrets: [{ SecretID: id, SecretName: id }] } });
    await cluster.change((tx) => {
      tx.create('secret', { id: 's1', spec: { Name: 's1', Labels: {}, Data: 'YQ==' } });
      tx.create('task', taskDraft('good', 'n1', { spec: spec('s1') }));
      tx.create('task', taskDraft('bad', 'n1', { spec: spec('s2') }));
    });
    await cluster.clock.advance(200);
    expect(cluster.taskState('good')).toBe(TaskState.running);
    expect(cluster.store.view.get('task', 'bad')?.status).toMatchObject({
      state: TaskState.rejected,
      err: 'secret s2 not found',
    });
  });
});

async function removeNode(cluster: TestCluster, nodeId: string): Promise<void> {
  await cluster.change((tx) => {
    const object = tx.cluster();
    if (object !== undefined) tx.update('cluster', { ...object, removedNodes: { [nodeId]: 1 } });
    tx.remove('node', nodeId);
  });
}

describe('dispatcher and agent: a removed node', () => {
  test('stops and removes everything, remembers it first, and asks nobody any more', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    host.stall(true);
    await removeNode(cluster, 'n1');
    await cluster.clock.advance(10_000);
    expect(host.executor.isRunning('t1')).toBe(true); // nobody has told it
    host.stall(false);
    await cluster.clock.until(() => host.removed, 10_000);
    await cluster.clock.until(() => host.disk.size === 0, 1_000);
    expect(await host.executor.existing()).toEqual([]);
    const { dials } = host;
    await host.restart();
    await cluster.clock.advance(60_000);
    expect(host.dials).toBe(dials);
  });

  test('goes on after a restart in the middle, and starts nothing on the way', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    await cluster.clock.settle(host.agent.stop());
    host.removed = true;
    host.executor.reboot();
    await host.restart();
    await cluster.clock.until(() => host.disk.size === 0, 1_000);
    expect(host.executor.starts('t1')).toBe(1);
    expect(await host.executor.existing()).toEqual([]);
  });

  test('is not made of refusals, broken streams or unknown nodes', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    await cluster.change((tx) => tx.remove('node', 'n1')); // but nobody said that it was removed for good
    host.reset();
    await cluster.clock.advance(30_000);
    expect(host.removed).toBe(false);
    expect(host.executor.isRunning('t1')).toBe(true);
  });
});

describe('dispatcher and agent: failures', () => {
  test('leaving ends also when the runtime does not answer, and says that something is left', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    host.executor.existing = () => new Promise(() => {});
    const outcome = host.agent.leave().catch((error: unknown) => error);
    await cluster.clock.advance(60_000);
    expect(await outcome).toMatchObject({
      kind: 'deadline',
      message: expect.stringContaining('is containerd running?'),
    });
  });

  test('a pulled cable makes the node down after three seconds; both ends notice; it comes back with its container', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    host.stall(true);
    const ms = await cluster.clock.until(() => cluster.nodeState('n1') === 'down');
    expect(ms).toBeLessThanOrEqual(3_010);
    await cluster.clock.until(() => !host.agent.connected(), 2_000);
    host.stall(false);
    await cluster.clock.until(() => cluster.nodeState('n1') === 'ready', 6_000);
    expect(host.executor.starts('t1')).toBe(1);
    expect(cluster.taskState('t1')).toBe(TaskState.running);
  });

  test('an exit while the connection is broken is reported afterwards', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    host.stall(true);
    await cluster.clock.advance(500);
    host.executor.exit('t1', 9);
    await cluster.clock.advance(500);
    host.stall(false);
    host.reset();
    await cluster.clock.until(() => cluster.taskState('t1') === TaskState.failed, 3_000);
  });

  test('a report that was sent but not acknowledged is sent again', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    host.executor.exit('t1', 1);
    host.reset();
    await cluster.clock.until(() => cluster.taskState('t1') === TaskState.failed, 3_000);
  });

  test('agents follow to a new leader within its window, and no container notices', async () => {
    const { cluster, hosts } = await clusterWith('n1', 'n2', 'n3');
    for (const [index, host] of hosts.entries()) await runTask(cluster, `t${index}`, host.nodeId);
    cluster.managers.push({ nodeId: 'm2', addr: 'm2:2377' });
    await cluster.change((tx) =>
      tx.create('service', {
        id: 'web',
        spec: { Name: 'web', Labels: {}, TaskTemplate: { ContainerSpec: { Image: 'a' } }, Mode: {} },
        specVersion: 1,
      }),
    );
    for (const host of hosts) host.agent.setManagers(cluster.managers);
    await cluster.elect('m2:2377', { clean: false });
    for (const host of hosts) host.reset();
    await cluster.clock.until(() => cluster.dispatcher.sessionCount() === 3, 5_900);
    await cluster.clock.advance(10_000);
    for (const [index, host] of hosts.entries()) {
      expect(cluster.nodeState(host.nodeId)).toBe('ready');
      expect(host.executor.starts(`t${index}`)).toBe(1);
    }
  });

  test('a redirect is followed without a pause', async () => {
    const cluster = new TestCluster();
    await cluster.start();
    cluster.leader = 'm2:2377';
    const host = await cluster.addHost('n1');
    await host.start();
    const ms = await cluster.clock.until(() => host.agent.connected());
    expect(ms).toBeLessThan(20);
    expect(host.dials).toBe(2);
  });

  test('without a manager the agent tries again at most every two seconds', async () => {
    const cluster = new TestCluster();
    await cluster.start();
    const host = await cluster.addHost('n1');
    await cluster.clock.settle(cluster.dispatcher.stop());
    await host.start();
    await cluster.clock.advance(60_000);
    expect(host.dials).toBeGreaterThan(30);
    expect(host.dials).toBeLessThan(70);
  });

  test('a node that is removed does not run on in a session', async () => {
    const { cluster, host } = await oneHost();
    await cluster.change((tx) => tx.remove('node', 'n1'));
    await cluster.clock.advance(5_000);
    expect(host.agent.connected()).toBe(false);
    expect(cluster.dispatcher.sessionCount()).toBe(0);
  });
});

describe('dispatcher and agent: restarts', () => {
  test('stop leaves containers running and says so; the next run keeps them and reports nothing new', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    await cluster.clock.settle(host.agent.stop());
    await cluster.clock.settle(host.agent.stop());
    await cluster.clock.advance(5_000);
    expect(cluster.nodeState('n1')).toBe('disconnected');
    expect(host.executor.isRunning('t1')).toBe(true);
    await host.restart();
    await cluster.clock.advance(1_000);
    expect(cluster.nodeState('n1')).toBe('ready');
    expect(cluster.taskState('t1')).toBe(TaskState.running);
    expect(host.executor.starts('t1')).toBe(1);
  });

  test('an exit while the daemon was away is learned of', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    await cluster.clock.settle(host.agent.stop());
    host.executor.exit('t1', 7);
    await host.restart();
    await cluster.clock.until(() => cluster.taskState('t1') === TaskState.failed, 1_000);
    expect(cluster.store.view.get('task', 't1')?.status.err).toBe('task: non-zero exit (7)');
  });

  test('after a reboot the same tasks run again, without any manager', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    await runTask(cluster, 'ended', 'n1');
    host.executor.exit('ended', 0);
    await cluster.clock.advance(100);
    await cluster.clock.settle(host.agent.stop());
    host.stall(true);
    host.executor.reboot();
    expect(host.executor.running()).toEqual([]);
    await host.restart();
    await cluster.clock.advance(1_000);
    expect(host.executor.running()).toEqual(['t1']);
    expect(host.executor.starts('ended')).toBe(1);
    host.stall(false);
    await cluster.clock.until(() => cluster.nodeState('n1') === 'ready', 10_000);
    expect(cluster.taskState('t1')).toBe(TaskState.running);
  });

  test('registry credentials are there at prepare and never on the disk; after a restart they come again', async () => {
    const { cluster, host } = await oneHost();
    const seen: (string | undefined)[] = [];
    const make = host.executor.controller.bind(host.executor);
    host.executor.controller = (task, dependencies) => {
      const controller = make(task, dependencies);
      const prepare = controller.prepare.bind(controller);
      controller.prepare = (signal) => {
        const auth = dependencies.registryAuth?.(task.id);
        seen.push(auth);
        // As the driver does for a task that is to have some.
        return auth === undefined ? Promise.reject(new ClusterError('unavailable', 'waiting')) : prepare(signal);
      };
      return controller;
    };
    const spec = { ContainerSpec: { Image: 'r.example/app:1' } };
    const service = { Name: 'web', Labels: {}, Mode: {}, TaskTemplate: spec };
    await cluster.change((tx) =>
      tx.create('service', { id: 's1', specVersion: 1, spec: service, registryAuth: 'hunter2' }),
    );
    await runTask(cluster, 't1', 'n1', { serviceId: 's1', spec });
    expect(seen).toEqual(['hunter2']);
    expect(JSON.stringify(await host.disk.open().load())).not.toContain('hunter2');
    await cluster.clock.settle(host.agent.stop());
    host.executor.reboot();
    await host.restart();
    await cluster.clock.until(() => host.executor.isRunning('t1'), 10_000);
    expect(seen.at(-1)).toBe('hunter2');
  });

  test('after a reboot a task with a secret waits for a manager to bring it', async () => {
    const { cluster, host } = await oneHost();
    await cluster.change((tx) => tx.create('secret', { id: 's1', spec: { Name: 's1', Labels: {}, Data: 'YQ==' } }));
    await runTask(cluster, 't1', 'n1', {
      spec: { ContainerSpec: { Image: 'a', Secrets: [{ SecretID: 's1', SecretName: 's1' }] } },
    });
    await cluster.clock.settle(host.agent.stop());
    host.stall(true);
    host.executor.reboot();
    await host.restart();
    await cluster.clock.advance(5_000);
    expect(host.executor.running()).toEqual([]);
    host.stall(false);
    await cluster.clock.until(() => host.executor.isRunning('t1'), 10_000);
  });

  test('what nobody knows is discarded, but only once a manager has spoken', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    await runTask(cluster, 't2', 'n1');
    await cluster.clock.settle(host.agent.stop());
    await cluster.clock.settle(host.disk.open().write([{ kind: 'remove', taskId: 't1' }]));
    await cluster.change((tx) => {
      tx.remove('task', 't1');
      tx.remove('task', 't2');
    });
    host.stall(true);
    await host.restart();
    await cluster.clock.advance(5_000);
    expect(host.executor.running()).toEqual(['t1', 't2']);
    host.stall(false);
    await cluster.clock.until(() => host.executor.running().length === 0, 10_000);
    expect(await host.executor.existing()).toEqual([]);
  });

  test('leave stops and removes every container', async () => {
    const { cluster, host } = await oneHost();
    await runTask(cluster, 't1', 'n1');
    await runTask(cluster, 't2', 'n1');
    await cluster.clock.settle(host.agent.leave());
    expect(await host.executor.existing()).toEqual([]);
    expect(host.disk.size).toBe(0);
  });

  test('role and managers reach the daemon', async () => {
    const { cluster, host } = await oneHost();
    await cluster.clock.advance(100);
    expect(host.roles).toEqual(['worker']);
    expect(host.seenManagers.at(-1)).toEqual(cluster.managers);
  });
});

describe('log broker', () => {
  const query: LogQuery = { stdout: true, stderr: true, follow: false, tail: -1, since: 0, until: 0 };

  async function withService(...nodeIds: string[]) {
    const { cluster, hosts } = await clusterWith(...nodeIds);
    await cluster.change((tx) =>
      tx.create('service', {
        id: 'web',
        spec: { Name: 'web', Labels: {}, TaskTemplate: { ContainerSpec: { Image: 'a' } }, Mode: {} },
        specVersion: 1,
      }),
    );
    for (const [index, host] of hosts.entries()) await runTask(cluster, `t${index}`, host.nodeId, { slot: index + 1 });
    return { cluster, hosts };
  }

  function reader(
    cluster: TestCluster,
    asked: LogQuery,
    selector: { serviceId: string } | { taskId: string } = { serviceId: 'web' },
  ) {
    const stop = new AbortController();
    const lines: LogLine[] = [];
    const done = (async () => {
      for await (const line of cluster.broker.logs(selector, asked, stop.signal)) lines.push(line);
    })();
    done.catch(() => {});
    return { lines, done, stop, texts: () => lines.map((line) => line.text) };
  }

  test('gathers the lines of all tasks from their nodes, then ends', async () => {
    const { cluster, hosts } = await withService('n1', 'n2');
    for (const [index, host] of hosts.entries()) host.executor.write(`t${index}`, `from t${index}\n`);
    const { lines, done } = reader(cluster, query);
    await cluster.clock.settle(done);
    expect(lines.map((line) => line.text).sort()).toEqual(['from t0\n', 'from t1\n']);
  });

  test('follows new lines and new tasks until it is told to stop', async () => {
    const { cluster, hosts } = await withService('n1');
    const [host] = hosts;
    const following = reader(cluster, { ...query, follow: true });
    await cluster.clock.advance(100);
    host?.executor.write('t0', 'one\n');
    await runTask(cluster, 'later', 'n1', { slot: 1 });
    host?.executor.write('later', 'two\n');
    await cluster.clock.advance(100);
    expect(following.texts()).toEqual(['one\n', 'two\n']);
    following.stop.abort();
    await cluster.clock.settle(following.done);
  });

  test('a node that cannot be asked is named at the end, after what the others had', async () => {
    const { cluster, hosts } = await withService('n1', 'n2');
    hosts[0]?.executor.write('t0', 'here\n');
    hosts[1]?.stall(true);
    await cluster.clock.until(() => cluster.nodeState('n2') === 'down');
    const { texts, done } = reader(cluster, query);
    await expect(cluster.clock.settle(done)).rejects.toThrow(
      'warning: incomplete log stream. some logs could not be retrieved for the following reasons: node n2 is not available',
    );
    expect(texts()).toEqual(['here\n']);
  });

  test('after an interruption a followed log goes on where it was, without repeating a line', async () => {
    const { cluster, hosts } = await withService('n1');
    const [host] = hosts;
    const following = reader(cluster, { ...query, follow: true });
    host?.executor.write('t0', 'one\n');
    await cluster.clock.advance(100);
    host?.reset();
    host?.executor.write('t0', 'two\n');
    await cluster.clock.advance(3_000);
    expect(following.texts()).toEqual(['one\n', 'two\n']);
    following.stop.abort();
  });

  test('a reader that does not read holds the agent back, and loses nothing', async () => {
    const { cluster, hosts } = await withService('n1');
    const [host] = hosts;
    const text = `${'x'.repeat(9_999)}\n`;
    for (let line = 0; line < 500; line++) host?.executor.write('t0', text);
    const iterator = cluster.broker
      .logs({ serviceId: 'web' }, query, new AbortController().signal)
      [Symbol.asyncIterator]();
    const first = await cluster.clock.settle(iterator.next());
    expect(first.done).toBe(false);
    await cluster.clock.advance(10_000);
    let count = 1;
    for (;;) {
      const next = await cluster.clock.settle(iterator.next());
      if (next.done === true) break;
      count += 1;
    }
    expect(count).toBe(500);
  });

  test('unknown tasks and services are refused; losing leadership ends the stream with an error', async () => {
    const { cluster } = await withService('n1');
    await expect(cluster.clock.settle(reader(cluster, query, { taskId: 'nobody' }).done)).rejects.toMatchObject({
      kind: 'not_found',
    });
    await expect(cluster.clock.settle(reader(cluster, query, { serviceId: 'nothing' }).done)).rejects.toMatchObject({
      kind: 'not_found',
    });
    const following = reader(cluster, { ...query, follow: true });
    await cluster.clock.advance(100);
    await cluster.clock.settle(cluster.dispatcher.stop());
    await expect(cluster.clock.settle(following.done)).rejects.toMatchObject({ kind: 'unavailable' });
  });
});
