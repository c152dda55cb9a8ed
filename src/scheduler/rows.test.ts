/** Behaviours of Swarm's scheduler, row by row (design/rows.md). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nginx, World } from '../manager/orchestrator/testing/world.ts';
import type { Node, Task } from '../model/objects.ts';
import type { EndpointSpec, Labels, TaskSpec } from '../model/spec.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import { ClusterIndex } from './cluster-index.ts';
import { constraintsMatch } from './constraint.ts';
import { explanation } from './explain.ts';
import { holds } from './node-info.ts';
import { scheduleGroup } from './schedule.ts';
import { node, pendingTask } from './testing/objects.ts';

/** A cluster in which tasks are placed at once and can be looked up. */
class Cluster {
  readonly index: ClusterIndex;
  readonly tasks = new Map<string, Task>();
  why = '';
  #count = 0;

  constructor(...nodes: readonly Node[]) {
    this.index = ClusterIndex.of(nodes, [], 0);
  }

  place(
    serviceId: string,
    count: number,
    spec: Partial<TaskSpec> = {},
    endpoint: EndpointSpec = {},
  ): readonly string[] {
    const made = Array.from({ length: count }, () => pendingTask(`t${this.#count++}`, serviceId, spec, endpoint));
    const { placed, refusals } = scheduleGroup(this.index.infos(), made, 0);
    this.why = explanation(refusals);
    for (const { task, nodeId } of placed) this.put({ ...task, nodeId });
    return placed.map(({ nodeId }) => nodeId);
  }

  put(task: Task): void {
    const assigned = { ...task, status: { ...task.status, state: TaskState.assigned } };
    this.index.changeTask(this.tasks.get(task.id), assigned);
    this.tasks.set(task.id, assigned);
  }

  end(task: Task | undefined, state: Task['status']['state'] = TaskState.failed): void {
    if (task === undefined) return;
    const ended = { ...task, status: { ...task.status, state } };
    this.index.changeTask(task, ended);
    this.tasks.set(task.id, ended);
  }

  delete(task: Task): void {
    this.index.changeTask(task, undefined);
    this.tasks.delete(task.id);
  }

  counts(serviceId = 'a'): readonly number[] {
    return [...this.index.infos()].map((info) => info.tasksOf(serviceId));
  }

  totals(): readonly number[] {
    return [...this.index.infos()].map((info) => info.total);
  }

  on(nodeId: string): readonly Task[] {
    return [...this.tasks.values()].filter((task) => task.nodeId === nodeId);
  }
}

const sorted = (numbers: readonly number[]) => [...numbers].sort((one, other) => one - other);
const memory = (MemoryBytes: number): Partial<TaskSpec> => ({ Resources: { Reservations: { MemoryBytes } } });
const spread = (...keys: readonly string[]): Partial<TaskSpec> => ({
  Placement: { Preferences: keys.map((key) => ({ Spread: { SpreadDescriptor: `node.labels.${key}` } })) },
});
const five = () => new Cluster(...['n1', 'n2', 'n3', 'n4', 'n5'].map((id) => node(id)));

