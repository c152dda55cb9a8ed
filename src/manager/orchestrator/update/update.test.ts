import { describe, expect, test } from 'vitest';
import type { Task } from '../../../model/objects.ts';
import type { ServiceSpec, TaskSpec, UpdateConfig } from '../../../model/spec.ts';
import { TaskState } from '../../../model/task-state.ts';
import { respecced } from '../../../model/update.ts';
import { nginx, obedient, World } from '../testing/world.ts';

const ms = 1_000_000;
const quick: UpdateConfig = { Parallelism: 1, Delay: 0, Monitor: 100 * ms };
const isBad = (task: Task) => imageOf(task) === 'bad';
const imageOf = (task: Task) => task.spec.ContainerSpec.Image;

async function worldOf(nodes: number, replicas: number, spec: Partial<ServiceSpec> = {}): Promise<World> {
  const world = new World();
  for (let at = 1; at <= nodes; at++) await world.node(`n${at}`);
  await world.start();
  await world.spec('web', { UpdateConfig: quick, Mode: { Replicated: { Replicas: replicas } }, ...spec });
  await world.advance(1_000);
  return world;
}

const change = (image: string, more: Partial<TaskSpec> = {}) => ({ TaskTemplate: nginx(more, image) });
const images = (world: World) => world.running('web').map(imageOf).sort();
const statusOf = (world: World) => world.get('web')?.updateStatus;
const stateOf = (world: World) => statusOf(world)?.state;
const made = (world: World, image: string) => world.tasks('web').filter((task) => imageOf(task) === image);

/** New tasks of a bad image are refused before they run. */
function rejectBad(world: World): void {
  world.agent = (task) => (isBad(task) && task.desired < TaskState.shutdown ? TaskState.rejected : obedient(task));
}

/** They run and end at once. */
function crashBad(world: World): void {
  world.agent = (task) => {
    if (!isBad(task) || task.desired !== TaskState.running) return obedient(task);
    return task.status.state === TaskState.running ? TaskState.failed : TaskState.running;
  };
}

async function stays(world: World): Promise<void> {
  const before = world.commits;
  await world.advance(3600_000);
  expect(world.commits).toBe(before);
}

/** The most and the fewest tasks that ran while `work` went on. */
async function bounds(world: World, work: () => Promise<void>): Promise<{ least: number; most: number }> {
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  world.check = () => {
    const running = world.tasks('web').filter((task) => task.status.state === TaskState.running).length;
    least = Math.min(least, running);
    most = Math.max(most, running);
  };
  await work();
  world.check = () => {};
  return { least, most };
}

