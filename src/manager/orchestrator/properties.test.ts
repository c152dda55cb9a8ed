import fc from 'fast-check';
import { expect, test } from 'vitest';
import { replicasOf } from '../../model/defaults.ts';
import type { Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import { act, nginx, rests, World } from './testing/world.ts';

const nodeIds = ['n1', 'n2', 'n3', 'n4'];
const node = fc.constantFrom(...nodeIds);

/** What can happen to a cluster, as functions that print themselves. */
const event = fc.oneof(
  fc.integer({ min: 0, max: 6 }).map((replicas) => act(`scale ${replicas}`, (world) => rescale(world, replicas))),
  fc.integer({ min: 1, max: 3 }).map((image) => act(`image ${image}`, (world) => reimage(world, `nginx:${image}`))),
  node.map((id) => act(`${id} down`, (world) => world.node(id, { state: 'down' }))),
  node.map((id) => act(`${id} unknown`, (world) => world.node(id, { state: 'unknown' }))),
  node.map((id) => act(`${id} ready`, (world) => world.node(id, { state: 'ready', Availability: 'active' }))),
  node.map((id) => act(`${id} drain`, (world) => world.node(id, { Availability: 'drain' }))),
  fc.nat(50).map((at) => act(`fail ${at}`, (world) => fail(world, at))),
  fc.integer({ min: 0, max: 8000 }).map((ms) => act(`wait ${ms}`, (world) => world.advance(ms))),
  fc.constant(
    act('new leader', async (world) => {
      await world.stop();
      await world.start();
    }),
  ),
);

async function rescale(world: World, replicas: number): Promise<void> {
  const service = world.get('web');
  if (service !== undefined) await world.service('web', replicas, service.spec.TaskTemplate);
}

async function reimage(world: World, image: string): Promise<void> {
  const service = world.get('web');
  if (service !== undefined)
    await world.service('web', replicasOf(service.spec), nginx({ RestartPolicy: { Delay: 1e9 } }, image));
}

async function fail(world: World, at: number): Promise<void> {
  const running = world.running('web');
  const task = running[at % Math.max(1, running.length)];
  if (task !== undefined && world.store.view.get('node', task.nodeId)?.status.state === 'ready')
    await world.report(task.id, TaskState.failed);
  await world.settle();
}

/**
 * In each slot at most one task is wanted on nodes that are not down, once the loops have had their turn; or two, while one is
 * taking over from the other.
 */
function assertOnePerSlot(world: World): void {
  const seen = new Set<number>();
  for (const task of world.tasks('web')) {
    const state = world.store.view.get('node', task.nodeId)?.status.state;
    if (task.desired > TaskState.running || state === 'down' || task.status.state >= TaskState.complete) continue;
    if (task.handover !== undefined && world.tasks('web').some((old) => old.id === task.replaces && isLive(old)))
      continue;
    expect(seen.has(task.slot), `slot ${task.slot} has two wanted tasks`).toBe(false);
    seen.add(task.slot);
  }
  const service = world.get('web');
  if (service !== undefined) expect(seen.size).toBeLessThanOrEqual(replicasOf(service.spec));
}

function isLive(task: Task): boolean {
  return task.desired <= TaskState.running && task.status.state < TaskState.complete;
}

async function heal(world: World): Promise<void> {
  for (const id of nodeIds) await world.node(id, { state: 'ready', Availability: 'active' });
  await reimage(world, 'nginx:healed');
  await world.advance(200_000);
}

test('whatever happens: one wanted task per slot, convergence after healing, then no action', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 40 }), async (events) => {
      const world = new World();
      for (const id of nodeIds) await world.node(id);
      await world.start();
      await world.service('web', 3, nginx({ RestartPolicy: { Delay: 1e9 } }));
      for (const { run } of events) {
        await run(world);
        assertOnePerSlot(world);
      }
      await heal(world);
      const service = world.get('web');
      const running = world.running('web');
      expect(running.map((task) => task.slot).length).toBe(service === undefined ? 0 : replicasOf(service.spec));
      expect(new Set(running.map((task) => task.slot)).size).toBe(running.length);
      expect(running.every((task) => task.spec.ContainerSpec.Image === 'nginx:healed')).toBe(true);
      await rests(world, 200_000);
    }),
    { seed: 20261121, numRuns: 60 },
  );
}, 60_000);
