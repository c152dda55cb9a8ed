import { describe, expect, test } from 'vitest';
import type { ManagerMessage } from '../../model/assignment.ts';
import { TaskState } from '../../model/task-state.ts';
import { FakeExecutor } from '../../worker/executor/fake.ts';
import { nodeDraft, rawSession, TestCluster, taskDraft } from './testing/cluster.ts';

async function clusterWithNode(limits = {}) {
  const cluster = new TestCluster(limits);
  await cluster.start();
  await cluster.change((tx) => tx.create('node', nodeDraft('n1')));
  return cluster;
}

function kinds(messages: readonly ManagerMessage[]): string[] {
  return messages.map((message) => message.kind);
}

const status = (state: TaskState, message = 'm') => ({ state, timestamp: 1, message, err: '' });

describe('dispatcher: registration', () => {
  test('answers hello with welcome, managers, role and the full set, and makes the node ready with its description', async () => {
    const cluster = await clusterWithNode();
    const session = rawSession(cluster, 'n1');
    await session.hello();
    expect(kinds(session.received)).toEqual(['welcome', 'managers', 'role', 'network', 'assignments']);
    expect(session.received[0]).toMatchObject({ heartbeatMs: 1000 });
    await cluster.clock.advance(10);
    const node = cluster.store.view.get('node', 'n1');
    expect(node?.status).toMatchObject({ state: 'ready', addr: '10.0.0.9' });
    expect(node?.description?.hostname).toBe('fake');
  });

  test('D1 D4 D20: a newer session of a node replaces the old one, which counts no more', async () => {
    const cluster = await clusterWithNode();
    await cluster.change((tx) => tx.create('task', taskDraft('t1', 'n1')));
    const first = rawSession(cluster, 'n1');
    await first.hello();
    const second = rawSession(cluster, 'n1');
    second.left.send({ kind: 'hello', description: await new FakeExecutor(cluster).describe(), addr: '' });
    await cluster.clock.advance(1);
    first.left.send({ kind: 'status', reports: [{ taskId: 't1', status: status(TaskState.running) }] });
    await cluster.clock.advance(10);
    expect(cluster.taskState('t1')).toBe(TaskState.assigned);
    const [before, after] = [first, second].map(({ received }) => received.find(({ kind }) => kind === 'welcome'));
    expect(after).not.toEqual(before);
    expect(first.refused()).toMatchObject({ kind: 'cancelled' });
    expect(first.closed).toHaveLength(1);
    expect(second.closed).toHaveLength(0);
    expect(cluster.dispatcher.sessionCount()).toBe(1);
    await cluster.clock.advance(2_900);
    expect(cluster.nodeState('n1')).toBe('ready');
  });

  test('of which many come at once are taken a few in each turn, and what they say meanwhile counts after', async () => {
    const cluster = await clusterWithNode();
    await cluster.change((tx) => tx.create('task', taskDraft('t1', 'n1')));
    const session = rawSession(cluster, 'n1');
    const description = await new FakeExecutor(cluster).describe();
    const turns: (() => void)[] = [];
    const { clock } = cluster;
    const defer = clock.defer.bind(clock);
    clock.defer = (run) => void turns.push(run);
    session.left.send({ kind: 'hello', description, addr: '' });
    session.left.send({ kind: 'status', reports: [{ taskId: 't1', status: status(TaskState.running) }] });
    await clock.advance(1);
    expect(session.received).toEqual([]);
    clock.defer = defer;
    for (const run of turns) run();
    await clock.advance(10);
    expect(session.received[0]?.kind).toBe('welcome');
    expect(cluster.taskState('t1')).toBe(TaskState.running);
  });

  test('D4 C8: unknown nodes are refused, removed ones are told so', async () => {
    const cluster = await clusterWithNode();
    const unknown = rawSession(cluster, 'n9');
    await cluster.clock.runUntilIdle();
    expect(unknown.refused()).toMatchObject({ kind: 'not_found' });
    const session = rawSession(cluster, 'n1');
    await session.hello();
    await cluster.change((tx) => {
      const object = tx.cluster();
      if (object !== undefined) tx.update('cluster', { ...object, removedNodes: { n1: 1 } });
      tx.remove('node', 'n1');
    });
    await cluster.clock.runUntilIdle();
    expect(session.received.at(-1)).toEqual({ kind: 'removed' });
    expect(session.closed).toHaveLength(1);
    const again = rawSession(cluster, 'n1');
    await cluster.clock.runUntilIdle();
    expect(again.received).toEqual([{ kind: 'removed' }]);
    expect(again.closed).toHaveLength(1);
  });

  test('one node can neither hold all places of those that register, nor fill the log with descriptions', async () => {
    const cluster = await clusterWithNode();
    const silent = [1, 2, 3].map(() => rawSession(cluster, 'n1'));
    const fourth = rawSession(cluster, 'n1');
    await cluster.clock.runUntilIdle();
    expect(fourth.refused()).toMatchObject({ kind: 'exhausted', message: 'node n1 opens too many sessions' });
    for (const session of silent) session.left.close();
    await cluster.clock.runUntilIdle();
    const session = rawSession(cluster, 'n1');
    await session.hello();
    const description = await new FakeExecutor(cluster).describe();
    for (let count = 0; count < 20; count++)
      session.left.send({ kind: 'describe', description: { ...description, hostname: `h${count}` } });
    await cluster.clock.runUntilIdle();
    expect(session.refused()).toMatchObject({ kind: 'exhausted' });
  });

  test('D4 D20: anything but hello first, hello twice, and no hello at all end the stream', async () => {
    const cluster = await clusterWithNode();
    const first = rawSession(cluster, 'n1');
    first.left.send({ kind: 'beat' });
    await cluster.clock.runUntilIdle();
    expect(first.refused()).toMatchObject({ kind: 'invalid' });
    const second = rawSession(cluster, 'n1');
    await second.hello();
    await second.hello();
    expect(second.refused()).toMatchObject({ kind: 'invalid' });
    const third = rawSession(cluster, 'n1');
    await cluster.clock.advance(5_000);
    expect(third.refused()).toMatchObject({ kind: 'deadline' });
  });

  test('D2: a node that registers too often is refused until time has passed', async () => {
    const cluster = await clusterWithNode({ registrationBurst: 2, registrationMs: 1_000 });
    for (let count = 0; count < 2; count++) await rawSession(cluster, 'n1').hello();
    const third = rawSession(cluster, 'n1');
    await third.hello();
    expect(third.refused()).toMatchObject({ kind: 'exhausted' });
    await cluster.clock.advance(1_000);
    const fourth = rawSession(cluster, 'n1');
    await fourth.hello();
    expect(fourth.closed).toHaveLength(0);
  });
});