describe('rolling update', () => {
  test('U1: changes every task to the new spec and shuts every old one down', async () => {
    const world = await worldOf(3, 3);
    await world.spec('web', change('nginx:2'));
    expect(images(world)).toEqual(['nginx:2', 'nginx:2', 'nginx:2']);
    expect(made(world, 'nginx:1').map((task) => task.desired)).toEqual(Array(3).fill(TaskState.shutdown));
    expect(stateOf(world)).toBe('updating');
    await world.advance(100);
    expect(statusOf(world)).toMatchObject({ state: 'completed', message: 'update completed', completedAt: 1_001_100 });
    await stays(world);
  });

  test('U2: with parallelism 1 one task after another, with the delay in between', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, Delay: 10_000 * ms } });
    const { least } = await bounds(world, () => world.spec('web', change('nginx:2')));
    expect([least, images(world)]).toEqual([2, ['nginx:1', 'nginx:1', 'nginx:2']]);
    await world.advance(9_999);
    expect(images(world)).toEqual(['nginx:1', 'nginx:1', 'nginx:2']);
    await world.advance(1);
    expect(images(world)).toEqual(['nginx:1', 'nginx:2', 'nginx:2']);
    await world.advance(10_000);
    expect(images(world)).toEqual(['nginx:2', 'nginx:2', 'nginx:2']);
    await world.advance(100);
    expect(stateOf(world)).toBe('completed');
  });

  test('U3: the log driver of the service is carried into its tasks, before and after an update', async () => {
    const LogDriver = { Name: 'json-file', Options: { 'max-size': '1m' } };
    const world = await worldOf(2, 2, change('nginx:1', { LogDriver }));
    const carried = () => world.running('web').map((task) => [imageOf(task), task.spec.LogDriver]);
    expect(carried()).toEqual(Array(2).fill(['nginx:1', LogDriver]));
    await world.spec('web', change('nginx:2', { LogDriver }));
    expect(carried()).toEqual(Array(2).fill(['nginx:2', LogDriver]));
    await world.advance(1_000);
    await world.spec('web', change('nginx:2'));
    expect(carried()).toEqual(Array(2).fill(['nginx:2', undefined]));
  });

  test.each([
    [0, 0],
    [2, 4],
    [6, 0],
  ])('parallelism %i of six leaves at least %i running', async (Parallelism, expected) => {
    const world = await worldOf(3, 6, { UpdateConfig: { ...quick, Parallelism } });
    const { least } = await bounds(world, () => world.spec('web', change('nginx:2')));
    expect([least, new Set(images(world))]).toEqual([expected, new Set(['nginx:2'])]);
  });

  test('U4: start-first stops an old task only once its new one runs; slots stay', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, Order: 'start-first' } });
    const { least, most } = await bounds(world, () => world.spec('web', change('nginx:2')));
    expect([least, most]).toEqual([3, 4]);
    expect(images(world)).toEqual(['nginx:2', 'nginx:2', 'nginx:2']);
    expect(
      world
        .running('web')
        .map((task) => task.slot)
        .sort(),
    ).toEqual([1, 2, 3]);
  });

  test('U5: new registry credentials alone replace nothing and begin no update', async () => {
    const world = await worldOf(2, 2);
    const before = world.running('web').map(({ id }) => id);
    await world.store.transact((tx) => {
      const service = tx.get('service', 'web') ?? expect.fail();
      tx.update('service', respecced(service, { ...service.spec }, tx.now, 'e30='));
    });
    await world.advance(60_000);
    expect(world.get('web')?.registryAuth).toBe('e30=');
    expect([world.running('web').map(({ id }) => id), stateOf(world)]).toEqual([before, undefined]);
  });

  test('U6: a slot whose task was shut down gets a task of the new spec', async () => {
    const world = await worldOf(1, 2, change('nginx:1', { RestartPolicy: { Condition: 'none' } }));
    await world.report(world.tasks('web')[0]?.id ?? '', TaskState.failed);
    await world.settle();
    expect(images(world)).toEqual(['nginx:1']);
    await world.spec('web', change('nginx:2'));
    expect(images(world)).toEqual(['nginx:2', 'nginx:2']);
  });

  test('U7: another constraint replaces only tasks that stand where they may not', async () => {
    const world = await worldOf(2, 2);
    await world.node('n1', { Labels: { disk: 'ssd' } });
    const before = world.tasks('web');
    await world.spec('web', change('nginx:1', { Placement: { Constraints: ['node.labels.disk == ssd'] } }));
    await world.advance(1_000);
    expect(world.running('web').map((task) => task.nodeId)).toEqual(['n1', 'n1']);
    const kept = before.filter((task) => task.nodeId === 'n1').map((task) => task.id);
    expect(world.running('web').filter((task) => kept.includes(task.id))).toHaveLength(1);
    expect(stateOf(world)).toBe('completed');
  });

  test('an equal template replaces nothing and begins no update', async () => {
    const world = await worldOf(1, 2);
    const before = world.tasks('web').map((task) => task.id);
    await world.spec('web', { ...change('nginx:1'), Labels: { tier: 'front' } });
    await stays(world);
    expect([world.tasks('web').map((task) => task.id), stateOf(world)]).toEqual([before, undefined]);
  });

  test('a raised ForceUpdate counter replaces every task', async () => {
    const world = await worldOf(2, 3);
    const before = world.tasks('web').map((task) => task.id);
    await world.spec('web', change('nginx:1', { ForceUpdate: 1 }));
    expect(world.running('web')).toHaveLength(3);
    expect(world.running('web').filter((task) => before.includes(task.id))).toEqual([]);
  });

  test('U11: an old task that does not stop is waited for one minute', async () => {
    const world = await worldOf(1, 1);
    world.agent = (task) => (task.specVersion === 1 ? undefined : obedient(task));
    await world.spec('web', change('nginx:2'));
    await world.advance(59_999);
    expect(images(world)).toEqual([]);
    await world.advance(1);
    expect(images(world)).toEqual(['nginx:2']);
  });

  test('U15: a second update supersedes the first and covers all slots', async () => {
    const world = await worldOf(3, 3);
    world.agent = (task) =>
      imageOf(task) === 'slow' && task.desired < TaskState.shutdown ? TaskState.preparing : obedient(task);
    await world.spec('web', change('slow'));
    expect([images(world), stateOf(world)]).toEqual([['nginx:1', 'nginx:1', 'nginx:1'], 'updating']);
    const first = statusOf(world)?.startedAt;
    await world.advance(5_000);
    await world.spec('web', change('nginx:3'));
    expect(images(world)).toEqual(['nginx:3', 'nginx:3', 'nginx:3']);
    expect(made(world, 'slow')).toEqual([]);
    expect(statusOf(world)?.startedAt).toBe((first ?? 0) + 5_000);
    await world.advance(100);
    expect(stateOf(world)).toBe('completed');
  });

  test('the image is there before the first old task is stopped: a new task that is not prepared stops nothing', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, Parallelism: 0 } });
    world.agent = (task) =>
      imageOf(task) === 'slow' && task.desired < TaskState.shutdown ? TaskState.preparing : obedient(task);
    await world.spec('web', change('slow'));
    expect(made(world, 'slow').map((task) => task.status.state)).toEqual(Array(3).fill(TaskState.preparing));
    expect(images(world)).toEqual(['nginx:1', 'nginx:1', 'nginx:1']);
    world.agent = obedient;
    await world.settle();
    expect(images(world)).toEqual(['slow', 'slow', 'slow']);
  });

  test('host ports: a new task takes the place of its old one, though every node is taken', async () => {
    const EndpointSpec = { Ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] };
    const world = await worldOf(2, 2, { EndpointSpec });
    await world.spec('web', change('nginx:2'));
    await world.advance(100);
    expect([stateOf(world), images(world)]).toEqual(['completed', ['nginx:2', 'nginx:2']]);
    expect(new Set(world.running('web').map((task) => task.nodeId)).size).toBe(2);
  });

  test('scaling during a rollout keeps the rollout going', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, Delay: 10_000 * ms } });
    await world.spec('web', change('nginx:2'));
    const before = statusOf(world);
    await world.spec('web', { Mode: { Replicated: { Replicas: 5 } } });
    expect(statusOf(world)).toEqual(before);
    expect(images(world)).toEqual(['nginx:1', 'nginx:1', 'nginx:2', 'nginx:2', 'nginx:2']);
    await world.advance(20_000);
    expect(new Set(images(world))).toEqual(new Set(['nginx:2']));
    await world.spec('web', { Mode: { Replicated: { Replicas: 2 } } });
    await world.advance(100);
    expect([stateOf(world), images(world)]).toEqual(['completed', ['nginx:2', 'nginx:2']]);
    expect(world.get('web')?.previousSpec?.TaskTemplate.ContainerSpec.Image).toBe('nginx:1');
    await stays(world);
  });

  test('an old task that fails meanwhile is restarted as it was: the rollout keeps its pace', async () => {
    const world = await worldOf(3, 3, {
      ...change('nginx:1', { RestartPolicy: { Delay: 0 } }),
      UpdateConfig: { ...quick, Delay: 10_000 * ms },
    });
    await world.spec('web', change('nginx:2', { RestartPolicy: { Delay: 0 } }));
    await world.report(world.running('web').find((task) => imageOf(task) === 'nginx:1')?.id ?? '', TaskState.failed);
    await world.settle();
    expect(images(world)).toEqual(['nginx:1', 'nginx:1', 'nginx:2']);
    await world.advance(30_000);
    expect([images(world), stateOf(world)]).toEqual([['nginx:2', 'nginx:2', 'nginx:2'], 'completed']);
  });
});

