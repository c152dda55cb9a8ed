/** Behaviours of Swarm's orchestrators and reaper, row by row, where no other test has them (design/rows.md). */
import { describe, expect, test } from 'vitest';
import type { Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import { respecced } from '../../model/update.ts';
import type { Transaction } from '../store/port.ts';
import { newTask, templateOf } from './task.ts';
import { nginx, nodeDraft, obedient, rests, stays, World, worldOf } from './testing/world.ts';

/** A task as an earlier leader left it. */
async function leave(world: World, id: string, change: Partial<Task>): Promise<void> {
  await world.store.transact((tx) => {
    const service = world.get('web');
    if (service === undefined) throw new Error('no service');
    const place = change.slot ?? 1;
    const template = templateOf(service);
    const birth = { id, serviceId: 'web', place, now: tx.now, template, desired: TaskState.running, restarts: [] };
    tx.create('task', { ...newTask(birth), ...change });
  });
}

const status = (state: Task['status']['state']) => ({ state, timestamp: 0, message: '', err: '' });
const perNode = (world: World) => {
  const counts = new Map<string, number>();
  for (const { nodeId } of world.running('web')) counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
  return [...counts.values()].sort((a, b) => a - b);
};

describe('what a new leader finds', () => {
  test('R7: tasks that ended and were wanted are replaced, and the old ones shut down', async () => {
    const world = new World();
    await world.node('n1');
    await world.service('web', 2, nginx({ RestartPolicy: { Delay: 0 } }));
    await leave(world, 'failed', { slot: 1, nodeId: 'n1', status: status(TaskState.failed) });
    await leave(world, 'rejected', { slot: 2, nodeId: 'n1', status: status(TaskState.rejected) });
    await world.start();
    expect(
      world
        .running('web')
        .map((task) => task.slot)
        .sort(),
    ).toEqual([1, 2]);
    const ended = world.tasks('web').filter((task) => task.id === 'failed' || task.id === 'rejected');
    expect(ended.map((task) => task.desired)).toEqual([TaskState.shutdown, TaskState.shutdown]);
    await stays(world);
  });

  test('R9 R10: tasks on nodes that are down, drained or gone are replaced; on unknown ones they are left', async () => {
    const world = new World();
    for (const id of ['n1', 'n2', 'n3', 'n5']) await world.node(id);
    await world.service('web', 4);
    const running = status(TaskState.running);
    for (const at of [1, 2, 3, 4]) await leave(world, `t${at}`, { slot: at, nodeId: `n${at}`, status: running });
    await world.node('n1', { state: 'down' });
    await world.node('n2', { state: 'unknown' });
    await world.node('n3', { Availability: 'drain' });
    await world.start();
    const where = new Map(world.running('web').map((task) => [task.slot, task.nodeId]));
    const kept = world.running('web').filter((task) => task.id === 't2');
    expect(kept).toHaveLength(1);
    expect(
      [1, 3, 4].map((slot) => world.running('web').some((task) => task.slot === slot && task.nodeId === 'n5')),
    ).toEqual([true, true, true]);
    expect(where.size).toBe(4);
    await stays(world);
  });

  test('R10: a replacement that is placed on a node which then goes down is replaced again', async () => {
    const world = await worldOf(2);
    await world.service('web', 1);
    world.agent = (task) => (task.nodeId === 'n3' ? undefined : obedient(task));
    await world.node('n3');
    const first = world.running('web')[0] as Task;
    const other = first.nodeId === 'n1' ? 'n2' : 'n1';
    await world.node(other, { Availability: 'pause' });
    await world.node(first.nodeId, { state: 'down' });
    expect(world.tasks('web').at(-1)?.nodeId).toBe('n3');
    await world.node('n3', { state: 'down' });
    await world.node(other, { Availability: 'active' });
    expect(world.running('web').filter((task) => task.nodeId === other)).toHaveLength(1);
  });
});

describe('scaling down', () => {
  test('R13: of six tasks that crowd one of three nodes two of that node go', async () => {
    const world = await worldOf(3);
    const pinned = (nodeId: string, slot: number) =>
      leave(world, `t${slot}`, { slot, nodeId, status: status(TaskState.running) });
    await world.stop();
    await world.service('web', 6);
    for (const [at, id] of ['n1', 'n2', 'n2', 'n3', 'n3', 'n3'].entries()) await pinned(id, at + 1);
    await world.start();
    expect(perNode(world)).toEqual([1, 2, 3]);
    await world.service('web', 4);
    expect(perNode(world)).toEqual([1, 1, 2]);
  });

  test('R14: four tasks scaled to two are left on different nodes', async () => {
    const world = await worldOf(2);
    await world.service('web', 4);
    await world.service('web', 2);
    expect(perNode(world)).toEqual([1, 1]);
  });
});

describe('the reaper', () => {
  test('T1: a new leader deletes what is marked and stopped or was never assigned; it keeps the rest within the limit', async () => {
    const world = new World();
    await world.cluster(2);
    await world.node('n1');
    await world.service('web', 1);
    const old = { nodeId: 'n1', status: status(TaskState.shutdown), desired: TaskState.shutdown } as const;
    for (const at of [1, 2, 3, 4]) await leave(world, `old${at}`, old);
    await leave(world, 'marked', { ...old, desired: TaskState.remove });
    await leave(world, 'unplaced', { slot: 7, desired: TaskState.remove });
    await leave(world, 'stopping', {
      slot: 8,
      nodeId: 'n2',
      desired: TaskState.remove,
      status: status(TaskState.running),
    });
    await world.node('n2', { state: 'unknown' });
    await leave(world, 'live', { nodeId: 'n1', status: status(TaskState.running) });
    await world.start();
    expect(world.tasks('web').map((task) => task.id)).toEqual(['old4', 'stopping', 'live']);
    await stays(world);
  });

  test('T3: a task that was scaled away is deleted once it is seen stopped', async () => {
    const world = await worldOf(1);
    await world.service('web', 2);
    world.agent = (task) => (task.desired === TaskState.remove ? undefined : obedient(task));
    await world.service('web', 1);
    expect(world.tasks('web').map((task) => task.desired)).toEqual([TaskState.running, TaskState.remove]);
    await world.report(world.tasks('web')[1]?.id ?? '', TaskState.shutdown);
    await world.settle();
    expect(world.tasks('web')).toHaveLength(1);
  });

  test('T4 T5: of a removed service dead and unplaced tasks go at once, the others once they are stopped', async () => {
    const world = await worldOf(1);
    await world.service('web', 3, nginx({ Placement: { MaxReplicas: 2 } }));
    await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
    await world.settle();
    world.agent = () => undefined;
    const alive = world.running('web').map((task) => task.id);
    await world.removeService('web');
    const stopping = world.tasks().filter((task) => task.desired === TaskState.remove);
    expect(stopping.map((task) => task.id)).toEqual(expect.arrayContaining(alive));
    expect(
      stopping.every((task) => task.status.state >= TaskState.assigned && task.status.state <= TaskState.running),
    ).toBe(true);
    world.agent = obedient;
    await world.advance(0);
    expect(world.tasks()).toEqual([]);
  });

  test('T8: while nothing is to be deleted it writes nothing and waits for no time', async () => {
    const world = new World();
    await world.cluster(2);
    await world.node('n1');
    await world.start();
    await world.service('web', 2);
    for (let round = 0; round < 2; round++) {
      await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
      await world.advance(60_000);
    }
    expect(world.tasks('web')).toHaveLength(4);
    expect(world.clock.timers).toBe(0);
    await rests(world, 3600_000);
  });

  test('T9: history that has not stopped yet is kept, and goes once it has', async () => {
    const world = new World();
    await world.cluster(1);
    await world.node('n1');
    await world.start();
    await world.service('web', 1);
    await leave(world, 'slow', { nodeId: 'n1', desired: TaskState.shutdown, status: status(TaskState.running) });
    world.agent = (task) => (task.id === 'slow' ? undefined : obedient(task));
    const live = world.tasks('web').find((task) => task.id !== 'slow') as Task;
    await world.report(live.id, TaskState.failed);
    await world.advance(20_000);
    expect(world.tasks('web').some((task) => task.id === 'slow')).toBe(true);
    await world.report('slow', TaskState.shutdown);
    await world.settle();
    expect(world.tasks('web').some((task) => task.id === 'slow')).toBe(false);
  });

  test('a negative limit keeps all history', async () => {
    const world = new World();
    await world.cluster(-1);
    await world.node('n1');
    await world.start();
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 0 } }));
    for (let round = 0; round < 8; round++) {
      await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
      await world.advance(300_000);
    }
    expect(world.tasks('web')).toHaveLength(9);
  });

  test('the record of a job stays: one completed task for each slot', async () => {
    const world = new World();
    await world.cluster(0);
    await world.node('n1');
    await world.start();
    await world.spec('web', { Mode: { ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 } } });
    for (const task of world.tasks('web')) await world.report(task.id, TaskState.complete);
    await world.advance(600_000);
    expect(world.tasks('web')).toHaveLength(3);
  });
});