describe('spreading', () => {
  test('S1: new tasks go to the less loaded nodes first', () => {
    const cluster = new Cluster(node('n1'), node('n2'), node('n3'));
    const [busy] = cluster.place('other', 1);
    const placed = cluster.place('a', 2);
    expect(placed).not.toContain(busy);
    expect(new Set(placed).size).toBe(2);
  });

  test('S2: 18 tasks on five empty nodes: three have 4, two have 3', () => {
    const cluster = five();
    cluster.place('a', 18);
    expect(sorted(cluster.counts())).toEqual([3, 3, 4, 4, 4]);
  });

  test('S3 S4 S5: the next services and scales fill what is low, never two at once on one node', () => {
    const cluster = five();
    cluster.place('a', 18);
    cluster.place('b', 2);
    expect(cluster.totals()).toEqual([4, 4, 4, 4, 4]);
    const withB = cluster.counts('b').flatMap((count, at) => (count > 0 ? [at] : []));
    expect(withB.map((at) => cluster.counts()[at])).toEqual([3, 3]);
    const added = cluster.place('a', 3);
    expect(new Set(added).size).toBe(3);
    expect(sorted(cluster.counts())).toEqual([4, 4, 4, 4, 5]);
    expect(withB.map((at) => cluster.counts()[at])).toEqual([4, 4]);
    const before = cluster.counts();
    const [last] = cluster.place('b', 1);
    const at = [...cluster.index.infos()].findIndex((info) => info.node.id === last);
    expect(withB).not.toContain(at);
    expect(before[at]).toBe(4);
  });

  test('S6: an emptied node takes all new tasks of one service, and of another no more than its share', () => {
    const cluster = five();
    cluster.place('a', 21);
    cluster.place('b', 3);
    const emptied = [...cluster.index.infos()].find((info) => info.tasksOf('b') === 0)?.node.id ?? '';
    const held = cluster.on(emptied).length;
    for (const task of cluster.on(emptied)) cluster.delete(task);
    expect(held).toBeGreaterThanOrEqual(4);
    expect(new Set(cluster.place('a', 4))).toEqual(new Set([emptied]));
    expect(cluster.place('b', 2).filter((id) => id === emptied)).toHaveLength(1);
  });

  test('S7: by zone: one node in az1 gets as much as four in az2', () => {
    const zones = [
      node('n1', { labels: { az: '1' } }),
      ...[2, 3, 4, 5].map((at) => node(`n${at}`, { labels: { az: '2' } })),
    ];
    const cluster = new Cluster(...zones);
    cluster.place('a', 8, spread('az'));
    expect(cluster.counts()).toEqual([4, 1, 1, 1, 1]);
  });

  test('S8: two levels with caps: the node that is too small gets nothing, a full branch gives its share away', () => {
    const at = (id: string, az: string, rack: string, MemoryBytes: number) =>
      node(id, { labels: { az, rack }, memory: MemoryBytes });
    const cluster = new Cluster(
      at('n1', '1', '1', 5e9),
      at('n2', '1', '2', 0.1e9),
      at('n3', '2', '1', 50e9),
      at('n4', '2', '2', 50e9),
    );
    expect(cluster.place('a', 12, { ...spread('az', 'rack'), ...memory(1e9) })).toHaveLength(12);
    const [first, second, ...racks] = cluster.counts();
    expect([first, second]).toEqual([5, 0]);
    expect(sorted(racks)).toEqual([3, 4]);
  });

  test('S9: two levels that are uneven already: two more are placed and even one level out', () => {
    const at = (id: string, az: string, rack: string) => node(id, { labels: { az, rack } });
    const cluster = new Cluster(at('n1', '1', '1'), at('n2', '1', '2'), at('n3', '2', '1'), at('n4', '2', '2'));
    const only = (id: string) => ({ Placement: { Constraints: [`node.id==${id}`] } });
    cluster.place('a', 3, only('n1'));
    cluster.place('a', 1, only('n3'));
    expect(cluster.place('a', 2, spread('az', 'rack'))).toHaveLength(2);
    const [n1 = 0, n2 = 0, n3 = 0, n4 = 0] = cluster.counts();
    expect([n1 + n2, n3 + n4]).toEqual([3, 3]);
  });

  test('nodes without the label are a branch of their own', () => {
    const cluster = new Cluster(node('n1', { labels: { az: '1' } }), node('n2'), node('n3'));
    cluster.place('a', 4, spread('az'));
    expect(cluster.counts()).toEqual([2, 1, 1]);
  });

  test('a zone counts its full nodes, but not those that are down or being emptied', () => {
    const zone = (az: string) => ({ labels: { az } });
    const full = new Cluster(node('n1', { ...zone('1'), memory: 2e9 }), node('n2', zone('1')), node('n3', zone('2')));
    full.place('a', 2, { ...memory(1e9), Placement: { Constraints: ['node.id==n1'] } });
    expect(full.place('a', 2, { ...spread('az'), ...memory(1e9) })).toEqual(['n3', 'n3']);
    const lost = new Cluster(node('n1', zone('1')), node('n2', zone('1')), node('n3', zone('2')));
    lost.place('a', 2, { Placement: { Constraints: ['node.id==n1'] } });
    lost.place('a', 1, { Placement: { Constraints: ['node.id==n3'] } });
    lost.index.putNode(node('n1', { ...zone('1'), state: 'down' }));
    expect(lost.place('a', 1, spread('az'))).toEqual(['n2']);
  });

  test('S16: with reservations: even until the small node is full, then the rest on the big one', () => {
    const cluster = new Cluster(node('n1', { memory: 2e9 }), node('n2', { memory: 20e9 }));
    expect(cluster.place('a', 8, memory(1e9))).toHaveLength(8);
    expect(cluster.counts()).toEqual([2, 6]);
  });

  test('what is left unreserved decides between nodes with equally many tasks of the service', () => {
    const cluster = new Cluster(node('n1'), node('n2'));
    cluster.place('big', 1, { ...memory(6e9), Placement: { Constraints: ['node.id==n1'] } });
    cluster.place('small', 2, { Placement: { Constraints: ['node.id==n2'] } });
    expect(cluster.place('a', 1)).toEqual(['n2']);
  });

  test('S28: a node that lost a task is the next one', () => {
    const cluster = new Cluster(node('n1'), node('n2'));
    cluster.place('a', 6);
    const [gone] = cluster.on('n2') as [Task];
    cluster.delete(gone);
    expect(cluster.place('a', 1)).toEqual(['n2']);
  });

  test('S34: the counts of branches are the sums of their nodes after any adds and removes', () => {
    const zones = ['1', '1', '2', '2', '3'];
    const cluster = new Cluster(...zones.map((az, at) => node(`n${at}`, { labels: { az } })));
    for (let round = 0; round < 6; round++) {
      cluster.place('a', 5, spread('az'));
      for (const task of [...cluster.tasks.values()].slice(0, 2)) cluster.delete(task);
    }
    const per = (az: string) => cluster.counts().reduce((sum, count, at) => sum + (zones[at] === az ? count : 0), 0);
    cluster.place('a', 3, spread('az'));
    const after = ['1', '2', '3'].map(per);
    expect(Math.max(...after) - Math.min(...after)).toBeLessThanOrEqual(1);
    expect(after.reduce((sum, count) => sum + count, 0)).toBe(cluster.tasks.size);
  });
});