describe('failures', () => {
  test('U8: paused after the first failure: one new, the others old', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, Delay: 500 * ms } });
    crashBad(world);
    await world.spec('web', change('bad', { RestartPolicy: { Condition: 'none' } }));
    const failed = made(world, 'bad');
    expect(failed.map((task) => task.status.state)).toEqual([TaskState.failed]);
    expect(statusOf(world)).toMatchObject({
      state: 'paused',
      message: `update paused due to failure or early termination of task ${failed[0]?.id}`,
    });
    expect(images(world)).toEqual(['nginx:1', 'nginx:1']);
    await stays(world);
  });

  test('U9: a paused update that is asked for again with an equal spec is tried again, and pauses again', async () => {
    const world = await worldOf(3, 3);
    rejectBad(world);
    await world.spec('web', change('bad'));
    expect(stateOf(world)).toBe('paused');
    await stays(world);
    expect(made(world, 'bad')).toHaveLength(1);
    await world.spec('web', change('bad'));
    expect([stateOf(world), made(world, 'bad').length]).toEqual(['paused', 2]);
    await world.advance(1);
    world.agent = obedient;
    await world.spec('web', {});
    await world.advance(100);
    expect([stateOf(world), images(world)]).toEqual(['completed', ['bad', 'bad', 'bad']]);
  });

  test('scaling a paused update, up and down, leaves it paused; what it goes back to is what it was', async () => {
    const world = await worldOf(3, 3);
    rejectBad(world);
    await world.spec('web', change('bad'));
    const before = statusOf(world);
    expect(before?.state).toBe('paused');
    for (const Replicas of [5, 2]) {
      await world.spec('web', { Mode: { Replicated: { Replicas } } });
      await world.advance(600_000);
      expect(statusOf(world)).toEqual(before);
      const { TaskTemplate, Mode } = world.get('web')?.previousSpec ?? expect.fail();
      expect([TaskTemplate.ContainerSpec.Image, Mode]).toEqual(['nginx:1', { Replicated: { Replicas } }]);
    }
    expect(images(world)).toEqual(['nginx:1', 'nginx:1']);
    await world.rollback('web');
    await world.advance(100);
    expect([stateOf(world), images(world)]).toEqual(['rollback_completed', ['nginx:1', 'nginx:1']]);
    await stays(world);
  });

  test('a task that can not be prepared costs nothing: the old one never stopped', async () => {
    const world = await worldOf(3, 3);
    rejectBad(world);
    const { least } = await bounds(world, async () => {
      await world.spec('web', change('bad'));
      await world.advance(600_000);
    });
    expect([least, stateOf(world)]).toEqual([3, 'paused']);
  });

  test('U10: action continue replaces all tasks in spite of failures', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, FailureAction: 'continue' } });
    crashBad(world);
    await world.spec('web', change('bad', { RestartPolicy: { Condition: 'none' } }));
    await world.advance(1_000);
    expect(made(world, 'bad')).toHaveLength(3);
    expect([stateOf(world), images(world)]).toEqual(['completed', []]);
    await stays(world);
  });

  test('action continue with an image that can not be prepared keeps trying, and the old tasks go on meanwhile', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, FailureAction: 'continue' } });
    rejectBad(world);
    await world.spec('web', change('bad'));
    await world.advance(60_000);
    expect([stateOf(world), images(world)]).toEqual(['completed', ['nginx:1', 'nginx:1', 'nginx:1']]);
    world.agent = obedient;
    await world.advance(600_000);
    expect(images(world)).toEqual(['bad', 'bad', 'bad']);
    await stays(world);
  });

  const ratio: Partial<ServiceSpec> = {
    UpdateConfig: {
      Parallelism: 1,
      Delay: 10 * ms,
      Monitor: 500 * ms,
      MaxFailureRatio: 0.4,
      FailureAction: 'rollback',
    },
    RollbackConfig: { Parallelism: 1, Delay: 10 * ms, Monitor: 500 * ms, MaxFailureRatio: 0.4 },
  };

  test('U12: rolled back once more than the tolerated share failed', async () => {
    const world = await worldOf(4, 4, ratio);
    const seen: string[] = [];
    world.agent = (task) => {
      if (!isBad(task) || task.desired !== TaskState.running) return obedient(task);
      if (!seen.includes(task.id)) seen.push(task.id);
      const fails = seen.indexOf(task.id) % 2 === 0;
      return fails && task.status.state === TaskState.running ? TaskState.failed : TaskState.running;
    };
    const states = watchStates(world);
    await world.spec('web', change('bad', { RestartPolicy: { Condition: 'none' } }));
    await world.advance(10_000);
    expect(seen).toHaveLength(3);
    expect(states).toEqual(['updating', 'rollback_started', 'rollback_completed']);
    expect(images(world)).toEqual(Array(4).fill('nginx:1'));
    expect(made(world, 'nginx:1').filter((task) => task.specVersion === 3)).toHaveLength(3);
    expect([world.get('web')?.previousSpec, statusOf(world)?.message]).toEqual([undefined, 'rollback completed']);
    await stays(world);
  });

  test.each([
    [0.4, 'rollback_completed'],
    [0.2, 'rollback_paused'],
  ])(
    'U12: a rollback has its own ratio, of the places that it takes back: with %f one of three leaves it %s',
    async (most, state) => {
      const none = { RestartPolicy: { Condition: 'none' } };
      const world = await worldOf(4, 4, {
        ...change('nginx:1', none),
        ...ratio,
        RollbackConfig: { Parallelism: 1, Delay: 10 * ms, Monitor: 500 * ms, MaxFailureRatio: most },
      });
      const dead = new Set<number>();
      world.agent = (task) => {
        const dies = isBad(task) || (task.specVersion === 3 && (dead.size === 0 || dead.has(task.slot)));
        if (!dies || task.desired !== TaskState.running) return obedient(task);
        if (!isBad(task)) dead.add(task.slot);
        return task.status.state === TaskState.running ? TaskState.failed : TaskState.running;
      };
      // Three of four are begun at once, and all fail: so many there are to take back.
      const UpdateConfig = { Parallelism: 3, Delay: 10 * ms, Monitor: 500 * ms, FailureAction: 'rollback' };
      await world.spec('web', { ...change('bad', none), UpdateConfig });
      await world.advance(10_000);
      expect([stateOf(world), dead.size]).toEqual([state, 1]);
      expect(images(world)).toHaveLength(state === 'rollback_completed' ? 3 : 1);
    },
  );

  test('the message of a rollback names the task', async () => {
    const world = await worldOf(2, 2, { UpdateConfig: { ...quick, FailureAction: 'rollback' } });
    rejectBad(world);
    const messages: (string | undefined)[] = [];
    world.check = () => messages.push(statusOf(world)?.message);
    await world.spec('web', change('bad'));
    const [failed] = made(world, 'bad');
    expect(messages).toContain(`update rolled back due to failure or early termination of task ${failed?.id}`);
  });

  test('U13: a rollback that fails is paused', async () => {
    const world = await rollbackThatFails('pause');
    expect(stateOf(world)).toBe('rollback_paused');
    expect(statusOf(world)?.message).toMatch(/^update paused due to failure or early termination of task /);
    await stays(world);
  });

  test('U14: a rollback that fails with action continue is completed', async () => {
    const world = await rollbackThatFails('continue');
    expect(stateOf(world)).toBe('rollback_completed');
  });

  test('a rollback never rolls back: action rollback pauses it', async () => {
    const world = await rollbackThatFails('rollback');
    expect(stateOf(world)).toBe('rollback_paused');
    expect(statusOf(world)?.message).toMatch(/^rollback paused due to failure or early termination of task /);
  });

  async function rollbackThatFails(FailureAction: string): Promise<World> {
    const none = { RestartPolicy: { Condition: 'none' } };
    const world = await worldOf(2, 2, {
      ...change('nginx:1', none),
      UpdateConfig: { ...quick, FailureAction: 'rollback' },
      RollbackConfig: { ...quick, FailureAction },
    });
    world.agent = (task) => {
      const dies = isBad(task) || task.specVersion === 3;
      if (!dies || task.desired !== TaskState.running) return obedient(task);
      return task.status.state === TaskState.running ? TaskState.failed : TaskState.running;
    };
    await world.spec('web', change('bad', none));
    await world.advance(10_000);
    return world;
  }

  test.each([
    [99, 'paused'],
    [101, 'completed'],
  ])('a new task that ends %i ms after it began to run leaves the update %s', async (after, state) => {
    const world = await worldOf(1, 1);
    await world.spec('web', change('nginx:2'));
    await world.advance(after);
    await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
    await world.advance(20_000);
    expect([stateOf(world), images(world)]).toEqual([state, ['nginx:2']]);
  });

  test('an exit without error within the monitor period counts, too', async () => {
    const world = await worldOf(1, 1);
    await world.spec('web', change('nginx:2'));
    await world.report(world.running('web')[0]?.id ?? '', TaskState.complete);
    await world.settle();
    expect(stateOf(world)).toBe('paused');
  });

  test('a task that crashes again and again has failed, however long it lives in between', async () => {
    const restart = { RestartPolicy: { Delay: 0 } };
    const world = await worldOf(2, 4, {
      ...change('nginx:1', restart),
      UpdateConfig: { ...quick, Delay: 3600_000 * ms },
    });
    await world.spec('web', change('nginx:2', restart));
    for (let round = 1; round <= 3; round++) {
      expect(stateOf(world)).toBe('updating');
      await world.advance(20_000);
      await world.report(world.running('web').find((task) => imageOf(task) === 'nginx:2')?.id ?? '', TaskState.failed);
      await world.settle();
    }
    expect(statusOf(world)?.message).toMatch(/^update paused due to failure .*: it ended 3 times$/);
  });

  test('a task that fails, is restarted and fails again is one failure', async () => {
    const world = await worldOf(4, 4, {
      ...change('nginx:1', { RestartPolicy: { Delay: 0 } }),
      UpdateConfig: { ...quick, MaxFailureRatio: 0.25 },
    });
    let crashes = 0;
    world.agent = (task) => {
      if (task.slot !== 1 || imageOf(task) !== 'nginx:2' || task.desired !== TaskState.running) return obedient(task);
      if (task.status.state !== TaskState.running || crashes === 3) return TaskState.running;
      crashes += 1;
      return TaskState.failed;
    };
    await world.spec('web', change('nginx:2', { RestartPolicy: { Delay: 0 } }));
    await world.advance(10_000);
    expect([crashes, stateOf(world), images(world)]).toEqual([3, 'completed', Array(4).fill('nginx:2')]);
  });
});

