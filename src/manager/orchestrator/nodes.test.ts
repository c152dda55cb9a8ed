import { describe, expect, test } from 'vitest';
import type { Task } from '../../model/objects.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import { retryMs } from './port.ts';
import { nginx, obedient, stays, World, worldOf } from './testing/world.ts';

type TaskStateOf = Task['status']['state'];

const reserving = (MemoryBytes: number) => nginx({ Resources: { Reservations: { MemoryBytes } } });
const rejected = (world: World) => world.tasks().filter((task) => task.status.state === TaskState.rejected);
const ids = (tasks: readonly Task[]) => tasks.map((task) => task.id).sort();

describe('constraint enforcement', () => {
  test('E1: a label goes: tasks that need it are rejected and move at once, uncounted; the others stay', async () => {
    const world = await worldOf(2);
    for (const id of ['n1', 'n2']) await world.node(id, { Labels: { disk: 'ssd' } });
    const restart = { RestartPolicy: { Delay: 60e9, MaxAttempts: 1 } };
    await world.service('db', 2, nginx({ ...restart, Placement: { Constraints: ['node.labels.disk==ssd'] } }));
    await world.service('web', 2);
    const web = ids(world.running('web'));
    await world.node('n1', { Labels: {} });
    expect(rejected(world).map((task) => [task.serviceId, task.nodeId, task.status.err])).toEqual([
      ['db', 'n1', 'assigned node no longer meets constraints'],
    ]);
    expect(ids(world.running('web'))).toEqual(web);
    expect(world.running('db').map((task) => task.nodeId)).toEqual(['n2', 'n2']);
    expect(world.running('db').flatMap((task) => task.restarts)).toEqual([]);
    await stays(world);
  });

  test('a role counts like a label', async () => {
    const world = await worldOf(2);
    await world.service('web', 2, nginx({ Placement: { Constraints: ['node.role==worker'] } }));
    await world.store.transact((tx) => {
      const { meta: _, ...draft } = tx.get('node', 'n1') ?? ({} as never);
      tx.update('node', { ...draft, role: 'manager' });
    });
    await world.settle();
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n2', 'n2']);
  });

  test('E2: a node gets smaller: the newest tasks go until the rest fits', async () => {
    const world = await worldOf(1);
    await world.service('a', 1, reserving(3e9));
    await world.service('b', 1, reserving(3e9));
    await world.service('c', 1, reserving(2e9));
    await world.service('free', 1);
    await world.node('n1', { resources: { NanoCPUs: 4e9, MemoryBytes: 5e9 } });
    expect(rejected(world).map((task) => task.serviceId)).toEqual(['b']);
    expect(world.tasks('b').at(-1)?.status.err).toBe('no suitable node (insufficient resources on 1 node)');
    expect([...world.running('a'), ...world.running('c'), ...world.running('free')]).toHaveLength(3);
    await stays(world);
    await world.node('n1', { resources: { NanoCPUs: 4e9, MemoryBytes: 8e9 } });
    expect(world.running('b')).toHaveLength(1);
  });

  test('E3: the constraints of the service count, not those that the task was made with', async () => {
    const world = await worldOf(1);
    await world.node('n1', { Labels: { disk: 'ssd' } });
    await world.service('web', 1, nginx({ Placement: { Constraints: ['node.labels.disk==ssd'] } }));
    const before = ids(world.running('web'));
    await world.service('web', 1, nginx({ Placement: { Constraints: [] } }));
    await world.advance(60_000);
    await world.node('n1', { Labels: {} });
    expect(ids(world.running('web'))).toEqual(before);
    await stays(world);
  });

  test('E4: tasks of a job that are done hold nothing', async () => {
    const world = await worldOf(1);
    await world.node('n1', { resources: { NanoCPUs: 4e9, MemoryBytes: 1024 * 2 ** 20 } });
    const job: Partial<ServiceSpec> = { Mode: { ReplicatedJob: {} }, TaskTemplate: reserving(700 * 2 ** 20) };
    await world.spec('job', job);
    await world.report(world.tasks('job')[0]?.id ?? '', TaskState.complete);
    await world.service('web', 1, reserving(700 * 2 ** 20));
    await world.node('n1', { Labels: { touched: '1' } });
    expect(rejected(world)).toEqual([]);
    expect(world.running('web')).toHaveLength(1);
    expect(world.tasks('job')[0]?.status.state).toBe(TaskState.complete);
  });

  test('a drained or paused node is left alone', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, reserving(6e9));
    await world.node('n1', { Availability: 'pause', resources: { NanoCPUs: 4e9, MemoryBytes: 1e9 } });
    expect(world.running('web')).toHaveLength(1);
    await world.node('n1', { Availability: 'active' });
    expect(world.running('web')).toHaveLength(0);
  });

  test('a task that is about to take over on the same node does not count beside the old one', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, reserving(6e9));
    const before = world.running('web')[0]?.id;
    world.agent = () => undefined;
    await world.service('web', 1, nginx({ Resources: { Reservations: { MemoryBytes: 6e9 } } }, 'nginx:2'));
    await world.node('n1', { Labels: { touched: '1' } });
    expect(rejected(world)).toEqual([]);
    expect(world.tasks('web').map((task) => [task.nodeId, task.handover])).toEqual([
      ['n1', undefined],
      ['n1', 'stop-first'],
    ]);
    expect(world.running('web').map((task) => task.id)).toEqual([before]);
  });
});