describe('filters', () => {
  test('S14 S15: the reasons are counted, most frequent first; a node that fits takes it', () => {
    const cluster = new Cluster(
      node('n1', { memory: 1e9 }),
      node('n2', { state: 'down' }),
      node('n3', { state: 'down' }),
    );
    expect(cluster.place('a', 1, memory(2e9))).toEqual([]);
    expect(cluster.why).toBe(
      'no suitable node (2 nodes not available for new tasks; insufficient resources on 1 node)',
    );
    cluster.index.putNode(node('n4'));
    expect(cluster.place('a', 1, memory(2e9))).toEqual(['n4']);
  });

  test('S17 S18: a task that died gives its reservation back; one that was dead at the start never had it', () => {
    const cluster = new Cluster(node('n1', { memory: 1e9 }));
    cluster.place('a', 1, memory(0.8e9));
    expect(cluster.place('b', 1, memory(0.8e9))).toEqual([]);
    const [dead] = cluster.on('n1') as [Task];
    cluster.end(dead);
    expect(cluster.place('b', 1, memory(0.8e9))).toEqual(['n1']);
    const again = ClusterIndex.of([node('n1')], [{ ...dead, status: { ...dead.status, state: TaskState.failed } }], 0);
    expect(again.get('n1')?.memoryBytes).toBe(0);
  });

  test('S19: platforms, with the names that mean the same', () => {
    const cluster = new Cluster(node('n1'), node('n2', { os: 'windows' }), node('n3', { architecture: 'aarch64' }));
    const on = (OS: string, Architecture: string) =>
      cluster.place('a', 1, { Placement: { Platforms: [{ OS, Architecture }] } });
    expect(on('linux', 'amd64')).toEqual(['n1']);
    expect(on('windows', '')).toEqual(['n2']);
    expect(on('', 'arm64')).toEqual(['n3']);
    expect(on('plan9', '')).toEqual([]);
    expect(cluster.why).toBe('no suitable node (unsupported platform on 3 nodes)');
  });

  test('S23 S24: plugins; binds, the local driver and no log driver need none', () => {
    const cluster = new Cluster(node('n1', { plugins: [{ type: 'Volume', name: 'local' }] }));
    const mounts = (Name: string) => ({
      ContainerSpec: {
        Image: 'x',
        Mounts: [{ Type: 'volume', Target: '/d', VolumeOptions: { DriverConfig: { Name } } }],
      },
    });
    expect(cluster.place('a', 1, mounts('nfs'))).toEqual([]);
    expect(cluster.why).toBe('no suitable node (missing plugin on 1 node)');
    cluster.index.putNode(node('n2', { plugins: [{ type: 'Volume', name: 'nfs:latest' }] }));
    expect(cluster.place('a', 1, mounts('nfs'))).toEqual(['n2']);
    const bind = { ContainerSpec: { Image: 'x', Mounts: [{ Type: 'bind', Source: '/', Target: '/d' }] } };
    expect(cluster.place('b', 1, { ...bind, LogDriver: { Name: 'none' } })).toHaveLength(1);
    expect(cluster.place('b', 1, mounts('local'))).toHaveLength(1);
  });

  test('S25: a host port is taken once per node and protocol', () => {
    const cluster = new Cluster(node('n1'), node('n2'));
    const port = (Protocol: string) => ({
      Ports: [{ TargetPort: 58, PublishedPort: 58, PublishMode: 'host', Protocol }],
    });
    expect(cluster.place('a', 3, {}, port('tcp'))).toHaveLength(2);
    expect(cluster.why).toBe('no suitable node (host-mode port already in use on 2 nodes)');
    expect(cluster.place('b', 2, {}, port('udp'))).toHaveLength(2);
  });

  test('S26: at most so many replicas per node', () => {
    const cluster = new Cluster(node('n1'), node('n2'));
    expect(cluster.place('a', 3, { Placement: { MaxReplicas: 1 } })).toHaveLength(2);
    expect(cluster.why).toBe('no suitable node (max replicas per node limit exceed)');
    cluster.index.putNode(node('n3'));
    expect(cluster.place('a', 1, { Placement: { MaxReplicas: 1 } })).toEqual(['n3']);
  });

  test('S27: a node that is down gets nothing, back it does; a removed one is forgotten', () => {
    const cluster = new Cluster(node('n1'));
    cluster.index.putNode(node('n1', { state: 'down' }));
    expect(cluster.place('a', 1)).toEqual([]);
    cluster.index.putNode(node('n1'));
    expect(cluster.place('a', 1)).toEqual(['n1']);
    cluster.index.removeNode('n1');
    expect(cluster.place('a', 1)).toEqual([]);
    expect(cluster.why).toBe('no suitable node');
  });

  test('S30 S32: == needs the label, != passes without; values in any case, label names exactly; all must hold', () => {
    const fits = (labels: Labels, ...constraints: string[]) => constraintsMatch(constraints, node('n1', { labels }));
    expect(fits({}, 'node.labels.security==low')).toBe(false);
    expect(fits({}, 'node.labels.security!=low')).toBe(true);
    expect(fits({ security: 'LOW' }, 'node.labels.security==low')).toBe(true);
    expect(fits({ Security: 'low' }, 'node.labels.security==low')).toBe(false);
    expect(fits({ a: '1', b: '2' }, 'node.labels.a==1', 'node.labels.b==2')).toBe(true);
    expect(fits({ a: '1', b: '2' }, 'node.labels.a==1', 'node.labels.b==1')).toBe(false);
  });

  test('S31: addresses and networks, v4 and v6; a malformed one fits nowhere', () => {
    const fits = (addr: string, constraint: string) => constraintsMatch([constraint], node('n1', { addr }));
    expect(fits('10.1.2.3', 'node.ip==10.1.2.3')).toBe(true);
    expect(fits('10.1.2.3', 'node.ip==10.1.0.0/16')).toBe(true);
    expect(fits('10.2.2.3', 'node.ip==10.1.0.0/16')).toBe(false);
    expect(fits('10.2.2.3', 'node.ip!=10.1.0.0/16')).toBe(true);
    expect(fits('2001:db8::1', 'node.ip==2001:db8::/32')).toBe(true);
    expect(fits('10.1.2.3', 'node.ip==10.1.2')).toBe(false);
    expect(fits('10.1.2.3', 'node.ip!=10.1.2')).toBe(false);
  });
});

