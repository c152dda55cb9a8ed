/** That what the allocator gave comes back: told by networks so small that a leak of one address stops everything. */
import { expect, test } from 'vitest';
import type { ControlMethod, ControlRequest, ControlResponse } from '../../src/model/control.ts';
import { TaskState } from '../../src/model/task-state.ts';
import { World } from './world.ts';

/** Of the eight addresses of its subnet the network, its gateway and the broadcast have one each; and the service has one. */
const replicas = 4;
const restMs = 61_000;

function call<M extends ControlMethod>(
  world: World,
  method: M,
  request: ControlRequest<M>,
): Promise<ControlResponse<M>> {
  const backend = world.leader()?.process?.manager.backend;
  return backend === undefined ? Promise.reject(new Error('nobody leads')) : backend.call(method, request);
}

async function done<T>(world: World, work: Promise<T>): Promise<T> {
  const outcome: { value?: T; error?: unknown } = {};
  work.then(
    (value) => void Object.assign(outcome, { value }),
    (error: unknown) => void Object.assign(outcome, { error }),
  );
  await world.until(() => (Object.keys(outcome).length > 0 ? undefined : 'no answer'), 20_000);
  if ('error' in outcome) throw outcome.error;
  return outcome.value as T;
}

async function fill(world: World, round: number, networkId: string): Promise<string> {
  const spec = {
    Name: `full-${round}`,
    Labels: {},
    TaskTemplate: { ContainerSpec: { Image: 'app:1' }, Networks: [{ Target: networkId }] },
    Mode: { Replicated: { Replicas: replicas } },
    EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 7_000 }] },
  };
  const { id } = await done(world, call(world, 'service.create', { spec }));
  const running = () =>
    [...(world.leader()?.process?.store.view.tasksOfService(id) ?? [])].filter(
      ({ status, desired }) => status.state === TaskState.running && desired === TaskState.running,
    ).length;
  await world.until(() => (running() === replicas ? undefined : `${running()} of ${replicas} run`), 40_000);
  return id;
}

test.each([1, 2, 3, 4])(
  'a network that is full can be filled again and again, also after changes of leader, and leaves nothing (seed %i)',
  async (seed) => {
    const world = new World(seed);
    await world.setUp();
    const spec = { Name: 'tiny', Labels: {}, Driver: 'overlay', IPAM: { Config: [{ Subnet: '10.200.0.0/29' }] } };
    const { id: networkId } = await done(world, call(world, 'network.create', { spec }));
    for (let round = 0; round < 3; round++) {
      const id = await fill(world, round, networkId);
      if ((seed + round) % 2 === 0) await changeLeader(world);
      await done(world, call(world, 'service.remove', { id }));
      await world.pass(5_000); // its tasks stop
      if ((seed + round) % 3 === 0) await changeLeader(world);
      await world.pass(restMs);
    }
    await clear(world);
    const view = world.leader()?.process?.store.view;
    expect([...(view?.list('task') ?? [])]).toEqual([]);
    expect([...(view?.list('network') ?? [])]).toEqual([]);
    for (const { executor } of world.agents) {
      const { networks, endpoints, services, peers } = executor.networks?.state ?? {};
      expect([networks?.size, endpoints?.size, services?.size]).toEqual([0, 0, 0]);
      expect(peers?.size).toBe(
        world.agents.length - 1 + world.managers.filter(({ name }) => hasPlace(world, name)).length,
      );
      expect(executor.networks?.attached.size).toBe(0);
    }
    // The places of the nodes: a subnet each, and an address.
    expect(world.checkers.addressesHeld).toBe(
      2 * [...(view?.list('node') ?? [])].filter(({ network }) => network).length,
    );
  },
);

/** A manager without an agent is reached by nobody: it has a place, and no address. */
function hasPlace(world: World, name: string): boolean {
  const node = world.leader()?.process?.store.view.get('node', name);
  return node?.network !== undefined && node.status.addr !== '';
}

async function changeLeader(world: World): Promise<void> {
  const leader = world.leader();
  if (leader === undefined) throw new Error('nobody leads');
  leader.crash();
  await world.until(() => (world.leader() === undefined ? 'nobody leads' : undefined), 20_000);
  world.run(leader.start());
  await world.until(() => (world.calm ? undefined : 'not all is well'), 20_000);
}

async function clear(world: World): Promise<void> {
  for (const { id } of [...(world.leader()?.process?.store.view.list('service') ?? [])])
    await done(world, call(world, 'service.remove', { id }));
  await world.pass(10_000);
  for (const { id } of [...(world.leader()?.process?.store.view.list('network') ?? [])])
    await done(world, call(world, 'network.remove', { id }));
  await world.pass(restMs);
}