describe('progress deadline', () => {
  const stuck = (state: number) => (task: Task) =>
    imageOf(task) === 'stuck' && task.desired < TaskState.shutdown ? (state as never) : obedient(task);

  test.each([
    ['prepares', TaskState.preparing, 3],
    ['starts', TaskState.starting, 2],
    ['is accepted', TaskState.accepted, 3],
  ])('a task that %s for ever fails the update after ten minutes', async (_name, state, running) => {
    const world = await worldOf(3, 3);
    world.agent = stuck(state);
    await world.spec('web', change('stuck'));
    await world.advance(599_999);
    expect(stateOf(world)).toBe('updating');
    await world.advance(1);
    expect(stateOf(world)).toBe('paused');
    expect(statusOf(world)?.message).toMatch(/ of task \w+: it does not run after 600 s$/);
    expect(images(world).filter((image) => image === 'nginx:1')).toHaveLength(running === 3 ? 3 : 2);
    await stays(world);
  });

  test('one without a place, too, and the message says why', async () => {
    const world = await worldOf(1, 1, { Labels: { 'tscluster.update.progress-deadline': '90s' } });
    await world.spec('web', change('nginx:2', { Placement: { Constraints: ['node.labels.gpu == yes'] } }));
    await world.advance(90_000);
    expect(statusOf(world)?.message).toMatch(
      /it does not run after 90 s: no suitable node \(scheduling constraints not satisfied on 1 node\)$/,
    );
    expect(images(world)).toEqual(['nginx:1']);
  });

  test('with action rollback it brings the old spec back', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, FailureAction: 'rollback' } });
    world.agent = stuck(TaskState.starting);
    await world.spec('web', change('stuck'));
    await world.advance(606_000);
    expect([stateOf(world), images(world)]).toEqual(['rollback_completed', ['nginx:1', 'nginx:1', 'nginx:1']]);
  });

  test('it runs on over leaders, and a restart does not begin it anew', async () => {
    const world = await worldOf(3, 3, {
      Labels: { 'tscluster.update.progress-deadline': '60s' },
      UpdateConfig: { ...quick, MaxFailureRatio: 0.4 },
    });
    world.agent = stuck(TaskState.starting);
    await world.spec('web', change('stuck'));
    await world.advance(30_000);
    await world.stop();
    await world.start();
    await world.advance(29_999);
    expect(world.get('web')?.updateProgress?.failed).toEqual([]);
    await world.advance(1);
    expect(world.get('web')?.updateProgress?.failed).toEqual([1]);
    expect(made(world, 'stuck')).toHaveLength(2);
  });

  test('0 waits for ever', async () => {
    const world = await worldOf(1, 1, { Labels: { 'tscluster.update.progress-deadline': '0' } });
    world.agent = stuck(TaskState.preparing);
    await world.spec('web', change('stuck'));
    await world.advance(24 * 3600_000);
    expect(stateOf(world)).toBe('updating');
  });
});

