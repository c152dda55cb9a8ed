import { describe, expect, test } from 'vitest';
import { ClusterError } from '../../src/lib/errors.ts';
import type { EndpointRecord } from '../../src/model/network.ts';
import type { Controller, Executor, NodeNetworks } from '../../src/worker/executor/port.ts';
import { failures, seedGroups } from './seeds.ts';
import { type Sabotage, World } from './world.ts';

describe('F17: three managers and five agents survive every fault (even seeds)', () => {
  test.each(seedGroups(0))('seeds $name', async ({ seeds }) => {
    expect(await failures(seeds)).toEqual([]);
  });
});

describe('a run', () => {
  test('is the same again for the same seed, and another for another', async () => {
    const digests: string[] = [];
    for (const seed of [7, 7, 9]) {
      const world = new World(seed);
      await world.simulate();
      digests.push(world.digest());
    }
    expect(digests[1]).toBe(digests[0]);
    expect(digests[2]).not.toBe(digests[0]);
  });

  test('has leaders that fall, nodes that go down, updates, jobs, and many acknowledged writes', async () => {
    const lines: string[] = [];
    let acknowledged = 0;
    let stops = 0;
    for (const seed of [1, 2, 3]) {
      const world = new World(seed, { onTrace: (line) => lines.push(line) });
      await world.simulate();
      acknowledged += world.client.acknowledged;
      stops += world.stops.checked;
    }
    const count = (pattern: RegExp) => lines.filter((line) => pattern.test(line)).length;
    expect(count(/ leads in term /)).toBeGreaterThan(5);
    expect(count(/node a\d changed: down/)).toBeGreaterThan(5);
    expect(count(/update completed/)).toBeGreaterThan(3);
    expect(count(/changed: on a\d state 576 desired 576/)).toBeGreaterThan(5);
    expect(count(/confirmed task can run on preassigned node/)).toBeGreaterThan(5);
    expect(acknowledged).toBeGreaterThan(60);
    expect(count(/ network .* created/)).toBeGreaterThan(6);
    expect(stops).toBeGreaterThan(30);
  });
});

/** Broken on purpose: within a few seeds a checker must see it. */
async function complaintAbout(sabotage: Sabotage, seeds: readonly number[]): Promise<string> {
  for (const seed of seeds) {
    try {
      await new World(seed, { sabotage }).simulate();
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
  return 'nobody noticed';
}

/** The executor with another driver of networks. */
function withNetworks(executor: Executor, change: (networks: NodeNetworks) => Partial<NodeNetworks>): Executor {
  const { networks } = executor;
  if (networks === undefined) throw new Error('no networks');
  const { apply, onProblems } = change(networks);
  return {
    ...withController(executor, () => ({})),
    networks: {
      apply: apply ?? ((state) => networks.apply(state)),
      onProblems: onProblems ?? ((handle) => networks.onProblems(handle)),
    },
  };
}

/** The executor with some steps of its controllers replaced. */
function withController(
  executor: Executor,
  change: (controller: Controller, taskId: string) => Partial<Controller>,
): Executor {
  return {
    ...(executor.networks === undefined ? {} : { networks: executor.networks }),
    describe: () => executor.describe(),
    bootId: async () => (await executor.bootId?.()) ?? '',
    controller: (task, dependencies) => {
      const controller = executor.controller(task, dependencies);
      return { ...controller, ...change(controller, task.id) };
    },
    existing: () => executor.existing(),
    discard: (taskId) => executor.discard(taskId),
    logs: (taskId, query, signal) => executor.logs(taskId, query, signal),
  };
}

describe('the checkers notice', () => {
  test('containers that are said to be stopped and run on', async () => {
    const executor = (real: Executor) =>
      withController(real, () => ({ shutdown: async () => {}, remove: async () => {} }));
    expect(await complaintAbout({ executor }, [1, 2, 3])).toMatch(
      /which nobody wants|runs more than once|is no task of it/,
    );
  });

  test('agents that never learn of exits', async () => {
    const deaf = (signal: AbortSignal) =>
      new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const executor = (real: Executor) => withController(real, () => ({ wait: deaf }));
    expect(await complaintAbout({ executor }, [1, 2, 3, 4, 5, 6])).toMatch(/(?:runs|completed) \d of \d/);
  });

  test('containers that do not start', async () => {
    const executor = (real: Executor) =>
      withController(real, () => ({ start: () => Promise.reject(new ClusterError('internal', 'no')) }));
    expect(await complaintAbout({ executor }, [1])).toMatch(/runs \d of \d/);
  });

  test('nodes that acknowledge what is not in place', async () => {
    const executor = (real: Executor) =>
      withNetworks(real, (networks) => ({
        apply: async (state) => {
          void networks.apply(state).catch(() => {});
          return [];
        },
      }));
    expect(await complaintAbout({ executor }, [1, 2, 3, 4, 5, 6])).toMatch(/leads clients to it/);
  });

  test('nodes that never take an endpoint out', async () => {
    const kept = new Map<string, Map<string, EndpointRecord>>();
    const executor = (real: Executor, host: string) =>
      withNetworks(real, (networks) => ({
        apply: (state) => {
          const stale = [...(kept.get(host) ?? [])].map(([id, one]) => [id, { ...one, active: false }] as const);
          const endpoints = new Map([...stale, ...state.endpoints]);
          kept.set(host, endpoints);
          return networks.apply({ ...state, endpoints });
        },
      }));
    expect(await complaintAbout({ executor }, [1, 2, 3])).toMatch(/networks of a\d: endpoints has/);
  });

  test('managers that lose what they had synced', async () => {
    expect(await complaintAbout({ emptyDisks: true }, [1, 2, 3, 4, 5, 6])).toMatch(
      /lost|two leaders|another|back|gap|stopped|commit|not after/,
    );
  });
});
