/** What a dry run says, beside what reconciler, updater and scheduler then do. */
import { describe, expect, test } from 'vitest';
import { nginx, obedient, World } from '../manager/orchestrator/testing/world.ts';
import type { Forecast } from '../model/explain.ts';
import type { NodeSpec, ServiceSpec, TaskSpec, UpdateConfig } from '../model/spec.ts';
import { TaskState } from '../model/task-state.ts';
import { forecast } from './forecast.ts';

async function worldOf(...nodes: readonly Partial<NodeSpec>[]): Promise<World> {
  const world = new World();
  for (const [at, spec] of nodes.entries()) await world.node(`n${at + 1}`, spec);
  await world.start();
  return world;
}

const cpus = (count: number) => ({ Resources: { Reservations: { NanoCPUs: count * 1e9 } } });
const again = (change: Partial<TaskSpec> = {}) => nginx(change, 'nginx:2');
const updates = (Order: 'stop-first' | 'start-first', Parallelism = 1): { UpdateConfig: UpdateConfig } => ({
  UpdateConfig: { Parallelism, Order, Monitor: 1 },
});

interface Outcome {
  readonly told: Forecast;
  /** Task → node as foretold, and as it came to be. */
  readonly foretold: Readonly<Record<string, string>>;
  readonly real: Readonly<Record<string, string>>;
  readonly stayed: number;
}

/** Foretells the change of `web`, makes it, and waits for its end. */
async function compare(world: World, change: Partial<ServiceSpec>): Promise<Outcome> {
  const service = world.get('web');
  if (service === undefined) throw new Error('no service');
  const before = new Set(world.running('web').map((task) => task.id));
  const told = forecast(world.store.view, { spec: { ...service.spec, ...change }, service, now: world.clock.time });
  await world.spec('web', change);
  await world.advance(120_000);
  const made = world.running('web').filter((task) => !before.has(task.id));
  const name = (task: (typeof made)[number]) => `web.${task.pinned === true ? task.nodeId : task.slot}`;
  return {
    told,
    foretold: Object.fromEntries(told.Created.map((place) => [place.Name, place.Hostname])),
    real: Object.fromEntries(made.map((task) => [name(task), task.nodeId])),
    stayed: world.running('web').length - made.length,
  };
}

