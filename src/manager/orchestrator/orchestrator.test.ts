import { describe, expect, test } from 'vitest';
import type { RestartPolicy } from '../../model/spec.ts';
import type { TaskState as State } from '../../model/task-state.ts';
import { TaskState } from '../../model/task-state.ts';
import { nginx, obedient, stays, World, worldOf } from './testing/world.ts';

const second = 1_000_000_000;

const only = (world: World, slot: number) => world.tasks('web').filter((task) => task.slot === slot);

describe('replicated: scaling', () => {
  test('fills the lowest free slots, spreads them, then does nothing', async () => {
    const world = await worldOf(3);
    await world.service('web', 3);
    expect(world.running('web').map((task) => task.slot)).toEqual([1, 2, 3]);
    expect(new Set(world.running('web').map((task) => task.nodeId)).size).toBe(3);
    await stays(world);
  });

  test('R11: scales up, down and away', async () => {
    const world = await worldOf(3);
    await world.service('web', 6);
    await world.service('web', 2);
    expect(world.running('web')).toHaveLength(2);
    expect(new Set(world.running('web').map((task) => task.nodeId)).size).toBe(2);
    expect(world.tasks('web')).toHaveLength(2);
    await world.service('web', 4);
    expect(
      world
        .running('web')
        .map((task) => task.slot)
        .sort(),
    ).toEqual([1, 2, 3, 4]);
    await world.removeService('web');
    expect(world.tasks()).toEqual([]);
    await stays(world);
  });

  test('a service of thousands of tasks comes and goes in pieces', async () => {
    const world = await worldOf(1);
    await world.service('web', 2_500, nginx({ Placement: { MaxReplicas: 1 } }));
    expect(world.tasks('web')).toHaveLength(2_500);
    await world.removeService('web');
    expect(world.tasks()).toEqual([]);
    await stays(world);
  });

  test('R12: an unplaced slot goes before placed ones', async () => {
    const world = await worldOf(2);
    await world.service('web', 3, nginx({ Placement: { MaxReplicas: 1 } }));
    expect(world.running('web')).toHaveLength(2);
    const waiting = world.tasks('web').find((task) => task.nodeId === '');
    expect(waiting?.status.err).toBe('no suitable node (max replicas per node limit exceed)');
    await world.service('web', 2, nginx({ Placement: { MaxReplicas: 1 } }));
    expect(world.tasks('web').map((task) => task.id)).toEqual(world.running('web').map((task) => task.id));
  });

  test('R15: a task deleted by hand is made again', async () => {
    const world = await worldOf(1);
    await world.service('web', 2);
    const [task] = world.tasks('web');
    await world.store.transact((tx) => tx.remove('task', task?.id ?? ''));
    await world.settle();
    expect(
      world
        .running('web')
        .map(({ slot }) => slot)
        .sort(),
    ).toEqual([1, 2]);
  });
});

