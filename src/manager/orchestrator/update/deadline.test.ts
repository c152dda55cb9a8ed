/** The progress deadline, where an update lasts longer than that. */
import { describe, expect, test } from 'vitest';
import type { Task } from '../../../model/objects.ts';
import type { ServiceSpec, TaskSpec } from '../../../model/spec.ts';
import { TaskState } from '../../../model/task-state.ts';
import { nginx, obedient, World } from '../testing/world.ts';

const ms = 1_000_000;
const minute = 60_000;
const imageOf = (task: Task) => task.spec.ContainerSpec.Image;
const change = (image: string, more: Partial<TaskSpec> = {}) => ({ TaskTemplate: nginx(more, image) });
const stateOf = (world: World) => world.get('web')?.updateStatus?.state;
/** Of tasks on nodes that are there. */
const images = (world: World) => {
  const isHere = ({ nodeId }: Task) => world.store.view.get('node', nodeId)?.status.state === 'ready';
  return world.running('web').filter(isHere).map(imageOf).sort();
};

async function worldOf(nodes: number, replicas: number, spec: Partial<ServiceSpec>): Promise<World> {
  const world = new World();
  for (let at = 1; at <= nodes; at++) await world.node(`n${at}`);
  await world.start();
  await world.spec('web', { Mode: { Replicated: { Replicas: replicas } }, ...spec });
  await world.advance(1_000);
  return world;
}

describe('a place that is up to date, in minute 15 of an update that has more to do', () => {
  const slow: Partial<ServiceSpec> = {
    ...change('nginx:1'),
    UpdateConfig: { Parallelism: 1, Delay: 2 * minute * ms, Monitor: 100 * ms, FailureAction: 'rollback' },
  };

  async function inMinute15(): Promise<{ readonly world: World; readonly first: Task }> {
    const world = await worldOf(3, 10, slow);
    await world.spec('web', change('nginx:2'));
    const [first] = world.running('web').filter((task) => imageOf(task) === 'nginx:2');
    await world.advance(15 * minute);
    return { world, first: first ?? expect.fail() };
  }

  test.each<[string, (world: World, first: Task) => Promise<void>]>([
    ['dies', (world, first) => world.node(first.nodeId, { state: 'down' })],
    ['is drained', (world, first) => world.node(first.nodeId, { Availability: 'drain' })],
    ['is removed', (world, first) => world.removeNode(first.nodeId)],
  ])('has time anew when its node %s', async (_name, happens) => {
    const { world, first } = await inMinute15();
    expect([stateOf(world), images(world).filter((image) => image === 'nginx:2').length]).toEqual(['updating', 8]);
    const stuck = new Set<string>();
    world.agent = (task) => {
      if (task.updateBegunAt !== undefined && task.status.state < TaskState.starting) stuck.add(task.id);
      return stuck.has(task.id) && task.desired < TaskState.shutdown ? TaskState.starting : obedient(task);
    };
    await happens(world, first);
    await world.advance(minute);
    expect(stateOf(world)).toBe('updating');
    stuck.clear();
    world.agent = obedient;
    await world.advance(10 * minute);
    expect([stateOf(world), images(world)]).toEqual(['completed', Array(10).fill('nginx:2')]);
  });

  test('has time anew when its container ends once', async () => {
    const { world, first } = await inMinute15();
    await world.report(first.id, TaskState.failed);
    await world.advance(10 * minute);
    expect([stateOf(world), images(world)]).toEqual(['completed', Array(10).fill('nginx:2')]);
  });

  test('has no more than that time: a successor that does not run fails the update', async () => {
    const { world, first } = await inMinute15();
    world.agent = (task) => (task.slot === first.slot && task.id !== first.id ? undefined : obedient(task));
    await world.report(first.id, TaskState.failed);
    await world.advance(10 * minute);
    expect(stateOf(world)).toBe('rollback_started');
    expect(world.get('web')?.updateStatus?.message).toMatch(/: it does not run after 600 s$/);
  });

  test('has failed when its container ends three times', async () => {
    const { world, first } = await inMinute15();
    for (let round = 1; round <= 3; round++) {
      expect(stateOf(world)).toBe('updating');
      const task = world.running('web').find(({ slot }) => slot === first.slot);
      await world.report(task?.id ?? '', TaskState.failed);
      await world.advance(20_000);
    }
    expect(stateOf(world)).toMatch(/^rollback_/);
  });
});

test('an update that the deadline paused goes on when the service is updated without a change', async () => {
  const world = await worldOf(2, 2, { UpdateConfig: { Parallelism: 1, Monitor: 100 * ms } });
  world.agent = (task) =>
    imageOf(task) === 'slow' && task.desired < TaskState.shutdown ? TaskState.starting : obedient(task);
  await world.spec('web', change('slow'));
  await world.advance(10 * minute);
  expect(stateOf(world)).toBe('paused');
  await world.advance(minute);
  await world.spec('web', {});
  expect(stateOf(world)).toBe('updating');
  await world.advance(10 * minute - 1);
  expect(stateOf(world)).toBe('updating');
  world.agent = obedient;
  await world.advance(minute);
  expect([stateOf(world), images(world)]).toEqual(['completed', ['slow', 'slow']]);
});