describe('accounting', () => {
  test('S33: a task counts once however often it is told, and gives back exactly what it took', () => {
    const cluster = new Cluster(node('n1'));
    const generic = { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 2 } }] };
    const info = cluster.index.get('n1');
    cluster.place('a', 1, { Resources: { Reservations: { NanoCPUs: 1e9, MemoryBytes: 5 } } });
    const [task] = cluster.on('n1') as [Task];
    const full = {
      ...task,
      spec: { ...task.spec, Resources: { Reservations: { NanoCPUs: 1e9, MemoryBytes: 5, ...generic } } },
    };
    cluster.put(full);
    cluster.put(full);
    cluster.index.release('n1', 'nobody');
    expect([info?.nanoCpus, info?.memoryBytes, info?.genericInUse('gpu'), info?.total]).toEqual([1e9, 5, 2, 1]);
    cluster.delete(full);
    expect([info?.nanoCpus, info?.memoryBytes, info?.genericInUse('gpu'), info?.total]).toEqual([0, 0, 0, 0]);
  });

  test('S33: a handover that is told of while the index is built, and again by the build, counts once', () => {
    const cluster = ClusterIndex.of([node('n1')], [], 0);
    const wish = { node: 'n1', state: TaskState.running, desired: TaskState.running, memory: 0, over: undefined };
    const successor = taskOf('t2', { ...wish, node: '', state: TaskState.pending, over: 1 });
    cluster.changeTask(undefined, taskOf('t1', wish));
    cluster.changeTask(undefined, successor);
    cluster.changeTask(undefined, successor);
    expect(cluster.get('n1')?.tasksOf('s0')).toBe(0);
    cluster.changeTask(successor, { ...successor, desired: TaskState.shutdown });
    expect(cluster.get('n1')?.tasksOf('s0')).toBe(1);
  });

  /** Whatever happens to tasks: the index that was told each change equals one made from the end. */
  test('property: the index is exact under every path', () => {
    const states = [TaskState.pending, TaskState.assigned, TaskState.running, TaskState.failed, TaskState.shutdown];
    const wishes = [
      TaskState.ready,
      TaskState.running,
      TaskState.complete,
      TaskState.shutdown,
      TaskState.remove,
    ] as const;
    const change = fc.record({
      at: fc.nat(9),
      node: fc.constantFrom('', 'n1', 'n2', 'n9'),
      state: fc.constantFrom(...states),
      desired: fc.constantFrom(...wishes),
      memory: fc.nat(5),
      over: fc.option(fc.nat(9), { nil: undefined }),
      gone: fc.boolean(),
      nodeGone: fc.constantFrom(undefined, undefined, undefined, 'n1', 'n2'),
    });
    /** How many changes there were before anybody was told; after how many more each task is read as it is then. */
    const build = fc.record({ untold: fc.nat(8), reads: fc.array(fc.nat(20), { minLength: 10, maxLength: 10 }) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40, size: 'max' }), build, (changes, { untold, reads }) => {
        const index = ClusterIndex.of([node('n1'), node('n2')], [], 0);
        const tasks = new Map<string, Task>();
        const found = new Set<string>();
        const read = (id: string) => {
          const task = tasks.get(id);
          if (found.delete(id) && task !== undefined) index.changeTask(undefined, task);
        };
        for (const [step, one] of changes.entries()) {
          if (step === untold) for (const id of tasks.keys()) found.add(id);
          for (const [at, after] of reads.entries()) if (step === untold + after) read(`t${at}`);
          const id = `t${one.at}`;
          const after: Task | undefined = one.gone ? undefined : taskOf(id, one);
          if (step >= untold) index.changeTask(tasks.get(id), after);
          // The build lists what there is when it begins, and sees later ones that take an old one's id.
          if (step >= untold && !tasks.has(id)) found.add(id);
          if (after === undefined) tasks.delete(id);
          else tasks.set(id, after);
          if (one.nodeGone !== undefined) index.putNode(node(one.nodeGone));
        }
        if (changes.length <= untold) for (const id of tasks.keys()) found.add(id);
        for (const id of [...found]) read(id);
        const fresh = ClusterIndex.of([node('n1'), node('n2')], tasks.values(), 0);
        for (const id of ['n1', 'n2']) expect(sums(index, id)).toEqual(sums(fresh, id));
        const held = [...tasks.values()].filter((task) => task.nodeId === 'n1' && holds(task));
        expect(index.get('n1')?.memoryBytes).toBe(
          held.reduce((sum, task) => sum + (task.spec.Resources?.Reservations?.MemoryBytes ?? 0), 0),
        );
        expect(held.every((task) => !isTerminal(task.status.state))).toBe(true);
      }),
      { seed: 20261121, numRuns: 300 },
    );
  });
});