describe('restart policy', () => {
  const cases: readonly [string, RestartPolicy, State, boolean][] = [
    ['R1: any restarts a failed task', { Condition: 'any' }, TaskState.failed, true],
    ['R1: any restarts a completed task', { Condition: 'any' }, TaskState.complete, true],
    ['R2: on-failure restarts a failed task', { Condition: 'on-failure' }, TaskState.failed, true],
    ['R2: on-failure restarts a rejected task', { Condition: 'on-failure' }, TaskState.rejected, true],
    ['R2: on-failure leaves a completed task', { Condition: 'on-failure' }, TaskState.complete, false],
    ['R3: none leaves a failed task', { Condition: 'none' }, TaskState.failed, false],
  ];
  test.each(cases)('%s', async (_name, RestartPolicy, end, restarts) => {
    const world = await worldOf(1);
    await world.service('web', 1, nginx({ RestartPolicy }));
    await world.report(only(world, 1)[0]?.id ?? '', end);
    await world.advance(10_000);
    expect(world.running('web')).toHaveLength(restarts ? 1 : 0);
    expect(only(world, 1)).toHaveLength(restarts ? 2 : 1);
    await stays(world);
  });

  test('R4: the successor is prepared at once and runs after the delay', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 2 * second } }));
    await world.report(only(world, 1)[0]?.id ?? '', TaskState.failed);
    await world.advance(1_999);
    expect(only(world, 1).map((task) => [task.desired, task.status.state])).toEqual([
      [TaskState.shutdown, TaskState.failed],
      [TaskState.ready, TaskState.ready],
    ]);
    await world.advance(1);
    expect(world.running('web')).toHaveLength(1);
  });

  test('a task that is refused again and again is tried ever less often, at most every five minutes', async () => {
    const world = await worldOf(1);
    let tries = new Set<string>();
    world.agent = (task) => {
      if (task.desired >= TaskState.shutdown) return obedient(task);
      tries.add(task.id);
      return TaskState.rejected;
    };
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 5 * second } }));
    expect(tries.size).toBe(2);
    const born = () => world.tasks('web').map((task) => (task.notBefore ?? task.meta.createdAt) - 1_000_000);
    await world.advance(5_000 * (1 + 1 + 1 + 2 + 4 + 8));
    expect(tries.size).toBe(8);
    await world.advance(3_600_000);
    expect(tries.size).toBeGreaterThan(17);
    expect(tries.size).toBeLessThan(22);
    expect(born().at(-1)).toBeGreaterThan(3_600_000);
    world.agent = obedient;
    await world.advance(600_000);
    expect(world.running('web')).toHaveLength(1);
    await stays(world);
  });

  test('a crash loop is counted over leaders and forgiven after a healthy run', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: second } }));
    const delays: number[] = [];
    const crash = async (ranMs: number) => {
      await world.advance(ranMs);
      const failedAt = world.clock.time;
      await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
      await world.stop();
      await world.start();
      delays.push((only(world, 1).at(-1)?.notBefore ?? 0) - failedAt);
      await world.advance(delays.at(-1) ?? 0);
    };
    for (let round = 0; round < 7; round++) await crash(500);
    expect(delays).toEqual([1000, 1000, 1000, 2000, 4000, 8000, 16_000]);
    await crash(9_000);
    await crash(40_000);
    expect(delays.slice(-2)).toEqual([32_000, 1000]);
    expect(world.running('web')[0]?.failures).toBe(1);
  });

  test('a task that completes quickly is no crash loop', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: second } }));
    for (let round = 0; round < 8; round++) {
      await world.report(world.running('web')[0]?.id ?? '', TaskState.complete);
      await world.advance(1000);
      expect(world.running('web')).toHaveLength(1);
    }
  });

  test('R5: attempts are counted per slot and start afresh with a new spec', async () => {
    const world = await worldOf(1);
    const policy = { Delay: 0, MaxAttempts: 1 };
    world.agent = (task) =>
      task.slot === 1 && task.spec.ContainerSpec.Image === 'nginx:1' ? TaskState.failed : obedient(task);
    await world.service('web', 2, nginx({ RestartPolicy: policy }));
    expect(only(world, 1).map((task) => task.status.state)).toEqual([TaskState.failed, TaskState.failed]);
    expect(world.running('web').map((task) => task.slot)).toEqual([2]);
    await stays(world);
    await world.service('web', 2, nginx({ RestartPolicy: policy }, 'nginx:2'));
    expect(
      world
        .running('web')
        .map((task) => task.slot)
        .sort(),
    ).toEqual([1, 2]);
  });

  test('R6: only restarts within the window count', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 0, MaxAttempts: 1, Window: 5 * second } }));
    const fail = async () => {
      await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
      await world.settle();
    };
    await fail();
    await world.advance(6_000);
    await fail();
    expect(world.running('web')).toHaveLength(1);
    await world.advance(1_000);
    await fail();
    expect(world.running('web')).toHaveLength(0);
    await stays(world);
  });

  test('R8: a new leader goes on with a delay and with the count', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 5 * second, MaxAttempts: 1 } }));
    await world.report(only(world, 1)[0]?.id ?? '', TaskState.failed);
    await world.advance(3_000);
    await world.stop();
    expect(world.clock.timers).toBe(0);
    await world.start();
    await world.advance(1_999);
    expect(world.running('web')).toHaveLength(0);
    await world.advance(1);
    expect(world.running('web')).toHaveLength(1);
    await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
    await world.settle();
    await stays(world);
    expect(world.running('web')).toHaveLength(0);
  });

  test('a task that is given up stays so, whatever is written about it later and whoever leads', async () => {
    const world = await worldOf(1);
    const Window = 5 * second;
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 0, MaxAttempts: 1, Window } }));
    await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
    await world.advance(4_900);
    const last = world.running('web')[0] ?? expect.fail();
    // The leader is away while the task ends: the next one looks at it, and writes, after the window.
    await world.stop();
    await world.report(last.id, TaskState.failed);
    await world.advance(60_000);
    await world.start();
    expect(world.running('web')).toEqual([]);
    await world.node('n1', { Labels: { a: 'b' } });
    await stays(world);
    expect(world.tasks('web').at(-1)?.id).toBe(last.id);
  });

  test('T2: the history keeps the limit, and MaxAttempts + 1 where that is set', async () => {
    const world = new World();
    await world.cluster(2);
    await world.node('n1');
    await world.start();
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 0 } }));
    await world.service('job', 1, nginx({ RestartPolicy: { Delay: 0, MaxAttempts: 3 } }));
    for (let round = 0; round < 5; round++) {
      for (const id of ['web', 'job']) await world.report(world.running(id)[0]?.id ?? '', TaskState.failed);
      await world.advance(10_000);
    }
    expect(world.tasks('web')).toHaveLength(2);
    expect(world.tasks('job')).toHaveLength(4);
    expect(world.running('job')).toHaveLength(0);
    await world.advance(300_000);
    await stays(world);
  });
});

