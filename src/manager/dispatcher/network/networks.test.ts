import { describe, expect, test } from 'vitest';
import type { ManagerMessage } from '../../../model/assignment.ts';
import type { NetworkProblem } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import type { Draft } from '../../store/port.ts';
import { nodeDraft, rawSession, TestCluster, taskDraft } from '../testing/cluster.ts';
import { difference, impliedState } from '../testing/implied.ts';

type RawSession = ReturnType<typeof rawSession>;

const nodeIds = ['n1', 'n2', 'n3'];
const attachments = [{ networkId: 'net', addresses: ['10.0.0.5/24'] }];
const ready = { state: 'ready', message: '', addr: '10.0.0.9', since: 0 } as const;
const place = (number: number) => ({
  gatewaySubnet: `172.28.${number}.0/24`,
  ingressAddress: `10.255.0.${number}`,
});

function running(id: string, nodeId: string, over: Partial<Draft<'task'>> = {}): Draft<'task'> {
  const status = { state: TaskState.running, timestamp: 1, message: 'started', err: '' };
  return taskDraft(id, nodeId, { status, attachments, ...over });
}

/** `web` on n1 and `other` on n2, both on one network; n3 has nothing of it. */
async function twoTasks(web: Partial<Draft<'task'>> = {}) {
  const cluster = new TestCluster();
  await cluster.start();
  await cluster.change((tx) => {
    for (const [at, id] of nodeIds.entries())
      tx.create('node', { ...nodeDraft(id), status: ready, network: place(at + 1) });
    tx.create('network', {
      id: 'net',
      spec: { Name: 'net', Labels: {}, Driver: 'overlay' },
      allocation: { vni: 4097, subnets: [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }] },
    });
    tx.create('task', running('web', 'n1', web));
    tx.create('task', running('other', 'n2', { serviceId: 'other', serviceName: 'other' }));
  });
  return cluster;
}

async function connected(cluster: TestCluster): Promise<readonly [RawSession, RawSession, RawSession]> {
  const [n1, n2, n3] = nodeIds.map((id) => rawSession(cluster, id));
  if (n1 === undefined || n2 === undefined || n3 === undefined) throw new Error('three nodes');
  for (const session of [n1, n2, n3]) {
    await session.hello();
    acknowledge(session);
  }
  await cluster.clock.advance(10);
  return [n1, n2, n3];
}

function acknowledge(session: RawSession, problems: readonly NetworkProblem[] = []): void {
  const version = networkSets(session.received).at(-1)?.resultsIn ?? 0;
  session.left.send({ kind: 'networkAck', version, problems });
}

function networkSets(messages: readonly ManagerMessage[]) {
  return messages.flatMap((message) => (message.kind === 'network' ? [message.set] : []));
}

function stop(cluster: TestCluster, id = 'web', desired: Draft<'task'>['desired'] = TaskState.shutdown) {
  return cluster.change((tx) => {
    const task = tx.get('task', id);
    if (task !== undefined) tx.update('task', { ...task, desired });
  });
}

/** What the node was last told is desired of the task. */
function told(session: RawSession, id = 'web'): number | undefined {
  return session
    .sets()
    .flatMap((set) => set.tasks)
    .findLast((task) => task.id === id)?.desired;
}

describe('a node that registers', () => {
  test('is told of the networks before it is told of its tasks, which bring their addresses', async () => {
    const cluster = await twoTasks();
    const [n1, , n3] = await connected(cluster);
    expect(n1.received.map(({ kind }) => kind).slice(2, 5)).toEqual(['role', 'network', 'assignments']);
    const [set] = networkSets(n1.received);
    expect(set).toMatchObject({
      kind: 'full',
      appliesTo: 0,
      resultsIn: 1,
      self: { nodeId: 'n1', underlay: '10.0.0.9' },
    });
    expect(set?.peers.map((peer) => peer.nodeId)).toEqual(['n2', 'n3']);
    expect(set?.networks.map((network) => network.id)).toEqual(['net']);
    expect(set?.endpoints.map(({ taskId, active }) => [taskId, active])).toEqual([
      ['web', true],
      ['other', true],
    ]);
    expect(n1.sets()[0]?.tasks).toMatchObject([{ id: 'web', attachments }]);
    expect(networkSets(n3.received)).toMatchObject([{ networks: [], endpoints: [], services: [] }]);
  });

  test('is told to all others in one small message each', async () => {
    const cluster = await twoTasks();
    const [n1] = await connected(cluster);
    await cluster.change((tx) => tx.create('node', { ...nodeDraft('n4'), status: ready, network: place(4) }));
    await cluster.clock.runUntilIdle();
    expect(networkSets(n1.received).slice(1)).toEqual([
      {
        kind: 'incremental',
        appliesTo: 1,
        resultsIn: 2,
        peers: [{ nodeId: 'n4', underlay: '10.0.0.9', ...place(4) }],
        removedPeers: [],
        networks: [],
        removedNetworks: [],
        endpoints: [],
        removedEndpoints: [],
        services: [],
        removedServices: [],
      },
    ]);
  });
});

