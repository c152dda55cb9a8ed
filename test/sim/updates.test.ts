import { expect, test } from 'vitest';
import type { ManagerBackend } from '../../src/model/control.ts';
import type { Service } from '../../src/model/objects.ts';
import type { ServiceSpec } from '../../src/model/spec.ts';
import { TaskState } from '../../src/model/task-state.ts';
import { World } from './world.ts';

const replicas = 6;
const updateLimitMs = 120_000;
const parallelism = 2;

type Order = 'stop-first' | 'start-first';

/**
 * One service is updated; at the `at`-th write after that something goes wrong with the managers, never with the agents.
 * `hit`: it did, before the update was over.
 */
async function updated(seed: number, { order, at, fault }: Plan): Promise<{ readonly hit: boolean }> {
  const world = new World(seed);
  let hit = false;
  await world.script(async () => {
    await create(world, order);
    const base = await begin(world);
    await world.until(() => {
      checkBounds(world, order);
      const version = world.leader()?.process?.store.view.version ?? 0;
      if (!hit && version >= base + at && state(world) !== 'completed') {
        hit = true;
        fault(world);
      }
      return state(world) === 'completed' ? undefined : `the update is ${state(world)}`;
    }, updateLimitMs);
  });
  const images = [...(service(world)?.tasks ?? [])].map((task) => task.spec.ContainerSpec.Image);
  expect(images).toEqual(Array(replicas).fill('app:2'));
  return { hit };
}

interface Plan {
  readonly order: Order;
  readonly at: number;
  readonly fault: (world: World) => void;
}

function leaderOf(world: World): ManagerBackend | undefined {
  return world.leader()?.process?.manager.backend;
}

function service(world: World) {
  const view = world.leader()?.process?.store.view;
  const found = view?.serviceByName('updated');
  if (view === undefined || found === undefined) return undefined;
  const tasks = [...view.tasksOfService(found.id)].filter((task) => task.desired === TaskState.running);
  return { found, tasks };
}

function state(world: World): string {
  return service(world)?.found.updateStatus?.state ?? 'unknown';
}

async function create(world: World, Order: Order): Promise<void> {
  const spec: ServiceSpec = {
    Name: 'updated',
    Labels: {},
    TaskTemplate: { ContainerSpec: { Image: 'app:1' } },
    Mode: { Replicated: { Replicas: replicas } },
    UpdateConfig: { Parallelism: parallelism, Order, Monitor: 1_000_000_000 },
  };
  world.run(Promise.resolve(leaderOf(world)?.call('service.create', { spec })).then(() => {}));
  // As the managers see it: an update does not wait for a task that they do not know to run.
  const running = () => (service(world)?.tasks ?? []).filter(({ status }) => status.state === TaskState.running);
  await world.until(() => (running().length === replicas ? undefined : 'it does not run yet'), 60_000);
}

/** Resolves with the version at which the update was acknowledged. `read`: the version that it names, when not the newest. */
async function begin(world: World, image = 'app:2', read?: number): Promise<number> {
  let version: number | undefined;
  const old: Service | undefined = service(world)?.found;
  if (old === undefined) throw new Error('the service is not there');
  const TaskTemplate = { ContainerSpec: { Image: image } };
  const request = { id: old.id, version: read ?? old.meta.version, spec: { ...old.spec, TaskTemplate } };
  world.run(
    Promise.resolve(leaderOf(world)?.call('service.update', request)).then(() => {
      version = service(world)?.found.meta.version;
    }),
  );
  await world.until(() => (version === undefined ? 'the update is not taken' : undefined), 30_000);
  return version ?? 0;
}

/** Ids of the service's tasks whose containers run. */
function containers(world: World): readonly string[] {
  const view = world.leader()?.process?.store.view;
  return world.agents
    .flatMap(({ executor }) => [...executor.running()])
    .filter((id) => view?.get('task', id)?.serviceName === 'updated');
}

/** What runs and is meant to go on is never more than wanted and surge; what runs is never less than wanted without the lanes. */
function checkBounds(world: World, order: Order): void {
  const view = world.leader()?.process?.store.view;
  if (view === undefined) return;
  const running = containers(world);
  const wanted = running.filter((id) => view.get('task', id)?.desired === TaskState.running);
  const [least, most] =
    order === 'start-first' ? [replicas, replicas + parallelism] : [replicas - parallelism, replicas];
  if (running.length < least) world.fail(`only ${running.length} of ${replicas} run during the update`);
  if (wanted.length > most) world.fail(`${wanted.length} of ${replicas} run during the update`);
}

function crashLeader(world: World): void {
  const leader = world.leader();
  leader?.crash();
  world.clock.timer(5_000, () => leader !== undefined && world.run(leader.start()));
}

function isolateLeader(world: World): void {
  const leader = world.leader();
  for (const { name } of world.managers)
    if (leader !== undefined && name !== leader.name) world.network.split(leader.name, name);
  world.clock.timer(8_000, () => world.network.healAll());
}

/** Writes that the whole update takes at the least. */
const writes: Readonly<Record<Order, number>> = { 'stop-first': 50, 'start-first': 34 };
const strikes = 12;

/** From the first write to the last, evenly. */
function pointsOf(order: Order): readonly number[] {
  return Array.from({ length: strikes }, (_, at) => 1 + Math.round((at * (writes[order] - 1)) / (strikes - 1)));
}

test.each<[string, Order, (world: World) => void]>([
  ['the leader loses power, stop-first', 'stop-first', crashLeader],
  ['the leader loses power, start-first', 'start-first', crashLeader],
  ['the leader is cut off from the other managers', 'stop-first', isolateLeader],
])('an update completes, within its bounds, when at each of twelve points of it %s', async (_name, order, fault) => {
  const points = pointsOf(order);
  const struck: number[] = [];
  for (const at of points) if ((await updated(at, { order, at, fault })).hit) struck.push(at);
  expect(struck).toEqual(points);
});

test('updates one right after the other: each names a version that was read before the rollout wrote its steps', async () => {
  const world = new World(7);
  let names = 0;
  await world.script(async () => {
    await create(world, 'stop-first');
    let read = await begin(world);
    for (const image of ['app:3', 'app:4']) {
      const stands = () => service(world)?.found.meta.version ?? 0;
      await world.until(() => (stands() > read ? undefined : 'the update has written nothing'), 30_000);
      if (state(world) === 'updating') names += 1;
      read = await begin(world, image, read);
    }
    await world.until(() => {
      checkBounds(world, 'stop-first');
      return state(world) === 'completed' ? undefined : `the update is ${state(world)}`;
    }, updateLimitMs);
  });
  expect(names).toBe(2);
  const images = [...(service(world)?.tasks ?? [])].map((task) => task.spec.ContainerSpec.Image);
  expect(images).toEqual(Array(replicas).fill('app:4'));
});