describe('manual rollback', () => {
  test('goes back to the spec before, and a second one forward again', async () => {
    const world = await worldOf(3, 3, { RollbackConfig: { Parallelism: 0, Monitor: 100 * ms } });
    await world.spec('web', change('nginx:2'));
    await world.advance(100);
    const states = watchStates(world);
    await world.rollback('web');
    expect(statusOf(world)).toMatchObject({ state: 'rollback_started', message: 'manually requested rollback' });
    await world.advance(100);
    expect([states, images(world)]).toEqual([['rollback_started', 'rollback_completed'], Array(3).fill('nginx:1')]);
    await world.rollback('web');
    await world.advance(100);
    expect(images(world)).toEqual(Array(3).fill('nginx:2'));
  });

  test('in the middle of an update takes back what was begun and keeps what was not', async () => {
    const world = await worldOf(3, 3, { UpdateConfig: { ...quick, Delay: 10_000 * ms } });
    const [, second, third] = world.tasks('web');
    await world.spec('web', change('nginx:2'));
    await world.rollback('web');
    await world.advance(1_000_000);
    expect([images(world), stateOf(world)]).toEqual([Array(3).fill('nginx:1'), 'rollback_completed']);
    expect(world.running('web').map((task) => task.id)).toEqual(expect.arrayContaining([second?.id, third?.id]));
  });
});