function taskOf(
  id: string,
  one: {
    readonly node: string;
    readonly state: Task['status']['state'];
    readonly desired: Task['desired'];
    readonly memory: number;
    readonly over: number | undefined;
  },
): Task {
  const port = { TargetPort: 80, PublishedPort: 8000 + one.memory, PublishMode: 'host' };
  return {
    id,
    meta: { version: 1, createdAt: 0, updatedAt: 0 },
    serviceId: `s${one.memory % 2}`,
    slot: 1,
    nodeId: one.node,
    spec: { ContainerSpec: { Image: 'x' }, Resources: { Reservations: { MemoryBytes: one.memory } } },
    specVersion: 1,
    serviceName: 'a',
    serviceLabels: {},
    endpoint: { Ports: [port] },
    desired: one.desired,
    status: { state: one.state, timestamp: 0, message: '', err: '' },
    restarts: [],
    ...(one.over === undefined ? {} : { replaces: `t${one.over}`, handover: 'stop-first' as const }),
  };
}

function sums(index: ClusterIndex, id: string) {
  const info = index.get(id);
  const ports = [0, 1, 2, 3, 4, 5].map((at) => info?.portInUse(`${8000 + at}/tcp`));
  return [info?.memoryBytes, info?.total, info?.tasksOf('s0'), info?.tasksOf('s1'), ports];
}

