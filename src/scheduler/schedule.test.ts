import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Node, Task } from '../model/objects.ts';
import type { EndpointSpec, TaskSpec } from '../model/spec.ts';
import { TaskState } from '../model/task-state.ts';
import { ClusterIndex } from './cluster-index.ts';
import { explanation } from './explain.ts';
import { filtersFor, firstRefusal } from './filters.ts';
import { groupKey, NodeInfo } from './node-info.ts';
import { confirmGroup, refusalsPerNode, scheduleGroup } from './schedule.ts';
import { node, pendingTask } from './testing/objects.ts';

let taskCount = 0;

function tasks(count: number, serviceId = 'a', spec: Partial<TaskSpec> = {}, endpoint: EndpointSpec = {}): Task[] {
  return Array.from({ length: count }, () => pendingTask(`t${taskCount++}`, serviceId, spec, endpoint));
}

function infos(...nodes: Node[]): NodeInfo[] {
  const index = new ClusterIndex();
  for (const one of nodes) index.putNode(one);
  return [...index.infos()];
}

const counts = (all: readonly NodeInfo[], service = 'a') => all.map((info) => info.tasksOf(service));
const sorted = (numbers: readonly number[]) => [...numbers].sort((one, other) => one - other);
const five = () => infos(...[1, 2, 3, 4, 5].map((at) => node(`n${at}`)));