describe('dispatcher: who is up', () => {
  test('D5: a node is down after three periods of silence, and not before', async () => {
    const cluster = await clusterWithNode();
    const session = rawSession(cluster, 'n1');
    await session.hello();
    await cluster.clock.advance(1_000);
    session.left.send({ kind: 'beat' });
    await cluster.clock.advance(2_990);
    expect(cluster.nodeState('n1')).toBe('ready');
    await cluster.clock.advance(20);
    expect(cluster.store.view.get('node', 'n1')?.status).toMatchObject({ state: 'down', message: 'heartbeat failure' });
    expect(session.refused()).toMatchObject({ kind: 'deadline' });
    expect(session.left.send({ kind: 'beat' })).toBe(false);
    await cluster.clock.advance(1_000);
    expect(cluster.nodeState('n1')).toBe('down');
  });

  test('a broken stream alone marks nothing, and coming back in time writes nothing', async () => {
    const cluster = await clusterWithNode();
    const session = rawSession(cluster, 'n1');
    await session.hello();
    await cluster.clock.advance(10);
    const commits = cluster.commits;
    session.cut();
    await cluster.clock.advance(2_000);
    expect(cluster.nodeState('n1')).toBe('ready');
    await rawSession(cluster, 'n1').hello();
    await cluster.clock.advance(2_000);
    expect(cluster.nodeState('n1')).toBe('ready');
    expect(cluster.commits).toBe(commits);
  });

  test('a node that says it stops is disconnected, and down only after the longer grace', async () => {
    const cluster = await clusterWithNode();
    const session = rawSession(cluster, 'n1');
    await session.hello();
    session.left.send({ kind: 'leaving' });
    await cluster.clock.advance(29_000);
    expect(cluster.nodeState('n1')).toBe('disconnected');
    await cluster.clock.advance(1_100);
    expect(cluster.nodeState('n1')).toBe('down');
  });

  test('a new leader gives ready nodes one short window', async () => {
    const cluster = await clusterWithNode();
    await cluster.change((tx) => tx.create('node', nodeDraft('n2')));
    await rawSession(cluster, 'n1').hello();
    await rawSession(cluster, 'n2').hello();
    await cluster.clock.advance(10);
    await cluster.elect('m2:2377', { clean: true });
    const back = rawSession(cluster, 'n2');
    await back.hello();
    for (let second = 0; second < 6; second++) {
      expect(cluster.nodeState('n1')).toBe('ready');
      back.left.send({ kind: 'beat' });
      await cluster.clock.advance(990);
    }
    await cluster.clock.advance(100);
    expect(cluster.nodeState('n1')).toBe('down');
    expect(cluster.nodeState('n2')).toBe('ready');
  });

  test('a leader that stood still blames no node for it', async () => {
    const cluster = await clusterWithNode();
    const session = rawSession(cluster, 'n1');
    await session.hello();
    // The process is stopped for ten seconds: its timers fire late, before the beats that wait in the sockets are read.
    const { clock } = cluster;
    const monotonic = clock.monotonic.bind(clock);
    let lateMs = 0;
    clock.monotonic = () => monotonic() + lateMs;
    clock.timer(2_500, () => {
      lateMs = 10_000;
    });
    await clock.advance(3_010);
    expect(cluster.nodeState('n1')).toBe('ready');
    session.left.send({ kind: 'beat' });
    await clock.advance(2_000);
    expect(cluster.nodeState('n1')).toBe('ready');
    await clock.advance(2_000);
    expect(cluster.nodeState('n1')).toBe('down');
  });

  test('the grace follows the cluster setting, but is never less than two beats', async () => {
    const cluster = await clusterWithNode();
    const set = (grace: string) =>
      cluster.change((tx) => {
        const object = tx.cluster();
        if (object !== undefined)
          tx.update('cluster', { ...object, spec: { ...object.spec, Labels: { 'tscluster.node-grace': grace } } });
      });
    for (const [grace, graceMs] of [
      ['10s', 10_000],
      ['1ms', 2_000],
    ] as const) {
      await set(grace);
      const session = rawSession(cluster, 'n1');
      await session.hello();
      await cluster.clock.advance(graceMs - 10);
      expect(cluster.nodeState('n1')).toBe('ready');
      await cluster.clock.advance(20);
      expect(cluster.nodeState('n1')).toBe('down');
    }
  });

  test('D6: the period follows the cluster setting and stretches with the number of nodes', async () => {
    const cluster = await clusterWithNode({ nodesPerPeriod: 2 });
    const session = rawSession(cluster, 'n1');
    await session.hello();
    expect(session.received[0]).toMatchObject({ heartbeatMs: 1_000 });
    await cluster.change((tx) => {
      for (let count = 2; count <= 6; count++) tx.create('node', nodeDraft(`n${count}`));
      const object = tx.cluster();
      if (object !== undefined)
        tx.update('cluster', { ...object, spec: { ...object.spec, Dispatcher: { HeartbeatPeriod: 2e9 } } });
    });
    session.left.send({ kind: 'beat' });
    await cluster.clock.runUntilIdle();
    expect(session.received.at(-1)).toEqual({ kind: 'beatAck', heartbeatMs: 6_000 });
    await cluster.clock.advance(17_900);
    expect(cluster.nodeState('n1')).toBe('ready');
  });
});