describe('the loop', () => {
  async function worldOf(nodes: number): Promise<World> {
    const world = new World();
    for (let at = 1; at <= nodes; at++) await world.node(`n${at}`);
    await world.start();
    return world;
  }

  test('S10: without any node the reason is bare; a node that arrives takes the task', async () => {
    const world = await worldOf(0);
    await world.service('web', 1);
    expect(world.tasks('web')[0]?.status.err).toBe('no suitable node');
    await world.node('n1');
    expect(world.running('web')).toHaveLength(1);
    expect(world.tasks('web')[0]?.status.err).toBe('');
  });

  test('S12: a task that is made for its node goes there however often it fails', async () => {
    const world = await worldOf(1);
    await world.node('n2');
    world.agent = (task) => {
      if (task.desired >= TaskState.shutdown) return TaskState.shutdown;
      return task.nodeId === 'n2' ? TaskState.failed : TaskState.running;
    };
    await world.spec('web', { Mode: { Global: {} }, TaskTemplate: nginx({ RestartPolicy: { Delay: 0 } }) });
    await world.advance(120_000);
    expect(world.tasks('web').filter((task) => task.nodeId === 'n2').length).toBeGreaterThan(4);
    expect(world.tasks('web').filter((task) => task.nodeId === 'n1')).toHaveLength(1);
  });

  test('S20: a task that is deleted before it is placed leaves nothing behind', async () => {
    const world = await worldOf(0);
    await world.service('web', 1);
    await world.removeService('web');
    expect(world.tasks()).toEqual([]);
    await world.node('n1');
    expect(world.tasks()).toEqual([]);
  });

  test('S22: a task of the old spec that fits nowhere ends once the service has moved on', async () => {
    const world = await worldOf(1);
    await world.service('web', 1, nginx({ Placement: { Constraints: ['node.labels.a==1'] } }));
    const [old] = world.tasks('web') as [Task];
    expect(old.status.state).toBe(TaskState.pending);
    await world.service('web', 1);
    await world.advance(60_000);
    expect(world.running('web')).toHaveLength(1);
    const left = world.tasks('web').find((task) => task.id === old.id);
    expect(left === undefined || left.status.state === TaskState.shutdown).toBe(true);
  });

  test('S29: unplaced tasks that nobody wants any more are not placed by a new leader', async () => {
    const world = await worldOf(0);
    await world.service('web', 1);
    await world.stop();
    await world.store.transact((tx) => {
      const { meta: _, ...draft } = world.tasks('web')[0] ?? ({} as never);
      tx.update('task', { ...draft, desired: TaskState.shutdown });
    });
    const id = world.tasks('web')[0]?.id;
    await world.node('n1');
    await world.start();
    expect(world.tasks('web').find((task) => task.id === id)?.nodeId ?? '').toBe('');
    expect(world.running('web')).toHaveLength(1);
  });
});