describe('spreading', () => {
  test('tasks that come one by one are placed as those that come together', () => {
    const together = five();
    const oneByOne = five();
    const some = tasks(23, 'a', { Resources: { Reservations: { MemoryBytes: 1e9 } } });
    const { placed } = scheduleGroup(together, some, 0);
    const alone = some.flatMap((task) => scheduleGroup(oneByOne, [task], 0).placed);
    expect(alone.map(({ nodeId }) => nodeId)).toEqual(placed.map(({ nodeId }) => nodeId));
  });

  test('18 on 5 empty nodes: three have 4, two have 3; a second service fills those; the next scale likewise', () => {
    const all = five();
    scheduleGroup(all, tasks(18), 0);
    expect(sorted(counts(all))).toEqual([3, 3, 4, 4, 4]);
    scheduleGroup(all, tasks(2, 'b'), 0);
    expect(all.filter((info) => info.tasksOf('b') === 1).map((info) => info.tasksOf('a'))).toEqual([3, 3]);
    scheduleGroup(all, tasks(3), 0);
    expect(sorted(counts(all))).toEqual([4, 4, 4, 4, 5]);
  });

  test('by zone: one node in az1 gets as much as four in az2', () => {
    const all = infos(
      node('n0', { labels: { az: '1' } }),
      ...[1, 2, 3, 4].map((at) => node(`n${at}`, { labels: { az: '2' } })),
    );
    const Placement = { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.az' } }] };
    scheduleGroup(all, tasks(8, 'a', { Placement }), 0);
    expect(counts(all)).toEqual([4, 1, 1, 1, 1]);
  });

  test('over two levels: a full branch gives its share to the others', () => {
    const rack = (az: string, name: string) => ({ az, rack: name });
    const all = infos(
      node('small', { labels: rack('1', 'r1'), memory: 1e8 }),
      node('alone', { labels: rack('1', 'r2'), memory: 5e9 }),
      node('x', { labels: rack('2', 'r1') }),
      node('y', { labels: rack('2', 'r2') }),
    );
    const Placement = {
      Preferences: ['az', 'rack'].map((label) => ({ Spread: { SpreadDescriptor: `node.labels.${label}` } })),
    };
    const Resources = { Reservations: { MemoryBytes: 1e9 } };
    const { unplaced } = scheduleGroup(all, tasks(12, 'a', { Placement, Resources }), 0);
    expect(unplaced).toEqual([]);
    expect(counts(all).slice(0, 2)).toEqual([0, 5]);
    expect(sorted(counts(all).slice(2))).toEqual([3, 4]);
  });

  test('a node where five tasks of this version failed lately is the last resort; another version starts from zero', () => {
    const all = infos(node('n1'), node('n2'));
    const [sample] = tasks(1);
    for (let at = 0; at < 5; at++) all[0]?.noteFailure(groupKey(sample as Task), 1000);
    scheduleGroup(all, tasks(2), 2000);
    expect(counts(all)).toEqual([0, 2]);
    scheduleGroup(
      all,
      tasks(2).map((task) => ({ ...task, specVersion: 2 })),
      2000,
    );
    expect(counts(all)).toEqual([2, 2]);
    scheduleGroup(all, tasks(2), 1000 + 5 * 60_000);
    expect(counts(all)).toEqual([3, 3]);
  });
});

describe('explanations', () => {
  test('the most frequent reason comes first', () => {
    const all = infos(node('n1'), node('n2', { state: 'down' }), node('n3', { availability: 'pause' }));
    const { refusals } = scheduleGroup(all, tasks(1, 'a', { Resources: { Reservations: { MemoryBytes: 9e9 } } }), 0);
    expect(explanation(refusals)).toBe(
      'no suitable node (2 nodes not available for new tasks; insufficient resources on 1 node)',
    );
  });

  test.each<[string, Partial<TaskSpec>, string]>([
    [
      'constraint',
      { Placement: { Constraints: ['node.labels.x == y'] } },
      'scheduling constraints not satisfied on 1 node',
    ],
    [
      'generic',
      { Resources: { Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 1 } }] } } },
      'insufficient resources on 1 node',
    ],
    [
      'platform',
      { Placement: { Platforms: [{ Architecture: 'arm64', OS: 'linux' }] } },
      'unsupported platform on 1 node',
    ],
    ['cpu', { Resources: { Reservations: { NanoCPUs: 5e9 } } }, 'insufficient resources on 1 node'],
  ])('%s', (_name, spec, words) => {
    const all = infos(node('n1'));
    expect(explanation(scheduleGroup(all, tasks(1, 'a', spec), 0).refusals)).toBe(`no suitable node (${words})`);
  });

  test('no node at all, and each node by itself', () => {
    expect(explanation(scheduleGroup([], tasks(1), 0).refusals)).toBe('no suitable node');
    const perNode = refusalsPerNode(infos(node('n1'), node('n2', { state: 'down' })), tasks(1)[0] as Task);
    expect([...perNode]).toEqual([
      ['n1', undefined],
      ['n2', 'ready'],
    ]);
  });

  test('host port: two nodes take two tasks, tcp and udp do not clash', () => {
    const all = infos(node('n1'), node('n2'));
    const port = (Protocol: string) => ({
      Ports: [{ TargetPort: 58, PublishedPort: 58, PublishMode: 'host', Protocol }],
    });
    const { placed, refusals } = scheduleGroup(all, tasks(3, 'a', {}, port('tcp')), 0);
    expect(placed).toHaveLength(2);
    expect(explanation(refusals)).toBe('no suitable node (host-mode port already in use on 2 nodes)');
    expect(scheduleGroup(all, tasks(2, 'b', {}, port('udp')), 0).unplaced).toEqual([]);
  });
});

describe('accounting', () => {
  test('adding twice, dropping unknown and dropping: what is held comes back exactly', () => {
    const [info] = infos(node('n1')) as [NodeInfo];
    const [task] = tasks(1, 'a', { Resources: { Reservations: { NanoCPUs: 1e9, MemoryBytes: 5 } } }) as [Task];
    info.put(task);
    info.put(task);
    info.drop('nobody');
    expect([info.nanoCpus, info.memoryBytes, info.total, info.tasksOf('a')]).toEqual([1e9, 5, 1, 1]);
    info.drop(task.id);
    expect([info.nanoCpus, info.memoryBytes, info.total, info.tasksOf('a')]).toEqual([0, 0, 0, 0]);
  });

  test('a task seen before its node counts once the node is known', () => {
    const index = new ClusterIndex();
    const [task] = tasks(1) as [Task];
    const placed = { ...task, nodeId: 'n1', status: { ...task.status, state: TaskState.assigned } };
    index.changeTask(undefined, placed);
    index.putNode(node('n1'));
    expect(index.get('n1')?.total).toBe(1);
    index.changeTask(placed, undefined);
    expect(index.get('n1')?.total).toBe(0);
  });
});

