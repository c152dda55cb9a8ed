import { describe, expect, test } from 'vitest';
import type { Task } from '../../model/objects.ts';
import type { NodeSpec, ServiceSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import { nginx, obedient, World } from './testing/world.ts';

const global: Partial<ServiceSpec> = { Mode: { Global: {} } };
const globalJob: Partial<ServiceSpec> = { Mode: { GlobalJob: {} } };

function job(total: number, atOnce: number, change: Partial<ServiceSpec> = {}): Partial<ServiceSpec> {
  return { Mode: { ReplicatedJob: { TotalCompletions: total, MaxConcurrent: atOnce } }, ...change };
}

async function worldOf(nodes: number): Promise<World> {
  const world = new World();
  for (let at = 1; at <= nodes; at++) await world.node(`n${at}`);
  await world.start();
  return world;
}

async function stays(world: World): Promise<void> {
  const before = world.commits;
  await world.advance(200_000);
  await world.stop();
  await world.start();
  await world.advance(200_000);
  expect(world.commits).toBe(before);
}

const nodesOf = (tasks: readonly Task[]) => tasks.map((task) => task.nodeId).sort();
const states = (world: World, id: string) =>
  world.tasks(id).map((task) => [task.slot, task.status.state, task.desired].join(' '));
const inState = (world: World, id: string, state: number) =>
  world.tasks(id).filter((task) => task.status.state === state);

/** What runs of a job, newest iteration or not. */
const working = (world: World, id: string) =>
  inState(world, id, TaskState.running).filter((task) => task.desired === TaskState.complete);

async function finish(world: World, tasks: readonly (Task | undefined)[], state: Task['status']['state']) {
  for (const task of tasks) await world.report(task?.id ?? '', state);
  await world.settle();
}

describe('global', () => {
  test('G1: one task on each node, one more when a node is added, gone with a node that is removed', async () => {
    const world = await worldOf(2);
    await world.spec('web', global);
    expect(nodesOf(world.running('web'))).toEqual(['n1', 'n2']);
    expect(world.running('web')[0]?.status.message).toBe('reported');
    await world.node('n3');
    expect(nodesOf(world.running('web'))).toEqual(['n1', 'n2', 'n3']);
    await world.removeNode('n2');
    expect(nodesOf(world.tasks('web'))).toEqual(['n1', 'n3']);
    await stays(world);
  });

  test('G2: a drained node loses its task, and gets a new one when it is active again', async () => {
    const world = await worldOf(2);
    await world.spec('web', global);
    await world.node('n1', { Availability: 'drain' });
    expect(nodesOf(world.running('web'))).toEqual(['n2']);
    expect(inState(world, 'web', TaskState.shutdown).map((task) => task.nodeId)).toEqual(['n1']);
    await world.node('n1', { Availability: 'active' });
    expect(nodesOf(world.running('web'))).toEqual(['n1', 'n2']);
    await stays(world);
  });

  test('G2: a node that is down keeps its task, which is the same one when it returns', async () => {
    const world = await worldOf(2);
    await world.spec('web', global);
    const before = world.tasks('web').map((task) => task.id);
    await world.node('n1', { state: 'down' });
    await stays(world);
    await world.node('n1', { state: 'ready' });
    expect(world.tasks('web').map((task) => task.id)).toEqual(before);
    await stays(world);
  });

  test('G3: a paused node gets no task, and keeps the one that it has', async () => {
    const world = await worldOf(2);
    await world.spec('old', global);
    await world.node('n1', { Availability: 'pause' });
    await world.spec('web', global);
    expect(nodesOf(world.running('old'))).toEqual(['n1', 'n2']);
    expect(nodesOf(world.tasks('web'))).toEqual(['n2']);
    await stays(world);
    await world.node('n1', { Availability: 'active' });
    expect(nodesOf(world.running('web'))).toEqual(['n1', 'n2']);
  });

  test('G4: with restart condition none an exited task stays away until the spec changes', async () => {
    const world = await worldOf(1);
    await world.spec('web', { ...global, TaskTemplate: nginx({ RestartPolicy: { Condition: 'none' } }) });
    await finish(world, world.running('web'), TaskState.complete);
    expect(world.running('web')).toEqual([]);
    await stays(world);
    await world.spec('web', { TaskTemplate: nginx({ RestartPolicy: { Condition: 'none' } }, 'nginx:2') });
    await world.advance(60_000);
    expect(world.running('web')).toHaveLength(1);
  });

  test('G5: of two tasks on one node at the start of a leader one is trimmed', async () => {
    const world = await worldOf(1);
    await world.spec('web', global);
    await world.stop();
    const [task] = world.running('web') as [Task];
    await world.store.transact((tx) => {
      const { meta: _, ...draft } = task;
      tx.create('task', { ...draft, id: 'twin' });
    });
    await world.start();
    expect(world.running('web')).toHaveLength(1);
    await stays(world);
  });

  test('G6: at the start of a leader a task on a drained node is shut down; on an unknown node it is left', async () => {
    const world = await worldOf(2);
    await world.spec('web', global);
    await world.stop();
    await world.node('n1', { Availability: 'drain' });
    await world.node('n2', { state: 'unknown' });
    await world.start();
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n2']);
    expect(inState(world, 'web', TaskState.shutdown).map((task) => task.nodeId)).toEqual(['n1']);
  });

  test('constraints choose the nodes, also when labels change', async () => {
    const world = await worldOf(3);
    await world.node('n1', { Labels: { disk: 'ssd' } });
    await world.spec('web', {
      ...global,
      TaskTemplate: nginx({ Placement: { Constraints: ['node.labels.disk==ssd'] } }),
    });
    expect(nodesOf(world.running('web'))).toEqual(['n1']);
    await world.node('n2', { Labels: { disk: 'ssd' } });
    await world.node('n1', { Labels: {} });
    expect(nodesOf(world.running('web'))).toEqual(['n2']);
    await stays(world);
  });

  test('a failed task is restarted on its node, with the restart delay', async () => {
    const world = await worldOf(2);
    await world.spec('web', { ...global, TaskTemplate: nginx({ RestartPolicy: { Delay: 5e9 } }) });
    const failed = world.running('web').filter((task) => task.nodeId === 'n1');
    await finish(world, failed, TaskState.failed);
    expect(nodesOf(world.running('web'))).toEqual(['n2']);
    await world.advance(5_000);
    expect(nodesOf(world.running('web'))).toEqual(['n1', 'n2']);
    expect(world.running('web').some((task) => task.id === failed[0]?.id)).toBe(false);
  });

  test('S21: a node without room refuses with a reason, and is asked again when there is room', async () => {
    const world = await worldOf(2);
    await world.service('big', 1, nginx({ Resources: { Reservations: { MemoryBytes: 6e9 } } }));
    await world.spec('web', { ...global, TaskTemplate: nginx({ Resources: { Reservations: { MemoryBytes: 4e9 } } }) });
    expect(world.running('web')).toHaveLength(1);
    const waiting = world.tasks('web').find((task) => task.status.state === TaskState.pending);
    expect(waiting?.status.err).toBe('no suitable node (insufficient resources on 1 node)');
    await stays(world);
    await world.removeService('big');
    expect(nodesOf(world.running('web'))).toEqual(['n1', 'n2']);
  });

  test('a removed service leaves nothing', async () => {
    const world = await worldOf(3);
    await world.spec('web', global);
    await world.removeService('web');
    expect(world.tasks()).toEqual([]);
    await stays(world);
  });

  test('a rolling update brings every node to the new spec', async () => {
    const world = await worldOf(3);
    await world.spec('web', global);
    await world.spec('web', { TaskTemplate: nginx({}, 'nginx:2') });
    await world.advance(120_000);
    expect(nodesOf(world.running('web'))).toEqual(['n1', 'n2', 'n3']);
    expect(world.running('web').every((task) => task.spec.ContainerSpec.Image === 'nginx:2')).toBe(true);
    expect(world.get('web')?.updateStatus?.state).toBe('completed');
    await stays(world);
  });
});

describe('replicated job', () => {
  test('J1: so many at a time, one more for each that completes, and never more than the total', async () => {
    const world = await worldOf(2);
    await world.spec('job', job(10, 3));
    expect(working(world, 'job').map((task) => task.slot)).toEqual([0, 1, 2]);
    for (let round = 0; round < 7; round++) {
      await finish(world, working(world, 'job').slice(0, 1), TaskState.complete);
      expect(working(world, 'job')).toHaveLength(3);
    }
    expect(world.tasks('job').map((task) => task.slot)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await finish(world, working(world, 'job'), TaskState.complete);
    expect(inState(world, 'job', TaskState.complete)).toHaveLength(10);
    expect(world.tasks('job').every((task) => task.desired === TaskState.complete)).toBe(true);
    await stays(world);
  });

  test('J2: a failed slot is tried again under its number, by the restart policy', async () => {
    const world = await worldOf(2);
    await world.spec('job', job(2, 2, { TaskTemplate: nginx({ RestartPolicy: { Delay: 5e9 } }) }));
    await finish(world, working(world, 'job').slice(0, 1), TaskState.failed);
    expect(working(world, 'job').map((task) => task.slot)).toEqual([1]);
    await world.advance(5_000);
    expect(
      working(world, 'job')
        .map((task) => task.slot)
        .sort(),
    ).toEqual([0, 1]);
    await finish(world, working(world, 'job'), TaskState.complete);
    expect(inState(world, 'job', TaskState.complete)).toHaveLength(2);
    await stays(world);
  });

  test('a slot that used up its attempts holds nobody up', async () => {
    const world = await worldOf(1);
    world.agent = (task) => (task.slot === 0 ? TaskState.failed : obedient(task));
    const template = nginx({ RestartPolicy: { Condition: 'on-failure', Delay: 0, MaxAttempts: 2 } });
    await world.spec('job', job(3, 1, { TaskTemplate: template }));
    await world.advance(60_000);
    expect(inState(world, 'job', TaskState.failed)).toHaveLength(3);
    expect(working(world, 'job').map((task) => task.slot)).toEqual([1]);
    await finish(world, working(world, 'job'), TaskState.complete);
    expect(working(world, 'job').map((task) => task.slot)).toEqual([2]);
    await finish(world, working(world, 'job'), TaskState.complete);
    await stays(world);
    expect(inState(world, 'job', TaskState.complete)).toHaveLength(2);
  });

  test('with restart condition none a failed slot is not tried again', async () => {
    const world = await worldOf(1);
    await world.spec('job', job(2, 1, { TaskTemplate: nginx({ RestartPolicy: { Condition: 'none' } }) }));
    await finish(world, working(world, 'job'), TaskState.failed);
    expect(working(world, 'job').map((task) => task.slot)).toEqual([1]);
    await finish(world, working(world, 'job'), TaskState.complete);
    await stays(world);
    expect(world.tasks('job')).toHaveLength(2);
  });

  test('J3: a change of the spec starts afresh: what is left of the old execution goes', async () => {
    const world = await worldOf(2);
    await world.spec('job', job(4, 2));
    await finish(world, working(world, 'job').slice(0, 1), TaskState.complete);
    const old = new Set(world.tasks('job').map((task) => task.id));
    await world.spec('job', { TaskTemplate: nginx({ ForceUpdate: 1 }) });
    expect(world.tasks('job').some((task) => old.has(task.id))).toBe(false);
    expect(world.tasks('job').map((task) => [task.slot, task.jobIteration])).toEqual([
      [0, 1],
      [1, 1],
    ]);
    await stays(world);
  });

  test('J4: fewer completions wanted than there are: nothing is made, nothing breaks', async () => {
    const world = await worldOf(2);
    await world.spec('job', job(4, 4));
    await finish(world, working(world, 'job'), TaskState.complete);
    await world.store.transact((tx) => {
      const { meta: _, ...draft } = world.get('job') ?? ({} as never);
      tx.update('service', { ...draft, spec: { ...draft.spec, ...job(2, 1) } });
    });
    await world.settle();
    expect(inState(world, 'job', TaskState.complete)).toHaveLength(4);
    expect(world.tasks('job')).toHaveLength(4);
    await stays(world);
  });

  test('a task on a node that goes down moves at once, without counting', async () => {
    const world = await worldOf(2);
    const template = nginx({ RestartPolicy: { Condition: 'on-failure', Delay: 60e9, MaxAttempts: 1 } });
    await world.spec('job', job(1, 1, { TaskTemplate: template }));
    const [first] = working(world, 'job') as [Task];
    await world.node(first.nodeId, { state: 'down' });
    const moved = working(world, 'job').filter((task) => task.nodeId !== first.nodeId);
    expect(moved).toHaveLength(1);
    expect(moved[0]?.restarts).toEqual([]);
    await finish(world, moved, TaskState.complete);
    await world.node(first.nodeId, { state: 'ready' });
    expect(inState(world, 'job', TaskState.running)).toEqual([]);
    expect(states(world, 'job')).toEqual([
      `0 ${TaskState.shutdown} ${TaskState.shutdown}`,
      `0 ${TaskState.complete} ${TaskState.complete}`,
    ]);
    await stays(world);
  });

  test('a task that completed on a node that was away counts when the node tells', async () => {
    const world = await worldOf(2);
    await world.spec('job', job(1, 1));
    const [first] = working(world, 'job') as [Task];
    world.agent = (task) => (task.desired >= TaskState.shutdown ? TaskState.shutdown : undefined);
    await world.node(first.nodeId, { state: 'down' });
    expect(world.tasks('job')).toHaveLength(2);
    await finish(world, [first], TaskState.complete);
    await world.node(first.nodeId, { state: 'ready' });
    expect(inState(world, 'job', TaskState.complete).map((task) => task.id)).toEqual([first.id]);
    expect(world.tasks('job').filter((task) => task.desired <= TaskState.complete)).toHaveLength(1);
    await stays(world);
  });

  test('a new leader at any moment neither repeats nor duplicates a task', async () => {
    const world = await worldOf(3);
    await world.spec('job', job(6, 2));
    for (let round = 0; round < 6; round++) {
      await world.stop();
      await world.start();
      expect(working(world, 'job').length).toBe(Math.min(2, 6 - round));
      await finish(world, working(world, 'job').slice(0, 1), TaskState.complete);
    }
    expect(world.tasks('job').map((task) => task.slot)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(inState(world, 'job', TaskState.complete)).toHaveLength(6);
  });

  test('a task on a node that is drained is stopped there and done elsewhere', async () => {
    const world = await worldOf(2);
    await world.spec('job', job(1, 1));
    const [first] = working(world, 'job') as [Task];
    await world.node(first.nodeId, { Availability: 'drain' });
    expect(working(world, 'job').map((task) => task.nodeId)).not.toEqual([first.nodeId]);
    expect(working(world, 'job')).toHaveLength(1);
    await stays(world);
  });
});

describe('global job', () => {
  test('J5: once on each node that is ready and active; what completed is not run again', async () => {
    const world = await worldOf(4);
    await world.node('n1', { Availability: 'drain' });
    await world.node('n2', { Availability: 'pause' });
    await world.node('n3', { state: 'down' });
    await world.spec('job', globalJob);
    expect(nodesOf(working(world, 'job'))).toEqual(['n4']);
    await finish(world, working(world, 'job'), TaskState.complete);
    await stays(world);
    for (const id of ['n1', 'n2', 'n3']) await world.node(id, { state: 'ready', Availability: 'active' });
    expect(nodesOf(working(world, 'job'))).toEqual(['n1', 'n2', 'n3']);
    await finish(world, working(world, 'job'), TaskState.complete);
    await world.node('n4', { Availability: 'drain' });
    await world.node('n4', { Availability: 'active' });
    expect(inState(world, 'job', TaskState.complete)).toHaveLength(4);
    expect(world.tasks('job')).toHaveLength(4);
    await stays(world);
  });

  test('a change of the spec runs it again everywhere', async () => {
    const world = await worldOf(2);
    await world.spec('job', globalJob);
    await finish(world, working(world, 'job'), TaskState.complete);
    await world.spec('job', { Labels: { again: '1' } });
    expect(nodesOf(working(world, 'job'))).toEqual(['n1', 'n2']);
    expect(world.tasks('job')).toHaveLength(2);
  });

  test('attempts are counted per node', async () => {
    const world = await worldOf(2);
    world.agent = (task) => (task.nodeId === 'n1' ? TaskState.failed : obedient(task));
    await world.spec('job', { ...globalJob, TaskTemplate: nginx({ RestartPolicy: { Delay: 0, MaxAttempts: 2 } }) });
    await world.advance(60_000);
    expect(inState(world, 'job', TaskState.failed)).toHaveLength(3);
    expect(nodesOf(working(world, 'job'))).toEqual(['n2']);
    await stays(world);
  });
});

describe('draining', () => {
  const drained: Partial<NodeSpec> = { Availability: 'drain' };

  test('the old task goes on until the new one is prepared; only then it is stopped', async () => {
    const world = await worldOf(2);
    await world.service('web', 1);
    const [old] = world.running('web') as [Task];
    world.agent = (task) => (task.id === old.id ? obedient(task) : undefined);
    await world.node(old.nodeId, drained);
    expect(world.running('web').map((task) => task.id)).toEqual([old.id]);
    const fresh = world.tasks('web').find((task) => task.id !== old.id);
    expect(fresh?.desired).toBe(TaskState.ready);
    world.agent = obedient;
    await world.advance(0);
    expect(world.running('web').map((task) => task.id)).toEqual([fresh?.id]);
    await stays(world);
  });

  test('with update order start-first the old task goes on until the new one runs', async () => {
    const world = await worldOf(2);
    await world.spec('web', { UpdateConfig: { Parallelism: 1, Order: 'start-first' } });
    const [old] = world.running('web') as [Task];
    let running = Number.POSITIVE_INFINITY;
    world.check = () => {
      running = Math.min(running, world.running('web').length);
    };
    await world.node(old.nodeId, drained);
    expect(running).toBe(1);
    expect(world.running('web').map((task) => task.id)).not.toEqual([old.id]);
    await stays(world);
  });

  test('where there is no room elsewhere the node is empty after half a minute all the same', async () => {
    const world = await worldOf(1);
    await world.service('web', 1);
    await world.node('n1', drained);
    await world.advance(29_000);
    expect(world.running('web')).toHaveLength(1);
    await world.advance(1_000);
    expect(world.running('web')).toHaveLength(0);
    expect(world.tasks('web').at(-1)?.desired).toBe(TaskState.running);
    await stays(world);
    await world.node('n1', { Availability: 'active' });
    await world.advance(1_000);
    expect(world.running('web')).toHaveLength(1);
  });

  test('where there is no other node the task goes on for a while, and is free to stay when the drain ends', async () => {
    const world = await worldOf(1);
    await world.service('web', 1);
    const [old] = world.running('web') as [Task];
    await world.node('n1', drained);
    expect(world.running('web').map((task) => task.id)).toEqual([old.id]);
    expect(world.tasks('web')[1]?.status.err).toBe('no suitable node (1 node not available for new tasks)');
    await world.advance(20_000);
    await world.node('n1', { Availability: 'active' });
    expect(world.tasks('web').map((task) => task.id)).toEqual([old.id]);
    await stays(world);
  });

  test('it goes on for half a minute, and not anew because of another change of the node', async () => {
    const world = await worldOf(1);
    await world.service('web', 1);
    await world.node('n1', drained);
    await world.advance(20_000);
    await world.node('n1', { Labels: { rack: 'a' } });
    await world.advance(9_000);
    expect(world.running('web')).toHaveLength(1);
    await world.advance(1_000);
    expect(world.running('web')).toHaveLength(0);
  });
});

describe('failover delay', () => {
  test('tasks on a node that is down are replaced after the delay, and not if it returns before', async () => {
    const world = await worldOf(2);
    await world.spec('web', { Labels: { 'tscluster.failover-delay': '30s' } });
    const [old] = world.running('web') as [Task];
    await world.node(old.nodeId, { state: 'down' });
    await world.advance(29_999);
    expect(world.tasks('web')).toHaveLength(1);
    await world.node(old.nodeId, { state: 'ready' });
    await world.advance(60_000);
    expect(world.tasks('web')).toHaveLength(1);
    await world.node(old.nodeId, { state: 'down' });
    await world.advance(15_000);
    await world.stop();
    await world.start();
    await world.advance(14_999);
    expect(world.tasks('web')).toHaveLength(1);
    await world.advance(1);
    expect(world.running('web').filter((task) => task.nodeId !== old.nodeId)).toHaveLength(1);
  });
});