describe('generic resources with names', () => {
  const gpu = (count: number) => ({
    Resources: { Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: count } }] } },
  });
  const named = (...names: readonly string[]) => ({
    GenericResources: names.map((Value) => ({ NamedResourceSpec: { Kind: 'gpu', Value } })),
  });
  const held = (world: World) =>
    world
      .running('web')
      .flatMap((task) => task.genericResources ?? [])
      .map(({ NamedResourceSpec: one }) => one?.Value)
      .sort();

  async function worldWith(...names: readonly string[]): Promise<World> {
    const world = new World();
    await world.node('n1', { resources: { NanoCPUs: 4e9, MemoryBytes: 8e9, ...named(...names) } });
    await world.start();
    return world;
  }

  test('each task gets its own, whoever leads, and one that ends gives its own back', async () => {
    const world = await worldWith('a', 'b', 'c');
    await world.service('web', 2, nginx(gpu(1)));
    expect(held(world)).toEqual(['a', 'b']);
    await world.stop();
    await world.start();
    await world.service('web', 4, nginx(gpu(1)));
    expect(held(world)).toEqual(['a', 'b', 'c']);
    expect(world.tasks('web').find((task) => task.nodeId === '')?.status.err).toBe(
      'no suitable node (insufficient resources on 1 node)',
    );
    await world.service('web', 1, nginx(gpu(1)));
    expect(held(world)).toHaveLength(1);
    await world.service('web', 3, nginx(gpu(1)));
    expect(held(world)).toEqual(['a', 'b', 'c']);
  });

  test('a new task that takes over from one with all of them gets the same', async () => {
    const world = await worldWith('a', 'b');
    await world.service('web', 1, nginx(gpu(2)));
    expect(held(world)).toEqual(['a', 'b']);
    await world.service('web', 1, nginx(gpu(2), 'nginx:2'));
    await world.advance(60_000);
    expect(world.running('web')[0]?.spec.ContainerSpec.Image).toBe('nginx:2');
    expect(held(world)).toEqual(['a', 'b']);
  });

  test('a counted one is told as a count', async () => {
    const world = new World();
    const GenericResources = [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 4 } }];
    await world.node('n1', { resources: { GenericResources } });
    await world.start();
    await world.service('web', 1, nginx(gpu(3)));
    expect(world.running('web')[0]?.genericResources).toEqual([{ DiscreteResourceSpec: { Kind: 'gpu', Value: 3 } }]);
  });
});