describe('constraints of a service whose tasks are of older versions, because those were right', () => {
  const UpdateConfig = { Parallelism: 1, Delay: 0, Monitor: 100_000_000 };
  const onSsd = { TaskTemplate: nginx({ Placement: { Constraints: ['node.labels.disk==ssd'] } }) };
  const nodesOf = (world: World) => world.running('web').map((task) => task.nodeId);

  async function labelled(labelledNodes: readonly string[], spec: Partial<ServiceSpec>): Promise<World> {
    const world = await worldOf(3);
    for (const id of labelledNodes) await world.node(id, { Labels: { disk: 'ssd' } });
    await world.spec('web', { UpdateConfig, Mode: { Replicated: { Replicas: 3 } }, ...spec });
    return world;
  }

  /** The node that only older tasks run on. */
  async function oldNode(world: World): Promise<string> {
    const old = world.running('web').filter((task) => task.specVersion !== world.get('web')?.specVersion);
    return old[0]?.nodeId ?? expect.fail();
  }

  test.each<[string, readonly string[], readonly (string | undefined)[]]>([
    ['moved none', ['n1', 'n2', 'n3'], [undefined]],
    ['moved some', ['n1', 'n2'], ['completed']],
  ])('after a change of the placement that %s', async (_name, ssd, states) => {
    for (const lose of [
      (world: World, id: string) => world.node(id, { Labels: {} }),
      (world: World, id: string) => world.removeNode(id),
    ]) {
      const world = await labelled(ssd, {});
      await world.spec('web', onSsd);
      await world.advance(1_000);
      expect(states).toContain(world.get('web')?.updateStatus?.state);
      const gone = await oldNode(world);
      await lose(world, gone);
      await world.advance(60_000);
      const rest = ssd.filter((id) => id !== gone);
      expect(nodesOf(world).every((id) => rest.includes(id))).toBe(true);
      expect(world.running('web')).toHaveLength(3);
      await stays(world);
    }
  });

  test('after a rollback by failure', async () => {
    const world = await labelled(['n1', 'n2'], {
      ...onSsd,
      UpdateConfig: { ...UpdateConfig, FailureAction: 'rollback' },
    });
    world.agent = (task) =>
      task.spec.ContainerSpec.Image === 'bad' && task.desired < TaskState.shutdown
        ? TaskState.rejected
        : obedient(task);
    await world.spec('web', { TaskTemplate: { ...onSsd.TaskTemplate, ContainerSpec: { Image: 'bad' } } });
    await world.advance(10_000);
    expect(world.get('web')?.updateStatus?.state).toBe('rollback_completed');
    const gone = await oldNode(world);
    await world.node(gone, { Labels: {} });
    expect(nodesOf(world)).toEqual(Array(3).fill(gone === 'n1' ? 'n2' : 'n1'));
    await stays(world);
  });

  test('while an update is under way or paused, what it has not come to stays where it is', async () => {
    const world = await labelled(['n1', 'n2', 'n3'], {
      UpdateConfig: { ...UpdateConfig, Delay: 3600e9 },
    });
    await world.spec('web', { TaskTemplate: nginx({ Placement: { Constraints: ['node.labels.disk==hdd'] } }) });
    const before = ids(world.running('web'));
    for (const id of ['n1', 'n2', 'n3']) await world.node(id, { Labels: {} });
    expect([world.get('web')?.updateStatus?.state, ids(world.running('web'))]).toEqual(['updating', before]);
    await world.advance(600_000);
    for (const id of ['n1', 'n2', 'n3']) await world.node(id, { Labels: { a: 'b' } });
    expect([world.get('web')?.updateStatus?.state, ids(world.running('web'))]).toEqual(['paused', before]);
  });
});

test.each<[string, (world: World) => Promise<void>, TaskStateOf]>([
  ['no longer meets a constraint', (world) => world.node('n1', { Labels: {} }), TaskState.rejected],
  ['is gone', (world) => world.removeNode('n1'), TaskState.orphaned],
])('a write that was refused is made again: the node %s', async (_name, change, state) => {
  const world = new World();
  await world.node('n1', { Labels: { disk: 'ssd' } });
  await world.service('web', 1, nginx({ Placement: { Constraints: ['node.labels.disk==ssd'] } }));
  await world.start();
  const { store } = world;
  const batch = store.batch.bind(store);
  store.batch = (items) => Promise.resolve({ refused: items.length });
  await change(world);
  expect(world.running('web')).toHaveLength(1);
  store.batch = batch;
  await world.advance(retryMs);
  expect(world.tasks('web').map((task) => task.status.state)).toContain(state);
});

describe('failure memory', () => {
  test('S11 S13: five failures push a node back for that version, also for a new leader, until the spec changes', async () => {
    const world = new World();
    await world.cluster(20);
    await world.node('n1', { Labels: { a: '1' } });
    await world.node('n2');
    await world.start();
    await world.service('busy', 1, nginx({ Placement: { Constraints: ['node.labels.a==1'] } }));
    const where: string[] = [];
    world.agent = (task) => {
      if (task.desired >= TaskState.shutdown) return TaskState.shutdown;
      if (task.serviceId === 'web' && task.nodeId === 'n2') return TaskState.failed;
      return TaskState.running;
    };
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 0 } }));
    await world.advance(60_000);
    for (const task of world.tasks('web')) where.push(task.nodeId);
    expect(where).toEqual(['n2', 'n2', 'n2', 'n2', 'n2', 'n1']);
    await world.stop();
    await world.start();
    await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
    await world.advance(60_000);
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n1']);
    world.agent = (task) => (task.desired >= TaskState.shutdown ? TaskState.shutdown : TaskState.running);
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 0 } }, 'nginx:2'));
    await world.advance(60_000);
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n2']);
  });
});
