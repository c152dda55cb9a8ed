import { expect, test } from 'vitest';
import { retryMs } from '../port.ts';
import { nginx, World } from '../testing/world.ts';

/** The store as one whose writes lose against others' for a while. */
function losing(world: World): () => void {
  const { store } = world;
  const batch = store.batch.bind(store);
  store.batch = (items) => Promise.resolve({ refused: items.length });
  return () => void (store.batch = batch);
}

test('what was refused is looked at again, without a new event and without haste', async () => {
  const world = new World();
  await world.node('n1');
  await world.start();
  const win = losing(world);
  let asked = 0;
  const { batch } = world.store;
  world.store.batch = (items, build) => {
    asked += 1;
    return batch(items, build);
  };
  await world.service('web', 3);
  expect([asked, world.tasks('web').length]).toEqual([1, 0]);
  await world.advance(retryMs);
  expect([asked, world.tasks('web').length]).toEqual([2, 0]);
  win();
  await world.advance(retryMs);
  expect(world.running('web')).toHaveLength(3);
});

test('also where a service is gone and its tasks are still to be removed', async () => {
  const world = new World();
  await world.node('n1');
  await world.start();
  await world.service('web', 2);
  const win = losing(world);
  await world.removeService('web');
  expect(world.running('web')).toHaveLength(2);
  win();
  await world.advance(retryMs);
  expect(world.running('web')).toHaveLength(0);
});

test('also in an update, which then goes on', async () => {
  const world = new World();
  await world.node('n1');
  await world.start();
  await world.spec('web', { Mode: { Replicated: { Replicas: 2 } }, TaskTemplate: nginx({}, 'nginx:1') });
  const win = losing(world);
  let asked = 0;
  const { batch } = world.store;
  world.store.batch = (items, build) => {
    asked += 1;
    return batch(items, build);
  };
  await world.spec('web', { TaskTemplate: nginx({}, 'nginx:2') });
  const once = asked;
  await world.advance(retryMs - 1);
  expect(asked).toBe(once);
  win();
  await world.advance(10_000);
  expect(world.running('web').map((task) => task.spec.ContainerSpec.Image)).toEqual(['nginx:2', 'nginx:2']);
});