describe('dispatcher: assignments', () => {
  test('D7 D8 D12: the full set has all tasks from assigned on, with only the secrets and configs that live tasks need', async () => {
    const cluster = await clusterWithNode();
    const uses = (secret: string) => ({
      spec: {
        ContainerSpec: {
          Image: 'a',
          Secrets: [{ SecretID: secret, SecretName: secret }],
          Configs: [{ ConfigID: 'c1', ConfigName: 'c1' }],
        },
      },
    });
    await cluster.change((tx) => {
      for (const id of ['s1', 's2', 's3']) tx.create('secret', { id, spec: { Name: id, Labels: {}, Data: 'YQ==' } });
      tx.create('config', { id: 'c1', spec: { Name: 'c1', Labels: {}, Data: 'YQ==' } });
      tx.create('task', taskDraft('live', 'n1', uses('s1')));
      tx.create('task', taskDraft('ended', 'n1', { ...uses('s2'), status: status(TaskState.failed) }));
      tx.create('task', taskDraft('stopping', 'n1', { ...uses('s3'), desired: TaskState.shutdown }));
      tx.create('task', taskDraft('new', 'n1', { status: status(TaskState.new) }));
      tx.create('task', taskDraft('pending', 'n1', { status: status(TaskState.pending) }));
      tx.create('task', taskDraft('elsewhere', 'n2'));
      tx.create('task', taskDraft('done', 'n1', { desired: TaskState.remove, status: status(TaskState.shutdown) }));
      tx.create('task', taskDraft('unmet', 'n1', uses('missing')));
    });
    const session = rawSession(cluster, 'n1');
    await session.hello();
    const [set] = session.sets();
    expect(set).toMatchObject({ kind: 'full', appliesTo: 0, resultsIn: 1 });
    expect(set?.tasks.map((task) => task.id)).toEqual(['live', 'ended', 'stopping', 'unmet']);
    expect(set?.secrets.map((secret) => secret.id)).toEqual(['s1']);
    expect(set?.configs.map((config) => config.id)).toEqual(['c1']);
  });

  test('D9 D10 D13: changes come once per commit, numbered, and only those that the node must know', async () => {
    const cluster = await clusterWithNode();
    const session = rawSession(cluster, 'n1');
    const genericResources = [{ NamedResourceSpec: { Kind: 'gpu', Value: 'a' } }];
    await session.hello();
    await cluster.change((tx) => {
      tx.create('task', taskDraft('t1', 'n1', { genericResources }));
      tx.create('task', taskDraft('t2', 'n1'));
      tx.create('task', taskDraft('t3', 'n2'));
    });
    await cluster.clock.runUntilIdle();
    expect(session.sets()).toHaveLength(2);
    expect(session.sets()[1]).toMatchObject({
      kind: 'incremental',
      appliesTo: 1,
      resultsIn: 2,
      tasks: [{ id: 't1', genericResources }, { id: 't2' }],
    });
    await cluster.change((tx) => tx.update('task', taskDraft('t1', 'n1', { status: status(TaskState.running) })));
    await cluster.clock.runUntilIdle();
    expect(session.sets()).toHaveLength(2);
    await cluster.change((tx) => {
      tx.update('task', taskDraft('t1', 'n1', { status: status(TaskState.running), desired: TaskState.shutdown }));
      tx.remove('task', 't2');
      tx.create('task', taskDraft('t4', 'n1'));
      tx.update('task', taskDraft('t4', 'n1', { desired: TaskState.shutdown }));
      tx.remove('task', 't4');
    });
    await cluster.clock.runUntilIdle();
    expect(session.sets()).toHaveLength(3);
    expect(session.sets()[2]).toMatchObject({
      appliesTo: 2,
      resultsIn: 3,
      tasks: [{ id: 't1', desired: TaskState.shutdown }],
      removedTasks: ['t2'],
    });
  });

  test('D11: a secret that is changed or removed leaves the node only with the last task that needs it', async () => {
    const cluster = await clusterWithNode();
    const spec = { ContainerSpec: { Image: 'a', Secrets: [{ SecretID: 's1', SecretName: 's1' }] } };
    await cluster.change((tx) => {
      tx.create('secret', { id: 's1', spec: { Name: 's1', Labels: {}, Data: 'YQ==' } });
      tx.create('task', taskDraft('t1', 'n1', { spec }));
      tx.create('task', taskDraft('t2', 'n1', { spec }));
    });
    const session = rawSession(cluster, 'n1');
    await session.hello();
    await cluster.change((tx) => {
      tx.update('task', taskDraft('t1', 'n1', { spec, status: status(TaskState.failed) }));
      tx.create('task', taskDraft('t3', 'n1', { spec }));
    });
    await cluster.clock.runUntilIdle();
    expect(session.sets()[1]).toMatchObject({ tasks: [{ id: 't3' }], secrets: [], removedSecrets: [] });
    await cluster.change((tx) =>
      tx.update('secret', { id: 's1', spec: { Name: 's1', Labels: { a: 'b' }, Data: 'YQ==' } }),
    );
    await cluster.change((tx) => tx.remove('secret', 's1'));
    await cluster.clock.runUntilIdle();
    expect(session.sets()).toHaveLength(2);
    await cluster.change((tx) => {
      tx.remove('task', 't2');
      tx.update('task', taskDraft('t3', 'n1', { spec, status: status(TaskState.failed) }));
    });
    await cluster.clock.runUntilIdle();
    expect(session.sets()[2]).toMatchObject({ tasks: [], removedTasks: ['t2'], removedSecrets: ['s1'] });
  });

  test('registry credentials go to the nodes whose tasks need them, beside the task, and leave with it', async () => {
    const cluster = await clusterWithNode();
    const spec = { ContainerSpec: { Image: 'r.example/app:1' } };
    const other = { ContainerSpec: { Image: 'elsewhere.example/app:1' } };
    const service = (registryAuth: string) => ({
      id: 's1',
      specVersion: 1,
      spec: { Name: 'web', Labels: {}, Mode: {}, TaskTemplate: spec },
      registryAuth,
    });
    await cluster.change((tx) => {
      tx.create('service', service('secret-1'));
      tx.create('task', taskDraft('t1', 'n1', { serviceId: 's1', spec }));
      tx.create('task', taskDraft('t2', 'n1', { serviceId: 's1', spec: other }));
      tx.create('task', taskDraft('t3', 'n1', { serviceId: 's2', spec }));
      tx.create('task', taskDraft('t4', 'n1', { serviceId: 's1', spec, status: status(TaskState.failed) }));
    });
    const session = rawSession(cluster, 'n1');
    await session.hello();
    const [full] = session.sets();
    expect(full?.credentials).toEqual([{ taskId: 't1', auth: 'secret-1' }]);
    expect(full?.tasks.map((task) => [task.id, task.hasCredentials])).toEqual([
      ['t1', true],
      ['t2', undefined],
      ['t3', undefined],
      ['t4', undefined],
    ]);
    expect(JSON.stringify(full?.tasks)).not.toContain('secret-1');
    const settled = async (more: object) => {
      await cluster.change((tx) => tx.update('task', taskDraft('t1', 'n1', { serviceId: 's1', spec, ...more })));
      await cluster.clock.runUntilIdle();
    };
    await settled({ status: status(TaskState.preparing) });
    expect(session.sets()).toHaveLength(1);
    // New ones alone are no news; they come with the next change of the task, which a pull that fails is.
    await cluster.change((tx) => tx.update('service', service('secret-2')));
    await cluster.clock.runUntilIdle();
    expect(session.sets()).toHaveLength(1);
    await settled({ status: { ...status(TaskState.preparing), err: 'pull access denied' } });
    expect(session.sets()[1]).toMatchObject({ tasks: [], credentials: [{ taskId: 't1', auth: 'secret-2' }] });
    await settled({ status: status(TaskState.failed) });
    expect(session.sets()[2]).toMatchObject({ tasks: [], credentials: [{ taskId: 't1', auth: '' }] });
  });

  test('a large set comes in parts of which only the last is complete', async () => {
    const cluster = await clusterWithNode();
    await cluster.change((tx) => {
      for (let count = 0; count < 450; count++) tx.create('task', taskDraft(`t${count}`, 'n1', { slot: count }));
    });
    const session = rawSession(cluster, 'n1');
    await session.hello();
    const sets = session.sets();
    expect(sets.map((set) => [set.tasks.length, set.more ?? false])).toEqual([
      [200, true],
      [200, true],
      [50, false],
    ]);
  });

  test('D18: a change of role is pushed to its node, one of the managers to all', async () => {
    const cluster = await clusterWithNode();
    await cluster.change((tx) => tx.create('node', nodeDraft('n2')));
    const session = rawSession(cluster, 'n1');
    const other = rawSession(cluster, 'n2');
    await session.hello();
    await other.hello();
    cluster.managers.push({ nodeId: 'm2', addr: 'm2:2377' });
    await cluster.change((tx) => {
      tx.update('node', { ...nodeDraft('n1'), role: 'manager' });
      tx.create('node', { ...nodeDraft('m2'), manager: { raftId: 2, addr: 'm2:2377' } });
    });
    await cluster.clock.runUntilIdle();
    expect(session.received.filter(({ kind }) => kind === 'managers' || kind === 'role').slice(2)).toEqual([
      { kind: 'managers', peers: cluster.managers },
      { kind: 'role', role: 'manager' },
    ]);
    expect(other.received.filter(({ kind }) => kind === 'managers' || kind === 'role').slice(2)).toEqual([
      { kind: 'managers', peers: cluster.managers },
    ]);
  });
});