const shape = fc.record({
  labels: fc.record({ az: fc.constantFrom('1', '2', '3') }),
  memory: fc.integer({ min: 0, max: 10 }),
  state: fc.constantFrom('ready' as const, 'ready' as const, 'down' as const),
  availability: fc.constantFrom('active' as const, 'active' as const, 'drain' as const),
});

test('property: placed nodes pass all filters; what is left over fits nowhere', () => {
  fc.assert(
    fc.property(
      fc.array(shape, { maxLength: 12 }),
      fc.integer({ min: 1, max: 40 }),
      fc.boolean(),
      (shapes, count, spread) => {
        const all = infos(...shapes.map((one, at) => node(`n${at}`, one)));
        const spec: Partial<TaskSpec> = {
          Resources: { Reservations: { MemoryBytes: 2 } },
          Placement: {
            Constraints: ['node.labels.az != 3'],
            MaxReplicas: 4,
            Preferences: spread ? [{ Spread: { SpreadDescriptor: 'node.labels.az' } }] : [],
          },
        };
        const group = tasks(count, 'a', spec);
        const { placed, unplaced } = scheduleGroup(all, group, 0);
        expect(placed.length + unplaced.length).toBe(count);
        for (const info of all) {
          const usable =
            info.node.status.state === 'ready' &&
            info.node.spec.Availability === 'active' &&
            info.node.spec.Labels['az'] !== '3';
          expect(info.tasksOf('a')).toBeLessThanOrEqual(
            usable ? Math.min(4, Math.floor(info.capacity.memoryBytes / 2)) : 0,
          );
          if (unplaced.length > 0) expect(firstRefusal(filtersFor(group[0] as Task), info)).toBeDefined();
        }
      },
    ),
    { seed: 7, numRuns: 200 },
  );
});

test('property: without constraints the spread is even to one task, and the same every time', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 15 }), fc.integer({ min: 0, max: 60 }), (nodes, count) => {
      const make = () => infos(...Array.from({ length: nodes }, (_, at) => node(`n${at}`)));
      const [all, again] = [make(), make()];
      const group = tasks(count);
      const first = scheduleGroup(all, group, 0).placed.map(({ nodeId }) => nodeId);
      expect(Math.max(...counts(all)) - Math.min(...counts(all))).toBeLessThanOrEqual(1);
      expect(scheduleGroup(again, group, 0).placed.map(({ nodeId }) => nodeId)).toEqual(first);
    }),
    { seed: 7, numRuns: 100 },
  );
});

test('speed: 1,000 nodes, 10,000 tasks of one service', () => {
  const all = infos(...Array.from({ length: 1000 }, (_, at) => node(`n${at}`)));
  const group = tasks(10_000);
  const start = performance.now();
  expect(scheduleGroup(all, group, 0).placed).toHaveLength(10_000);
  console.log(`placed 10,000 tasks on 1,000 nodes in ${(performance.now() - start).toFixed(0)} ms`);
});

describe('a task that is bound to its node and takes over from another one', () => {
  const three = { Resources: { Reservations: { NanoCPUs: 3e9 } } };
  const confirmed = (handover: 'stop-first' | 'start-first', spec: Partial<TaskSpec>) => {
    const index = new ClusterIndex();
    index.putNode(node('n1'));
    const [old, next] = tasks(2, 'a', spec) as [Task, Task];
    const status = { ...old.status, state: TaskState.running };
    index.changeTask(undefined, { ...old, nodeId: 'n1', status });
    const pinned = { ...next, nodeId: 'n1', handover, replaces: old.id };
    return confirmGroup(index, [pinned]).map(({ refusals }) => [...(refusals?.keys() ?? [])]);
  };

  test('needs room beside it when both run for a moment', () => {
    expect(confirmed('start-first', three)).toEqual([['resources']]);
    expect(confirmed('stop-first', three)).toEqual([[]]);
  });

  test('may be one too many for the limit per node', () => {
    expect(confirmed('start-first', { Placement: { MaxReplicas: 1 } })).toEqual([[]]);
  });
});