describe('forecast of an update', () => {
  test('start-first: the old task is still there when the new one looks for a node, so it finds none', async () => {
    const world = await worldOf({});
    await world.spec('web', { TaskTemplate: nginx(cpus(3)), ...updates('start-first') });
    const { told, real, stayed } = await compare(world, { TaskTemplate: again(cpus(3)) });
    const err = 'no suitable node (insufficient resources on 1 node)';
    expect(told.Created).toMatchObject([
      { Name: 'web.1', NodeID: '', Err: err, Nodes: [{ Reason: 'not enough left: CPUs 3 wanted, 1 of 4 free' }] },
    ]);
    expect([real, stayed]).toEqual([{}, 1]);
    const [task] = world.tasks('web').filter(({ status }) => status.state === TaskState.pending);
    expect(task?.status.err).toBe(err);
  });

  test('stop-first: the same takes the place of the old one', async () => {
    const world = await worldOf({});
    await world.spec('web', { TaskTemplate: nginx(cpus(3)), ...updates('stop-first') });
    const { foretold, real } = await compare(world, { TaskTemplate: again(cpus(3)) });
    expect(foretold).toEqual({ 'web.1': 'n1' });
    expect(real).toEqual(foretold);
  });

  test('start-first, with room for one more: all are replaced one by one, not two at a time', async () => {
    for (const [parallelism, errs] of [
      [1, 0],
      [2, 1],
    ] as const) {
      const world = await worldOf({}, {});
      await world.service('other', 1, nginx(cpus(2)));
      await world.spec('web', {
        TaskTemplate: nginx(cpus(2)),
        Mode: { Replicated: { Replicas: 2 } },
        ...updates('start-first', parallelism),
      });
      const { told, foretold, real } = await compare(world, { TaskTemplate: again(cpus(2)) });
      expect(told.Created.filter(({ Err }) => Err !== '')).toHaveLength(errs);
      if (errs === 0) expect(real).toEqual(foretold);
    }
  });

  const orders = ['stop-first', 'start-first'] as const;
  const cases = orders.flatMap((order) => [1, 2, 0].map((parallelism) => ({ order, parallelism })));
  test.each(cases)('$order, $parallelism at a time: each task comes where it was foretold', async (one) => {
    const world = await worldOf({}, {}, { Labels: { disk: 'ssd' } }, { Labels: { disk: 'ssd' } });
    await world.service('other', 3, nginx(cpus(1)));
    const { order, parallelism } = one;
    const Mode = { Replicated: { Replicas: 6 } };
    await world.spec('web', { TaskTemplate: nginx(cpus(0.5)), Mode, ...updates(order, parallelism) });
    const image = await compare(world, { TaskTemplate: again(cpus(0.5)) });
    expect(image.real).toEqual(image.foretold);
    expect(image.told).toMatchObject({ Kept: 0, Replaced: 6, Removed: 0 });
    const Placement = { Constraints: ['node.labels.disk==ssd'] };
    const narrowed = await compare(world, { TaskTemplate: again({ ...cpus(0.5), Placement }) });
    expect(narrowed.real).toEqual(narrowed.foretold);
    expect(narrowed.stayed).toBe(narrowed.told.Kept);
    expect(narrowed.told.Kept).toBeGreaterThan(0);
    const more = await compare(world, { Mode: { Replicated: { Replicas: 9 } } });
    expect(more.real).toEqual(more.foretold);
    expect([more.told.Kept, more.stayed]).toEqual([6, 6]);
  });

  test('fewer replicas: those that the reconciler keeps are replaced, not those of the lowest numbers', async () => {
    const world = await worldOf({}, { Availability: 'pause' });
    await world.service('web', 3);
    await world.node('n2', { Availability: 'active' });
    await world.service('web', 4);
    const nodes = world.running('web').map((task) => task.nodeId);
    expect(nodes).toEqual(['n1', 'n1', 'n1', 'n2']);
    const { told, foretold, real } = await compare(world, {
      Mode: { Replicated: { Replicas: 2 } },
      TaskTemplate: again(),
    });
    expect(Object.keys(foretold).sort()).toEqual(['web.1', 'web.4']);
    expect(told).toMatchObject({ Kept: 0, Replaced: 2, Removed: 2 });
    expect(real).toEqual(foretold);
  });

  test('fewer replicas: a task that waits goes before one of a higher number that runs', async () => {
    const world = await worldOf({});
    await world.service('web', 3);
    const first = world.running('web').find((task) => task.slot === 1);
    world.agent = (task) => (task.slot === 1 ? undefined : obedient(task));
    await world.report(first?.id ?? '', TaskState.failed);
    await world.advance(10_000);
    const { told, foretold, real } = await compare(world, {
      Mode: { Replicated: { Replicas: 2 } },
      TaskTemplate: again(),
    });
    expect(Object.keys(foretold).sort()).toEqual(['web.2', 'web.3']);
    expect(real).toEqual(foretold);
    expect(told.Removed).toBe(1);
  });

  test('a place that the restart policy gave up counts as taken: it is made anew only for a new spec', async () => {
    const world = await worldOf({}, {});
    const once = { RestartPolicy: { Condition: 'none' } } as const;
    await world.service('web', 3, nginx(once));
    const second = world.running('web').find((task) => task.slot === 2);
    await world.report(second?.id ?? '', TaskState.failed);
    await world.settle();
    const more = await compare(world, { Mode: { Replicated: { Replicas: 4 } } });
    expect(more.foretold).toEqual({ 'web.4': expect.any(String) });
    expect(more.real).toEqual(more.foretold);
    const anew = await compare(world, { TaskTemplate: again(once) });
    expect(Object.keys(anew.foretold).sort()).toEqual(['web.1', 'web.2', 'web.3', 'web.4']);
    expect(anew.real).toEqual(anew.foretold);
    expect(anew.told).toMatchObject({ Kept: 0, Replaced: 3, Removed: 0 });
  });

  test('a global service: nodes that fit no more, that fit now, and that stay', async () => {
    const world = await worldOf({ Labels: { a: '1' } }, { Labels: { a: '1', b: '1' } }, { Labels: { b: '1' } });
    const on = (label: string) => ({ Placement: { Constraints: [`node.labels.${label}==1`] } });
    await world.spec('web', { Mode: { Global: {} }, TaskTemplate: nginx(on('a')), ...updates('stop-first') });
    const moved = await compare(world, { TaskTemplate: nginx(on('b')) });
    expect(moved.real).toEqual(moved.foretold);
    expect([moved.told.Kept, moved.told.Removed, moved.stayed]).toEqual([1, 1, 1]);
    const image = await compare(world, { TaskTemplate: again({ ...on('b'), ...cpus(3) }) });
    expect(image.real).toEqual({ 'web.n2': 'n2', 'web.n3': 'n3' });
    expect(image.real).toEqual(image.foretold);
  });

  test('of many replacements those that find no node are among those shown', async () => {
    const world = await worldOf({});
    await world.service('web', 1);
    const service = world.get('web');
    const spec = {
      ...{ Name: 'web', Labels: {} },
      TaskTemplate: nginx({ Placement: { MaxReplicas: 250 } }),
      Mode: { Replicated: { Replicas: 252 } },
    };
    const told = forecast(world.store.view, { spec, now: 0, ...(service === undefined ? {} : { service }) });
    expect([told.Created.length, told.More]).toEqual([200, 51]);
    expect(told.Created.filter(({ Err }) => Err !== '')).toHaveLength(2);
  });
});
