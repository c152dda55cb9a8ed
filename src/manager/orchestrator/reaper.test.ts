/** What a short task history must not forget. */
import { describe, expect, test } from 'vitest';
import type { Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import { retryMs } from './port.ts';
import { nginx, obedient, stays, World } from './testing/world.ts';

const ms = 1_000_000;
const minute = 60_000;

async function worldOf(limit: number, nodes: number): Promise<World> {
  const world = new World();
  await world.cluster(limit);
  for (let at = 1; at <= nodes; at++) await world.node(`n${at}`);
  await world.start();
  return world;
}

describe.each([0, 1, 2])('with a task history of %i', (limit) => {
  test('a slot of a job that is done is not run again, whatever else was tried in it', async () => {
    const world = await worldOf(limit, 2);
    await world.spec('job', { Mode: { ReplicatedJob: { TotalCompletions: 1, MaxConcurrent: 1 } } });
    const [lost] = world.tasks('job');
    await world.node(lost?.nodeId ?? '', { state: 'down' });
    expect(world.tasks('job')).toHaveLength(2);
    // It was done meanwhile, and says so when its node is back.
    await world.report(lost?.id ?? '', TaskState.complete);
    await world.node(lost?.nodeId ?? '', { state: 'ready' });
    await world.advance(10 * minute);
    const done = world.tasks('job').filter((task) => task.status.state === TaskState.complete);
    expect(done.map(({ id }) => id)).toEqual([lost?.id]);
    expect(world.tasks('job').filter((task) => task.status.state === TaskState.running)).toEqual([]);
    await stays(world);
  });

  test('a crash loop is counted during an update, and forgotten after it', async () => {
    const world = await worldOf(limit, 2);
    const template = (image: string) => nginx({ RestartPolicy: { Delay: 0 } }, image);
    const UpdateConfig = { Parallelism: 1, Delay: 60 * minute * ms, Monitor: 100 * ms };
    await world.spec('web', {
      Mode: { Replicated: { Replicas: 2 } },
      TaskTemplate: template('nginx:1'),
      UpdateConfig,
    });
    await world.spec('web', { TaskTemplate: template('nginx:2') });
    const fresh = () => world.running('web').find((task) => task.spec.ContainerSpec.Image === 'nginx:2');
    const { slot } = fresh() ?? expect.fail();
    for (let round = 1; round <= 3; round++) {
      expect(world.get('web')?.updateStatus?.state).toBe('updating');
      await world.advance(20_000);
      await world.report(fresh()?.id ?? '', TaskState.failed);
      await world.settle();
    }
    expect(world.get('web')?.updateStatus?.message).toMatch(/: it ended 3 times$/);
    await world.advance(minute);
    expect(world.tasks('web').filter((task) => task.slot === slot).length).toBeLessThanOrEqual(Math.max(1, limit));
  });
});

test('a crash loop that is to be ignored leaves no more than three ended tasks beside the history', async () => {
  const world = await worldOf(1, 1);
  const restart = { RestartPolicy: { Delay: 0 } };
  await world.spec('web', { Mode: { Replicated: { Replicas: 3 } }, TaskTemplate: nginx(restart) });
  await world.spec('web', {
    TaskTemplate: nginx(restart, 'nginx:2'),
    UpdateConfig: { Parallelism: 1, Delay: 600 * minute * ms, FailureAction: 'continue' },
  });
  const crashes = (task: Task) => task.slot === 1 && task.specVersion === 2 && task.desired === TaskState.running;
  world.agent = (task) =>
    crashes(task) && task.status.state === TaskState.running ? TaskState.failed : obedient(task);
  await world.advance(120 * minute);
  expect(world.get('web')?.updateStatus?.state).toBe('updating');
  expect(world.tasks('web').filter((task) => task.slot === 1)).toHaveLength(4);
});

test('what was kept for an update goes once that is completed, though nothing else happens in its place', async () => {
  const world = await worldOf(1, 1);
  const restart = { RestartPolicy: { Delay: 0 } };
  await world.spec('web', { Mode: { Replicated: { Replicas: 2 } }, TaskTemplate: nginx(restart) });
  const UpdateConfig = { Parallelism: 1, Delay: 10 * minute * ms, Monitor: 100 * ms };
  await world.spec('web', { TaskTemplate: nginx(restart, 'nginx:2'), UpdateConfig });
  const fresh = () => world.running('web').find(({ specVersion }) => specVersion === 2);
  const { slot } = fresh() ?? expect.fail();
  const inSlot = () => world.tasks('web').filter((task) => task.slot === slot).length;
  for (let round = 1; round <= 2; round++) {
    await world.advance(20_000);
    await world.report(fresh()?.id ?? '', TaskState.failed);
    await world.settle();
  }
  expect(inSlot()).toBe(3);
  await world.advance(20 * minute);
  expect([world.get('web')?.updateStatus?.state, inSlot()]).toEqual(['completed', 1]);
});

test('a deletion that was refused is made again', async () => {
  const world = await worldOf(1, 1);
  await world.service('web', 1);
  await world.stop();
  const { store } = world;
  const [task] = world.tasks('web');
  await store.transact((tx) => {
    const { meta: _, ...draft } = tx.get('task', task?.id ?? '') ?? expect.fail();
    tx.update('task', { ...draft, desired: TaskState.remove });
  });
  await world.report(task?.id ?? '', TaskState.shutdown);
  await store.transact((tx) => tx.remove('service', 'web'));
  const batch = store.batch.bind(store);
  store.batch = (items) => Promise.resolve({ refused: items.length });
  await world.start();
  expect(world.tasks()).toHaveLength(1);
  store.batch = batch;
  await world.advance(retryMs);
  expect(world.tasks()).toEqual([]);
});