describe('an address on the gateway subnet', () => {
  const reported = (gateway: string) => ({
    state: TaskState.running,
    timestamp: 1,
    message: 'started',
    err: '',
    container: { containerId: 'c', pid: 7, exitCode: 0, gateway },
  });

  test('is told to the others once its node has reported it', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    n1.left.send({ kind: 'status', reports: [{ taskId: 'web', status: reported('172.28.1.9') }] });
    await cluster.clock.advance(10);
    expect(networkSets(n2.received).at(-1)?.endpoints).toMatchObject([{ taskId: 'web', gateway: '172.28.1.9' }]);
  });

  test('is not believed when it is another node’s', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    n1.left.send({ kind: 'status', reports: [{ taskId: 'web', status: reported('172.28.2.9') }] });
    await cluster.clock.advance(10);
    expect(cluster.store.view.get('task', 'web')?.status.container?.gateway).toBe('172.28.2.9');
    expect(networkSets(n2.received)).toHaveLength(1);
  });
});

describe('a task that is to stop', () => {
  test('is told so when every node has it out of its maps, and the drain time has passed', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    for (const session of [n1, n2])
      expect(networkSets(session.received).at(-1)?.endpoints).toMatchObject([{ taskId: 'web', active: false }]);
    acknowledge(n1);
    await cluster.clock.advance(900);
    acknowledge(n2);
    await cluster.clock.advance(990);
    expect(told(n1)).toBe(TaskState.running);
    await cluster.clock.advance(20);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('waits two seconds at most for a node that is silent', async () => {
    const cluster = await twoTasks();
    const [n1] = await connected(cluster);
    await stop(cluster, 'web', TaskState.remove);
    await cluster.clock.runUntilIdle();
    acknowledge(n1);
    await cluster.clock.advance(2_900);
    expect(told(n1)).toBe(TaskState.running);
    await cluster.clock.advance(200);
    expect(told(n1)).toBe(TaskState.remove);
  });

  test('does not wait for a node that is lost meanwhile, nor for one that never had it', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    acknowledge(n1);
    n2.cut();
    await cluster.clock.advance(1_010);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('waits for a node that returns meanwhile until that has the new maps', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    n2.cut();
    const again = rawSession(cluster, 'n2');
    await again.hello();
    acknowledge(n1);
    await cluster.clock.advance(500);
    acknowledge(again);
    await cluster.clock.advance(990);
    expect(told(n1)).toBe(TaskState.running);
    await cluster.clock.advance(20);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('waits for a node that returns during the drain, for the time that is left', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    n2.cut();
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    acknowledge(n1);
    await cluster.clock.advance(500);
    const again = rawSession(cluster, 'n2');
    await again.hello();
    await cluster.clock.advance(600);
    expect(told(n1)).toBe(TaskState.running);
    acknowledge(again);
    await cluster.clock.advance(10);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('whose node is away when the drain time has passed is held until those that return with it have new maps', async () => {
    const cluster = await twoTasks();
    const [n1, n2, n3] = await connected(cluster);
    n2.cut();
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    for (const session of [n1, n3]) acknowledge(session);
    n1.cut();
    await cluster.clock.advance(1_200);
    const [again2, again1] = [rawSession(cluster, 'n2'), rawSession(cluster, 'n1')];
    await again2.hello();
    await again1.hello();
    acknowledge(again1);
    expect(told(again1)).toBe(TaskState.running);
    acknowledge(again2);
    await cluster.clock.advance(1_010);
    expect(told(again1)).toBe(TaskState.shutdown);
  });

  test('does not wait for a node that never came to a new leader and is down', async () => {
    const cluster = await twoTasks();
    await connected(cluster);
    await cluster.elect('m2:2377', { clean: true });
    const sessions = [rawSession(cluster, 'n1'), rawSession(cluster, 'n3')];
    for (const session of sessions) await session.hello();
    for (let second = 0; second < 7; second++) {
      for (const session of sessions) session.left.send({ kind: 'beat' });
      await cluster.clock.advance(1_000);
    }
    expect(cluster.nodeState('n2')).toBe('down');
    const [n1] = sessions;
    if (n1 === undefined) throw new Error('n1');
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    for (const session of sessions) acknowledge(session);
    await cluster.clock.advance(1_010);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('and whose node was down when that was decided waits for those who have not heard of it, either', async () => {
    const cluster = await twoTasks();
    await connected(cluster);
    await cluster.change((tx) => {
      const node = tx.get('node', 'n1');
      if (node !== undefined) tx.update('node', { ...node, status: { ...ready, state: 'down' } });
    });
    await cluster.elect('m2:2377', { clean: true });
    await stop(cluster);
    const [n1, n2, n3] = [rawSession(cluster, 'n1'), rawSession(cluster, 'n2'), rawSession(cluster, 'n3')];
    for (const session of [n2, n3, n1]) await session.hello();
    for (const session of [n1, n3]) acknowledge(session);
    await cluster.clock.advance(1_100);
    expect(told(n1)).toBe(TaskState.running);
    acknowledge(n2);
    await cluster.clock.advance(1_010);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('waits for a node whose acknowledgement of an earlier change is still due', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    await cluster.change((tx) => tx.remove('task', 'other')); // n2 has to forget the network, and web with it
    await cluster.clock.runUntilIdle();
    expect(networkSets(n2.received).at(-1)?.removedEndpoints).toContain('web');
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    acknowledge(n1);
    await cluster.clock.advance(1_500);
    expect(told(n1)).toBe(TaskState.running);
    acknowledge(n2);
    await cluster.clock.advance(1_010);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test.each([
    ['0s', 0],
    ['3s', 3_000],
  ])('has the drain time of its service’s label, %s', async (label, drainMs) => {
    const cluster = await twoTasks({ serviceLabels: { 'tscluster.drain-delay': label } });
    const [n1, n2] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    for (const session of [n1, n2]) acknowledge(session);
    await cluster.clock.advance(Math.max(0, drainMs - 10));
    if (drainMs > 0) expect(told(n1)).toBe(TaskState.running);
    await cluster.clock.advance(20);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test.each<[string, Partial<Draft<'task'>>]>([
    ['was never active', { status: { state: TaskState.starting, timestamp: 1, message: '', err: '' } }],
    ['has neither a network nor a published port', { attachments: [] }],
  ])('is told at once when it %s', async (_, web) => {
    const cluster = await twoTasks(web);
    const [n1] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('and is on no network, but has a port that every node answers, waits for every node', async () => {
    const cluster = await twoTasks({ attachments: [] });
    await cluster.change((tx) =>
      tx.create('service', {
        id: 'web',
        spec: {
          Name: 'web',
          Labels: {},
          TaskTemplate: { ContainerSpec: { Image: 'a' } },
          Mode: { Replicated: { Replicas: 1 } },
        },
        specVersion: 1,
        endpoint: { specVersion: 1, vips: [], ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
      }),
    );
    const [n1, n2, n3] = await connected(cluster);
    expect(networkSets(n3.received)[0]).toMatchObject({ endpoints: [{ taskId: 'web' }], services: [{ id: 'web' }] });
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    expect(networkSets(n3.received).at(-1)?.removedEndpoints).toEqual(['web']);
    for (const session of [n1, n2]) acknowledge(session);
    await cluster.clock.advance(1_500);
    expect(told(n1)).toBe(TaskState.running);
    acknowledge(n3);
    await cluster.clock.advance(1_010);
    expect(told(n1)).toBe(TaskState.shutdown);
  });

  test('and fails meanwhile, is held no longer', async () => {
    const cluster = await twoTasks();
    const [n1] = await connected(cluster);
    await stop(cluster, 'web', TaskState.remove);
    await cluster.clock.runUntilIdle();
    const status = { state: TaskState.failed, timestamp: 2, message: '', err: '' };
    await cluster.change((tx) => {
      const task = tx.get('task', 'web');
      if (task !== undefined) tx.update('task', { ...task, status });
    });
    await cluster.clock.runUntilIdle();
    expect(n1.sets().at(-1)?.removedTasks).toEqual(['web']);
  });

  test('goes on for its node when that opens a new session meanwhile', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    n1.cut();
    const again = rawSession(cluster, 'n1');
    await again.hello();
    expect(told(again)).toBe(TaskState.running);
    for (const session of [again, n2]) acknowledge(session);
    await cluster.clock.advance(1_010);
    expect(told(again)).toBe(TaskState.shutdown);
  });

  test('is held by a new leader once more, until the nodes that come have new maps, and bounded', async () => {
    const cluster = await twoTasks();
    await connected(cluster);
    await stop(cluster);
    await cluster.elect('m2:2377', { clean: true });
    await cluster.clock.advance(3_000); // nobody comes for a while
    const again = rawSession(cluster, 'n1');
    await again.hello();
    acknowledge(again);
    expect(told(again)).toBe(TaskState.running);
    await cluster.clock.advance(1_900); // n2 and n3 never come
    again.left.send({ kind: 'beat' });
    await cluster.clock.advance(1_000);
    expect(told(again)).toBe(TaskState.running);
    await cluster.clock.advance(200);
    expect(told(again)).toBe(TaskState.shutdown);
    again.cut();
    const later = rawSession(cluster, 'n1');
    await later.hello();
    expect(told(later)).toBe(TaskState.shutdown);
  });
});

describe('acknowledgements', () => {
  test('of versions that this session was never told count for nothing', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    acknowledge(n1);
    n2.left.send({ kind: 'networkAck', version: 99, problems: [] });
    await cluster.clock.advance(1_500);
    expect(told(n1)).toBe(TaskState.running);
  });

  test('of a version that still has the task in its maps count for nothing', async () => {
    const cluster = await twoTasks();
    const [n1, n2] = await connected(cluster);
    await stop(cluster);
    await cluster.clock.runUntilIdle();
    acknowledge(n1);
    n2.left.send({ kind: 'networkAck', version: 1, problems: [] });
    await cluster.clock.advance(1_500);
    expect(told(n1)).toBe(TaskState.running);
  });

  test('bring problems, which are stored once, bounded in pace and length, and cleared when they are gone', async () => {
    const cluster = await twoTasks();
    const [n1] = await connected(cluster);
    const problems = () => cluster.store.view.get('node', 'n1')?.networkProblems;
    const commits = cluster.commits;
    const report = async (...messages: string[]) => {
      acknowledge(
        n1,
        messages.map((message) => ({ serviceId: 'web', message })),
      );
      await cluster.clock.advance(10);
    };
    await report('x'.repeat(600));
    expect(problems()).toEqual([{ serviceId: 'web', message: 'x'.repeat(500) }]);
    await report('x'.repeat(600));
    for (let count = 0; count < 20; count++) await report(`port ${count}`);
    expect(cluster.commits).toBe(commits + 1);
    await cluster.clock.advance(1_000);
    expect(problems()).toEqual([{ serviceId: 'web', message: 'port 19' }]);
    n1.left.send({ kind: 'beat' });
    await cluster.clock.advance(1_000);
    await report();
    expect(cluster.store.view.get('node', 'n1')).not.toHaveProperty('networkProblems');
    expect(cluster.commits).toBe(commits + 3);
  });
});

describe('nodes with agents', () => {
  test('have in place what the store implies, attach what they run, and say so', async () => {
    const cluster = await twoTasks();
    const hosts = [];
    for (const id of nodeIds) {
      const host = await cluster.addHost(id, { known: true });
      await host.start();
      hosts.push(host);
    }
    await cluster.change((tx) => {
      for (const id of ['a', 'b'])
        tx.create(
          'task',
          taskDraft(id, 'n3', { attachments: [{ networkId: 'net', addresses: [`10.0.0.${id === 'a' ? 8 : 9}/24`] }] }),
        );
    });
    await cluster.clock.until(() => ['a', 'b'].every((id) => cluster.taskState(id) === TaskState.running));
    await cluster.clock.advance(50);
    const gateways = ['a', 'b'].map((id) => cluster.store.view.get('task', id)?.status.container?.gateway);
    expect(gateways).toEqual(['172.28.3.2', '172.28.3.3']);
    for (const { nodeId, executor } of hosts) {
      const state = executor.networks?.state;
      expect(state && difference(impliedState(cluster.store.view, nodeId), state)).toBeUndefined();
    }
    hosts[1]?.executor.networks?.setProblems([{ message: 'port 80 is taken' }]);
    await cluster.clock.advance(20);
    expect(cluster.store.view.get('node', 'n2')?.networkProblems).toEqual([{ message: 'port 80 is taken' }]);
  });
});