describe('two loops at one place at the same moment', () => {
  /** What is proposed is applied a little later in the same turn, so both loops decide on the same state. */
  function slowly({ store }: World): void {
    let version = store.view.version;
    store.setProposer({
      async propose(changes, now) {
        const bytes = store.encode(changes, now);
        for (let step = 0; step < 50; step++) await Promise.resolve();
        version += 1;
        return { version, applied: store.apply(version, bytes) };
      },
    });
  }

  test.each(['stop-first', 'start-first'] as const)(
    'a node is drained while its service is updated (%s): never more than one new task beside the old one',
    async (order) => {
      const world = await worldOf(3);
      const UpdateConfig = { Order: order, Parallelism: 0 };
      await world.spec('web', { Mode: { Replicated: { Replicas: 6 } }, UpdateConfig });
      slowly(world);
      world.check = () => {
        for (let slot = 1; slot <= 6; slot++) {
          const wanted = world.store.view.tasksOfSlot('web', slot).filter((task) => task.desired <= TaskState.complete);
          expect(wanted.length).toBeLessThanOrEqual(2);
        }
      };
      const { store } = world;
      await store.transact((tx) => {
        const service = tx.get('service', 'web');
        if (service === undefined) throw new Error('no service');
        const spec = { ...service.spec, TaskTemplate: nginx({}, 'nginx:2') };
        tx.update('service', respecced(service, spec, tx.now));
        for (const id of ['n1', 'n2']) {
          const { meta: _, ...node } = tx.get('node', id) ?? { meta: undefined, ...nodeDraft(id) };
          tx.update('node', { ...node, spec: { ...node.spec, Availability: 'drain' } });
        }
      });
      await world.advance(120_000);
      expect(world.running('web').map((task) => [task.nodeId, task.spec.ContainerSpec.Image])).toEqual(
        Array.from({ length: 6 }, () => ['n3', 'nginx:2']),
      );
    },
  );
});

describe('a large service', () => {
  test('is decided in pieces, and what is scaled away in between is never made', async () => {
    const world = new World();
    await world.start();
    const batches: number[] = [];
    const { store } = world;
    const batch = store.batch.bind(store);
    store.batch = (items, build) => {
      batches.push(items.length);
      return batch(items, build);
    };
    await world.service('web', 9_000);
    expect(world.tasks('web')).toHaveLength(9_000);
    expect(Math.max(...batches)).toBe(2_000);
    let left = 1;
    world.check = () => {
      if (left-- === 1) void store.transact((tx) => shrink(tx));
    };
    await world.service('db', 9_000);
    expect(world.tasks('db').filter((task) => task.desired <= TaskState.complete)).toHaveLength(3);
    expect(world.commits).toBeLessThan(200);
  });
});

function shrink(tx: Transaction): void {
  const service = tx.get('service', 'db');
  if (service === undefined) throw new Error('no service');
  tx.update('service', respecced(service, { ...service.spec, Mode: { Replicated: { Replicas: 3 } } }, tx.now));
}