describe('a new leader', () => {
  /** Stops and starts the leader's loops at the n-th commit of `work`, for every n that there is. */
  async function atEveryCommit(
    make: () => Promise<World>,
    work: (world: World) => Promise<void>,
    judge: (world: World, at: number) => void,
  ): Promise<number> {
    for (let at = 1; ; at++) {
      const world = await make();
      const from = world.commits;
      let changed = false;
      world.beforeSettled = async () => {
        if (changed || world.commits < from + at) return;
        changed = true;
        await world.stop();
        await world.start();
      };
      await work(world);
      world.beforeSettled = undefined;
      judge(world, at);
      await world.stop();
      expect(world.clock.timers).toBe(0);
      if (!changed) return at - 1;
    }
  }

  test('at any point of an update completes it, and nothing is replaced twice', async () => {
    const points = await atEveryCommit(
      () => worldOf(3, 3),
      async (world) => {
        await world.spec('web', change('nginx:2'));
        await world.advance(100);
      },
      (world) => {
        expect([stateOf(world), images(world)]).toEqual(['completed', Array(3).fill('nginx:2')]);
        expect(made(world, 'nginx:2')).toHaveLength(3);
      },
    );
    expect(points).toBeGreaterThan(15);
  });

  test('at any point of a start-first update in two lanes keeps the bounds', async () => {
    await atEveryCommit(
      () => worldOf(3, 4, { UpdateConfig: { ...quick, Parallelism: 2, Order: 'start-first' } }),
      async (world) => {
        const { least, most } = await bounds(world, async () => {
          await world.spec('web', change('nginx:2'));
          await world.advance(100);
        });
        expect(least).toBe(4);
        expect(most).toBeLessThanOrEqual(6);
      },
      (world) => expect([stateOf(world), images(world)]).toEqual(['completed', Array(4).fill('nginx:2')]),
    );
  });

  test('at any point of an update that fails rolls it back', async () => {
    const points = await atEveryCommit(
      () =>
        worldOf(3, 3, {
          UpdateConfig: { ...quick, MaxFailureRatio: 0.4, FailureAction: 'rollback' },
          RollbackConfig: quick,
        }),
      async (world) => {
        crashBad(world);
        await world.spec('web', change('bad', { RestartPolicy: { Delay: 1_000 * ms } }));
        await world.advance(30_000);
      },
      (world) => expect([stateOf(world), images(world)]).toEqual(['rollback_completed', Array(3).fill('nginx:1')]),
    );
    expect(points).toBeGreaterThan(15);
  });

  test('at any point of an update that pauses leaves it paused, with one new task at most', async () => {
    await atEveryCommit(
      () => worldOf(3, 3, { UpdateConfig: { ...quick, Delay: 500 * ms } }),
      async (world) => {
        crashBad(world);
        await world.spec('web', change('bad', { RestartPolicy: { Condition: 'none' } }));
        await world.advance(30_000);
      },
      (world) => {
        expect([stateOf(world), images(world)]).toEqual(['paused', ['nginx:1', 'nginx:1']]);
        expect(made(world, 'bad')).toHaveLength(1);
      },
    );
  });
});