describe('nodes', () => {
  test('a node that is down is replaced at once, without delay and without counting', async () => {
    const world = await worldOf(3);
    await world.service('web', 2, nginx({ RestartPolicy: { MaxAttempts: 1 } }));
    const [lost] = world.running('web');
    await world.node(lost?.nodeId ?? '', { state: 'down' });
    const [old, fresh] = only(world, 1);
    expect([old?.id, old?.desired, old?.status.state]).toEqual([lost?.id, TaskState.running, TaskState.running]);
    expect([fresh?.status.state, fresh?.restarts]).toEqual([TaskState.running, []]);
    await stays(world);
  });

  test('a node back after its replacement runs: the old one is shut down', async () => {
    const world = await worldOf(2);
    await world.service('web', 1);
    const [lost] = world.running('web');
    await world.node(lost?.nodeId ?? '', { state: 'down' });
    await world.node(lost?.nodeId ?? '');
    expect(world.running('web')).toHaveLength(1);
    expect(world.running('web')[0]?.id).not.toBe(lost?.id);
    expect(only(world, 1)[0]?.status.state).toBe(TaskState.shutdown);
  });

  test('a node back before its replacement runs: the old one is kept, the replacement withdrawn', async () => {
    const world = await worldOf(2);
    await world.service('web', 1);
    const [lost] = world.running('web');
    world.agent = (task) =>
      task.id === lost?.id || task.desired >= TaskState.shutdown ? obedient(task) : TaskState.preparing;
    await world.node(lost?.nodeId ?? '', { state: 'down' });
    expect(world.tasks('web')).toHaveLength(2);
    await world.node(lost?.nodeId ?? '');
    expect(world.tasks('web').map((task) => task.id)).toEqual([lost?.id]);
    await stays(world);
  });

  test('a node that is unknown or disconnected loses nothing', async () => {
    const world = await worldOf(2);
    await world.service('web', 2);
    const before = world.tasks('web');
    await world.node('n1', { state: 'unknown' });
    await world.node('n2', { state: 'disconnected' });
    await stays(world);
    expect(world.tasks('web')).toEqual(before);
  });

  test('a drained node gives its tasks away; a paused one keeps them', async () => {
    const world = await worldOf(2);
    await world.service('web', 2);
    await world.node('n1', { Availability: 'pause' });
    expect(new Set(world.running('web').map((task) => task.nodeId))).toEqual(new Set(['n1', 'n2']));
    await world.node('n1', { Availability: 'drain' });
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n2', 'n2']);
    await stays(world);
  });

  test('tasks of a removed node are orphaned and replaced', async () => {
    const world = await worldOf(2);
    await world.service('web', 2);
    await world.removeNode('n1');
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n2', 'n2']);
    expect(
      world
        .tasks('web')
        .filter((task) => task.nodeId === 'n1')
        .map((task) => task.status.state),
    ).toEqual([TaskState.orphaned]);
    await stays(world);
  });

  test('a scaled down task on a node that stays down is given up after a day', async () => {
    const world = await worldOf(1);
    await world.service('web', 1);
    await world.node('n1', { state: 'down' });
    await world.removeService('web');
    await world.advance(24 * 3600_000 - 1);
    expect(world.tasks().filter((task) => task.nodeId === 'n1')).toHaveLength(1);
    await world.advance(1);
    expect(world.tasks()).toEqual([]);
  });

  test('a node that no longer meets the constraints has its tasks rejected', async () => {
    const world = await worldOf(2);
    await world.node('n1', { Labels: { disk: 'ssd' } });
    await world.service('web', 1, nginx({ Placement: { Constraints: ['node.labels.disk == ssd'] } }));
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n1']);
    await world.node('n1', { Labels: {} });
    await world.advance(6_000);
    const [old, fresh] = only(world, 1);
    expect(old?.status.err).toBe('assigned node no longer meets constraints');
    expect(fresh?.status.err).toBe('no suitable node (scheduling constraints not satisfied on 2 nodes)');
  });
});
