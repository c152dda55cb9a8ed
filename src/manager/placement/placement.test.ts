import { describe, expect, test, vi } from 'vitest';
import { TaskState } from '../../model/task-state.ts';
import { NodeInfo } from '../../scheduler/index.ts';
import { nginx, World } from '../orchestrator/testing/world.ts';

const memory = (MemoryBytes: number) => nginx({ Resources: { Reservations: { MemoryBytes } } });

async function fullWorld(nodes: number, waiting: number): Promise<World> {
  const world = new World();
  for (let at = 0; at < nodes; at++) await world.node(`n${at}`, { resources: { NanoCPUs: 4e9, MemoryBytes: 8e9 } });
  await world.start();
  await world.service('small', 1, memory(1e9));
  await world.service('full', nodes, memory(7e9));
  for (let at = 0; at < waiting; at++) await world.service(`w${at}`, 2, memory(6e9));
  return world;
}

const placed = (world: World) => world.tasks().filter((task) => task.serviceId.startsWith('w') && task.nodeId !== '');

describe('tasks that wait for a place', () => {
  test('look only at the node on which something was freed', async () => {
    const world = await fullWorld(30, 20);
    const asked = vi.spyOn(NodeInfo.prototype, 'capacity', 'get');
    await world.removeService('small'); // too little for any of them
    expect(placed(world)).toEqual([]);
    expect(asked.mock.calls.length).toBeGreaterThan(0);
    expect(asked.mock.calls.length).toBeLessThan(100); // each of 20 services at each of 30 nodes would be 600
    asked.mockRestore();
  });

  test('and are made for their nodes are looked at for the node on which something was freed', async () => {
    const world = await fullWorld(30, 0);
    await world.spec('everywhere', { TaskTemplate: memory(6e9), Mode: { Global: {} } });
    const waiting = world.tasks('everywhere').filter((task) => task.status.state === TaskState.pending);
    expect(waiting).toHaveLength(30);
    const asked = vi.spyOn(NodeInfo.prototype, 'capacity', 'get');
    await world.removeService('small'); // too little for any of them
    expect(asked.mock.calls.length).toBeGreaterThan(0);
    expect(asked.mock.calls.length).toBeLessThan(10);
    asked.mockRestore();
    await world.service('full', 0, memory(7e9));
    expect(world.running('everywhere')).toHaveLength(30);
  });

  test('are placed when enough is freed, when a node comes, and when they ask for less', async () => {
    const world = await fullWorld(3, 3);
    expect(placed(world)).toEqual([]);
    await world.service('full', 2, memory(7e9));
    expect(placed(world)).toHaveLength(1);
    await world.node('n9', { resources: { NanoCPUs: 4e9, MemoryBytes: 16e9 } });
    expect(placed(world)).toHaveLength(3);
    await world.service('w2', 2, memory(1e6));
    await world.advance(60_000);
    expect(world.running('w2')).toHaveLength(2);
  });

  test('one that waits for fewer replicas on its node is placed once another is about to be taken over', async () => {
    const world = new World();
    await world.node('n1', { resources: { NanoCPUs: 4e9, MemoryBytes: 8e9 } });
    await world.start();
    const template = { ...memory(1e9), Placement: { MaxReplicas: 1 } };
    await world.service('web', 2, template);
    expect(world.running('web')).toHaveLength(1);
    await world.service('web', 1, { ...template, ContainerSpec: { Image: 'nginx:2' } });
    await world.advance(60_000);
    expect(world.running('web').map((task) => task.spec.ContainerSpec.Image)).toEqual(['nginx:2']);
  });
});