describe('replicas per node', () => {
  const limit = (MaxReplicas: number) => ({ TaskTemplate: nginx({ Placement: { MaxReplicas } }) });
  const perNode = (world: World) =>
    ['n1', 'n2', 'n3', 'n4'].map((id) => world.running('web').filter((task) => task.nodeId === id).length);

  test('a lower limit moves only those that are too many, one at a time; a higher one or none moves nothing', async () => {
    const world = await worldOf(2, 6);
    expect(perNode(world)).toEqual([3, 3, 0, 0]);
    await world.node('n3');
    await world.node('n4');
    const before = new Set(world.running('web').map(({ id }) => id));
    const { least } = await bounds(world, () => world.spec('web', limit(2)));
    await world.advance(1_000);
    expect([stateOf(world), least]).toEqual(['completed', 5]);
    const kept = world.running('web').filter(({ id }) => before.has(id));
    expect([kept.length, world.running('web').length]).toEqual([4, 6]);
    expect(Math.max(...perNode(world))).toBe(2);
    const running = world.running('web').map(({ id }) => id);
    for (const max of [4, 0]) {
      await world.spec('web', limit(max));
      await world.advance(1_000);
      expect(world.running('web').map(({ id }) => id)).toEqual(running);
      expect(statusOf(world)).toBeUndefined();
    }
    await stays(world);
  });

  test('a new leader in the middle moves no more than the first would have', async () => {
    const world = await worldOf(2, 6, { UpdateConfig: { ...quick, Delay: 10_000 * ms } });
    await world.node('n3');
    await world.node('n4');
    const before = new Set(world.running('web').map(({ id }) => id));
    await world.spec('web', limit(2));
    await world.stop();
    await world.start();
    await world.advance(60_000);
    expect(stateOf(world)).toBe('completed');
    expect(world.running('web').filter(({ id }) => before.has(id))).toHaveLength(4);
    expect(Math.max(...perNode(world))).toBe(2);
  });

  test('where nothing else is free those that are too many go on, and the update fails in the end', async () => {
    const world = await worldOf(2, 6);
    await world.spec('web', limit(2));
    await world.advance(300_000);
    expect([stateOf(world), world.running('web').length]).toEqual(['updating', 6]);
    await world.advance(300_000);
    expect([stateOf(world), world.running('web').length]).toEqual(['paused', 6]);
    expect(statusOf(world)?.message).toContain('max replicas per node limit exceed');
  });

  test('a lower limit and another image move everything', async () => {
    const world = await worldOf(2, 4);
    await world.spec('web', change('nginx:2', { Placement: { MaxReplicas: 2 } }));
    await world.advance(1_000);
    expect([stateOf(world), images(world)]).toEqual(['completed', Array(4).fill('nginx:2')]);
  });

  const most = async (world: World, work: () => Promise<void>): Promise<number> => {
    let found = 0;
    world.check = () => {
      found = Math.max(found, ...perNode(world));
    };
    await work();
    world.check = () => {};
    return found;
  };

  test.each([
    ['holds while another node is free', 4, 1],
    ['is exceeded by one, for a moment, where none is: the update does not hang', 3, 2],
  ])('start-first: the limit %s', async (_, nodes, expected) => {
    const world = await worldOf(nodes, 3, { UpdateConfig: { ...quick, Order: 'start-first' }, ...limit(1) });
    const found = await most(world, async () => {
      await world.spec('web', change('nginx:2', { Placement: { MaxReplicas: 1 } }));
      await world.advance(10_000);
    });
    expect([stateOf(world), images(world), found]).toEqual(['completed', Array(3).fill('nginx:2'), expected]);
    expect(Math.max(...perNode(world))).toBe(1);
  });
});

