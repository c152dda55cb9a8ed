/** Stories with a plot of their own, each under several seeds: what the random faults would meet too seldom, or not survive. */
import { describe, expect, test } from 'vitest';
import { TaskState } from '../../src/model/task-state.ts';
import { World } from './world.ts';

const seeds = [1, 2, 3, 4, 5, 6, 7, 8];

function agentWithTasks(world: World) {
  const agent = world.agents.find(({ executor }) => executor.running().length > 0);
  if (agent === undefined) throw new Error('nothing runs anywhere');
  return agent;
}

describe('a node that was removed by force while nobody could reach it', () => {
  test.each(seeds)('stops and removes everything once it hears of it, for good and quietly (seed %i)', async (seed) => {
    const world = new World(seed);
    await world.setUp();
    const agent = agentWithTasks(world);
    world.network.cut(agent.name);
    await world.pass(5_000);
    let removed = false;
    world.run(world.client.removeNode(agent.name).then(() => void (removed = true)));
    await world.until(() => (removed ? undefined : 'not removed'), 20_000);
    expect(agent.executor.running().length).toBeGreaterThan(0); // it can not know yet
    if (seed % 4 === 1) world.leader()?.crash();
    world.network.heal(agent.name);
    if (seed % 2 === 0) {
      await world.until(() => (agent.removed ? undefined : 'it has not heard'), 20_000);
      if (seed % 4 === 0) agent.powerOff();
      else agent.crash(); // in the middle of it
      await world.pass(1_000);
      agent.start();
    }
    await world.until(() => (agent.executor.running().length === 0 ? undefined : 'containers go on'), 20_000);
    await world.pass(5_000);
    expect(await agent.executor.existing()).toEqual([]);
    expect(agent.connected).toBe(false);
    const { attempts } = agent;
    agent.crash();
    agent.start();
    await world.pass(60_000);
    expect(agent.attempts).toBe(attempts); // also after a restart
    for (const manager of world.managers) world.run(manager.start());
    await world.until(() => world.wrongService(), 60_000);
  });

  test.each(seeds)('goes on when all managers are merely away (seed %i)', async (seed) => {
    const world = new World(seed);
    await world.setUp();
    const agent = agentWithTasks(world);
    const running = agent.executor.running();
    for (const manager of world.managers) manager.crash();
    await world.pass(20_000);
    for (const manager of world.managers) world.run(manager.start());
    await world.until(() => (agent.connected ? undefined : 'not connected'), 40_000);
    expect(agent.removed).toBe(false);
    expect(agent.executor.running()).toEqual(running);
  });
});

describe('managers of which two were killed', () => {
  test.each(seeds)('F25: are a majority with one of them back, and no container is touched (seed %i)', async (seed) => {
    const world = new World(seed);
    await world.setUp();
    const containers = () =>
      world.agents.map(({ executor }) => executor.running().map((id) => [id, executor.starts(id)]));
    const before = containers();
    const [one, other] = world.managers.filter((_, at) => at !== seed % 3);
    one?.crash();
    other?.crash();
    await world.pass(15_000);
    expect([world.leader(), containers()]).toEqual([undefined, before]);
    if (one !== undefined) world.run(one.start());
    const apart = () => world.agents.some(({ connected }) => !connected);
    await world.until(() => (apart() ? 'an agent is not connected' : world.wrongService()), 60_000);
    await world.pass(10_000);
    expect(containers()).toEqual(before);
    if (other !== undefined) world.run(other.start());
    await world.until(() => world.unfinished(), 60_000);
    world.checkers.final();
    expect(containers()).toEqual(before);
  });
});

describe('a leader that is demoted while it runs', () => {
  test.each(seeds)('F21: hands over, and promoted again it is a member as the same node (seed %i)', async (seed) => {
    const world = new World(seed);
    await world.setUp();
    const leader = world.leader();
    if (leader === undefined) throw new Error('nobody leads');
    const before = leader.raftId ?? 0;
    const known = () => world.leader()?.process?.store.view.get('node', leader.name);
    world.run(world.client.wishRole(leader.name, 'worker'));
    await world.until(() => (known()?.role === 'worker' ? undefined : 'not demoted'), 40_000);
    expect(world.leader()).not.toBe(leader);
    expect(world.leader()?.process?.raft.status().conf.voters).toHaveLength(2);
    world.run(world.client.wishRole(leader.name, 'manager'));
    await world.until(() => (known()?.role === 'manager' ? undefined : 'not promoted'), 40_000);
    await world.until(() => world.unfinished(), 60_000);
    expect(leader.raftId).toBeGreaterThan(before);
    expect(known()?.manager?.raftId).toBe(leader.raftId);
    world.checkers.final();
  });
});

describe('a manager that was demoted and promoted again while it was down', () => {
  test.each(seeds)('F22: comes back as a member of a new id, with everything, and can lead (seed %i)', async (seed) => {
    const world = new World(seed);
    await world.setUp();
    const [manager] = world.managers.filter((host) => (seed % 2 === 0) === (host === world.leader()));
    if (manager === undefined) throw new Error('no such manager');
    const before = manager.raftId ?? 0;
    manager.crash();
    const others = world.managers.filter((host) => host !== manager);
    const known = () => world.leader()?.process?.store.view.get('node', manager.name);
    world.run(world.client.wishRole(manager.name, 'worker'));
    await world.until(() => (known()?.role === 'worker' ? undefined : 'not demoted'), 40_000);
    expect(world.leader()?.process?.raft.status().conf.voters).toHaveLength(2);
    world.run(world.client.wishRole(manager.name, 'manager'));
    await world.until(() => (known()?.role === 'manager' ? undefined : 'not promoted'), 40_000);
    world.run(manager.start());
    await world.until(() => world.unfinished(), 60_000);
    expect(manager.raftId).toBeGreaterThan(before);
    world.checkers.final();
    await world.pass(2_000); // until all know that it votes
    // It counts: one of the others may go now.
    const gone = others[seed % others.length];
    gone?.crash();
    await world.until(() => (world.leader() === undefined ? 'nobody leads' : undefined), 20_000);
    const view = world.leader()?.process?.store.view;
    expect([...(view?.list('task') ?? [])].some((task) => task.status.state === TaskState.running)).toBe(true);
  });
});
