import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Task } from '../../model/objects.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import { placeOf } from './place.ts';
import { act, nginx, rests, World } from './testing/world.ts';

const nodeIds = ['n1', 'n2', 'n3'];
const total = 5;
const atOnce = 2;
const node = fc.constantFrom(...nodeIds);
const service = fc.constantFrom('web', 'each', 'job', 'eachjob');

const event = fc.oneof(
  node.map((id) => act(`${id} down`, (world) => world.node(id, { state: 'down' }))),
  node.map((id) => act(`${id} unknown`, (world) => world.node(id, { state: 'unknown' }))),
  node.map((id) => act(`${id} ready`, (world) => world.node(id, { state: 'ready', Availability: 'active' }))),
  node.map((id) => act(`${id} drain`, (world) => world.node(id, { Availability: 'drain' }))),
  node.map((id) => act(`${id} pause`, (world) => world.node(id, { Availability: 'pause' }))),
  node.map((id) => act(`${id} unlabelled`, (world) => world.node(id, { Labels: {} }))),
  node.map((id) => act(`${id} labelled`, (world) => world.node(id, { Labels: { fit: '1' } }))),
  fc
    .tuple(service, fc.nat(9))
    .map(([id, at]) => act(`${id} fail ${at}`, (world) => end(world, id, at, TaskState.failed))),
  fc
    .tuple(service, fc.nat(9))
    .map(([id, at]) => act(`${id} done ${at}`, (world) => end(world, id, at, TaskState.complete))),
  service.map((id) => act(`${id} changed`, (world) => change(world, id))),
  fc.integer({ min: 0, max: 8000 }).map((ms) => act(`wait ${ms}`, (world) => world.advance(ms))),
  fc.constant(
    act('new leader', async (world) => {
      await world.stop();
      await world.start();
    }),
  ),
);

const template = (image: string) =>
  nginx({ RestartPolicy: { Delay: 1e9 }, Placement: { Constraints: ['node.labels.fit==1'] } }, image);

async function change(world: World, id: string): Promise<void> {
  await world.spec(id, { TaskTemplate: template(`nginx:${world.commits}`) });
}

async function end(world: World, id: string, at: number, state: Task['status']['state']): Promise<void> {
  const running = live(world, id).filter((task) => task.status.state === TaskState.running && isUp(world, task));
  const task = running[at % Math.max(1, running.length)];
  if (task !== undefined) await world.report(task.id, state);
  await world.settle();
}

const isUp = (world: World, task: Task) => world.store.view.get('node', task.nodeId)?.status.state === 'ready';

/** Wanted, not ended, and not on a node that is down. */
function live(world: World, id: string): readonly Task[] {
  return world
    .tasks(id)
    .filter(
      (task) =>
        task.desired <= TaskState.complete &&
        !isTerminal(task.status.state) &&
        world.store.view.get('node', task.nodeId)?.status.state !== 'down',
    );
}

/** One task for each place; a second one only while it takes over from the first. Jobs: so many slots, never one that is done. */
function assertSafe(world: World): void {
  for (const id of ['web', 'each', 'job', 'eachjob']) {
    const own = live(world, id);
    const places = own.filter((task) => !own.some((old) => task.handover !== undefined && old.id === task.replaces));
    expect(new Set(places.map(placeOf)).size, `${id} has a place with two tasks`).toBe(places.length);
  }
  const iteration = world.get('job')?.jobStatus?.iteration;
  const current = world.tasks('job').filter((task) => task.jobIteration === iteration);
  const done = new Set(current.filter((task) => task.status.state === TaskState.complete).map((task) => task.slot));
  const busy = live(world, 'job').filter((task) => task.jobIteration === iteration);
  expect(busy.length, 'too many tasks of the job').toBeLessThanOrEqual(atOnce);
  expect(
    busy.some((task) => done.has(task.slot)),
    'a slot that is done goes on',
  ).toBe(false);
  expect(Math.max(0, ...current.map((task) => task.slot))).toBeLessThan(total);
}

async function heal(world: World): Promise<void> {
  for (const id of nodeIds) await world.node(id, { state: 'ready', Availability: 'active', Labels: { fit: '1' } });
  await world.advance(700_000);
  for (let round = 0; round < 2 * total; round++) {
    for (const id of ['job', 'eachjob']) {
      for (const task of live(world, id)) await world.report(task.id, TaskState.complete);
    }
    await world.advance(1_000);
  }
}

test('all modes: one task per place, convergence after healing, then no action, whoever leads', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 40 }), async (events) => {
      const world = new World();
      for (const id of nodeIds) await world.node(id, { Labels: { fit: '1' } });
      await world.start();
      const first = template('nginx:1');
      await world.spec('web', { TaskTemplate: first, Mode: { Replicated: { Replicas: 4 } } });
      await world.spec('each', { TaskTemplate: first, Mode: { Global: {} } });
      const sizes = { MaxConcurrent: atOnce, TotalCompletions: total };
      await world.spec('job', { TaskTemplate: first, Mode: { ReplicatedJob: sizes } });
      await world.spec('eachjob', { TaskTemplate: first, Mode: { GlobalJob: {} } });
      for (const { run } of events) {
        await run(world);
        assertSafe(world);
      }
      await heal(world);
      const image = (id: string) => world.get(id)?.spec.TaskTemplate.ContainerSpec.Image;
      expect(
        world
          .running('web')
          .map((task) => task.slot)
          .sort(),
      ).toEqual([1, 2, 3, 4]);
      expect(
        world
          .running('each')
          .map((task) => task.nodeId)
          .sort(),
      ).toEqual(nodeIds);
      for (const id of ['web', 'each']) {
        if (world.get(id)?.updateStatus?.state === 'paused') continue;
        expect(world.running(id).every((task) => task.spec.ContainerSpec.Image === image(id))).toBe(true);
      }
      const done = (id: string) =>
        new Set(
          world
            .tasks(id)
            .filter((task) => task.status.state === TaskState.complete)
            .map(placeOf),
        );
      expect(done('job').size).toBe(total);
      expect([...done('eachjob')].sort()).toEqual(nodeIds);
      await rests(world, 700_000);
    }),
    { seed: 20261121, numRuns: 60 },
  );
}, 120_000);