describe('global services', () => {
  const global = { Mode: { Global: {} } };
  const names = (world: World) => world.running('web').map((task) => `${task.nodeId} ${imageOf(task)}`);

  async function globalWorld(): Promise<World> {
    const world = new World();
    for (const id of ['n1', 'n2', 'n3']) await world.node(id);
    await world.start();
    await world.spec('web', { ...global, UpdateConfig: quick });
    return world;
  }

  test('are updated node by node', async () => {
    const world = await globalWorld();
    const { least } = await bounds(world, () => world.spec('web', { ...global, ...change('nginx:2') }));
    await world.advance(100);
    expect([least, stateOf(world)]).toEqual([2, 'completed']);
    expect(names(world).sort()).toEqual(['n1 nginx:2', 'n2 nginx:2', 'n3 nginx:2']);
    await stays(world);
  });

  test('leave a paused node alone until it is active again', async () => {
    const world = await globalWorld();
    await world.node('n2', { Availability: 'pause' });
    await world.spec('web', { ...global, ...change('nginx:2') });
    await world.advance(100);
    expect(stateOf(world)).toBe('completed');
    expect(names(world).sort()).toEqual(['n1 nginx:2', 'n2 nginx:1', 'n3 nginx:2']);
    await world.node('n2', { Availability: 'active' });
    await world.advance(100);
    expect(names(world).sort()).toEqual(['n1 nginx:2', 'n2 nginx:2', 'n3 nginx:2']);
    await stays(world);
  });

  test('do not wait for a node that is down', async () => {
    const world = await globalWorld();
    await world.node('n3', { state: 'down' });
    await world.spec('web', { ...global, ...change('nginx:2') });
    await world.advance(100);
    expect(stateOf(world)).toBe('completed');
    await world.node('n3', { state: 'ready' });
    await world.advance(1_000);
    expect(names(world).sort()).toEqual(['n1 nginx:2', 'n2 nginx:2', 'n3 nginx:2']);
    await stays(world);
  });
});

function watchStates(world: World): string[] {
  const states: string[] = [];
  world.check = () => {
    const state = stateOf(world);
    if (state !== undefined && states.at(-1) !== state) states.push(state);
  };
  return states;
}