describe('dispatcher: status intake', () => {
  async function running() {
    const cluster = await clusterWithNode();
    await cluster.change((tx) => {
      tx.create('task', taskDraft('t1', 'n1'));
      tx.create('task', taskDraft('t2', 'n1'));
      tx.create('task', taskDraft('foreign', 'n2'));
    });
    const session = rawSession(cluster, 'n1');
    await session.hello();
    await cluster.clock.advance(10);
    return { cluster, session };
  }
  const acks = (messages: readonly ManagerMessage[]) =>
    messages.flatMap((message) => (message.kind === 'statusAck' ? message.reports : []));

  test('reports of one turn are one entry, and are acknowledged after it is committed', async () => {
    const { cluster, session } = await running();
    const commits = cluster.commits;
    session.left.send({ kind: 'status', reports: [{ taskId: 't1', status: status(TaskState.running) }] });
    session.left.send({ kind: 'status', reports: [{ taskId: 't2', status: status(TaskState.accepted) }] });
    await cluster.clock.runUntilIdle();
    expect(acks(session.received)).toEqual([]);
    await cluster.clock.advance(10);
    expect(acks(session.received)).toEqual([
      { taskId: 't1', state: TaskState.running },
      { taskId: 't2', state: TaskState.accepted },
    ]);
    expect(cluster.taskState('t1')).toBe(TaskState.running);
    expect(cluster.commits - commits).toBeLessThanOrEqual(2);
  });

  test('D16 D17: states never go back, foreign tasks are left alone, unknown ones are acknowledged', async () => {
    const { cluster, session } = await running();
    const report = (taskId: string, state: TaskState) =>
      session.left.send({ kind: 'status', reports: [{ taskId, status: status(state) }] });
    report('t1', TaskState.running);
    await cluster.clock.advance(10);
    report('t1', TaskState.preparing);
    report('t2', TaskState.orphaned);
    report('foreign', TaskState.failed);
    report('nobody', TaskState.running);
    await cluster.clock.advance(10);
    expect(cluster.taskState('t1')).toBe(TaskState.running);
    expect(cluster.taskState('t2')).toBe(TaskState.assigned);
    expect(cluster.taskState('foreign')).toBe(TaskState.assigned);
    expect(acks(session.received).map((ack) => ack.taskId)).toEqual(['t1', 't1', 't2', 'foreign', 'nobody']);
  });

  test('a node cannot fill the queue with tasks that are not its own', async () => {
    const cluster = await clusterWithNode({ waitingStatusesMax: 2 });
    await cluster.change((tx) => tx.create('task', taskDraft('t1', 'n1')));
    const session = rawSession(cluster, 'n1');
    await session.hello();
    const reports = ['a', 'b', 'c', 't1'].map((taskId) => ({ taskId, status: status(TaskState.running) }));
    session.left.send({ kind: 'status', reports });
    await cluster.clock.advance(10);
    expect(session.closed).toEqual([]);
    expect(cluster.taskState('t1')).toBe(TaskState.running);
  });

  test('in the same state a new explanation is stored, an equal one is not', async () => {
    const { cluster, session } = await running();
    const report = async (err: string) => {
      session.left.send({
        kind: 'status',
        reports: [{ taskId: 't1', status: { ...status(TaskState.preparing), err } }],
      });
      await cluster.clock.advance(10);
    };
    await report('registry away');
    const commits = cluster.commits;
    await report('registry away');
    expect(cluster.commits).toBe(commits);
    await report('still away');
    expect(cluster.store.view.get('task', 't1')?.status.err).toBe('still away');
  });

  test('more reports than fit a message end the session', async () => {
    const { cluster, session } = await running();
    const reports = Array.from({ length: 1_001 }, (_, index) => ({
      taskId: `x${index}`,
      status: status(TaskState.running),
    }));
    session.left.send({ kind: 'status', reports });
    await cluster.clock.runUntilIdle();
    expect(session.refused()).toMatchObject({ kind: 'invalid' });
  });
});

describe('dispatcher: stop', () => {
  test('sends every session elsewhere, stops twice without harm, and takes nobody in afterwards', async () => {
    const cluster = await clusterWithNode();
    const session = rawSession(cluster, 'n1');
    await session.hello();
    await cluster.clock.settle(cluster.dispatcher.stop());
    await cluster.clock.settle(cluster.dispatcher.stop());
    await cluster.clock.runUntilIdle();
    expect(session.received.at(-1)).toEqual({ kind: 'redirect', leader: null });
    expect(session.closed).toHaveLength(1);
    const late = rawSession(cluster, 'n1');
    await cluster.clock.runUntilIdle();
    expect(kinds(late.received)).toEqual(['redirect']);
    await cluster.clock.advance(60_000);
    expect(cluster.nodeState('n1')).not.toBe('down');
  });
});
