import { describe, expect, test } from 'vitest';
import { nginx, World } from '../manager/orchestrator/testing/world.ts';
import type { ForecastPlace, NodeVerdict, TaskExplanation } from '../model/explain.ts';
import type { Service, Task } from '../model/objects.ts';
import type { NodeSpec, ServiceSpec } from '../model/spec.ts';
import { TaskState } from '../model/task-state.ts';
import { explainService, explainTask } from './diagnose.ts';
import { forecast } from './forecast.ts';

async function worldOf(...nodes: readonly Partial<NodeSpec>[]): Promise<World> {
  const world = new World();
  for (const [at, spec] of nodes.entries()) await world.node(`n${at + 1}`, spec);
  await world.start();
  return world;
}

const get = (world: World, id = 'web') => world.get(id) as Service;
const explain = (world: World, id = 'web') => explainService(world.store.view, get(world, id), world.clock.time);
const spec = (change: Partial<ServiceSpec> = {}): ServiceSpec => ({
  Name: 'web',
  Labels: {},
  TaskTemplate: nginx(),
  Mode: { Replicated: { Replicas: 1 } },
  ...change,
});
const predict = (world: World, wanted: ServiceSpec, service?: Service) =>
  forecast(world.store.view, { spec: wanted, now: world.clock.time, ...(service === undefined ? {} : { service }) });
const where = (places: readonly ForecastPlace[]) => places.map(({ Name, Hostname, Err }) => [Name, Hostname || Err]);

describe('explain: a task that waits for a node', () => {
  test('each filter says what is asked, what there is, and what would help', async () => {
    const world = await worldOf(
      { Availability: 'drain' },
      { Labels: { disk: 'hdd' } },
      { Labels: { disk: 'ssd' } },
      { Labels: { disk: 'ssd' } },
      {},
    );
    await world.node('n4', { state: 'down' });
    const reserve = (MemoryBytes: number) => ({ Resources: { Reservations: { MemoryBytes } } });
    await world.service(
      'big',
      1,
      nginx({ ...reserve(5 * 2 ** 30), Placement: { Constraints: ['node.hostname==n3'] } }),
    );
    await world.service(
      'web',
      1,
      nginx({ ...reserve(4 * 2 ** 30), Placement: { Constraints: ['node.labels.disk==ssd'] } }),
    );
    const [task] = explain(world).Tasks as [TaskExplanation];
    expect(task.WaitsFor).toBe(
      'a node: no suitable node (2 nodes not available for new tasks; scheduling constraints not satisfied on 2 nodes; insufficient resources on 1 node)',
    );
    expect(task.Nodes?.map(({ Hostname, Reason, Remedy }) => `${Hostname}: ${Reason} → ${Remedy}`)).toEqual([
      'n1: the node is drained → node update --availability active n1',
      'n2: node.labels.disk == ssd, but it is hdd → node update --label-add disk=ssd n2',
      'n3: not enough left: memory 4 GiB wanted, 2.45 GiB of 7.45 GiB free → reserve less, free some, or add a larger node',
      'n4: the node is down → start its daemon, or see why it cannot be reached at 10.0.0.1',
      'n5: node.labels.disk == ssd, but it is not set → node update --label-add disk=ssd n5',
    ]);
  });

  test('ports name their holder, replicas their limit, platforms both sides, generic resources their kind', async () => {
    const world = await worldOf({});
    const ports = { Ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] };
    await world.service('a', 1, nginx(), ports);
    await world.service('b', 1, nginx(), ports);
    await world.service('c', 2, nginx({ Placement: { MaxReplicas: 1 } }));
    await world.service('d', 1, nginx({ Placement: { Platforms: [{ OS: 'linux', Architecture: 'arm64' }] } }));
    const gpu = { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 2 } }] };
    await world.service('e', 1, nginx({ Resources: { Reservations: gpu } }));
    const reason = (id: string) => explain(world, id).Tasks[0]?.Nodes?.[0]?.Reason;
    expect(['b', 'c', 'd', 'e'].map(reason)).toEqual([
      'host port 8080/tcp is taken by a.1',
      'it has 1 of at most 1 tasks of this service',
      'the image is for linux/arm64, the node is linux/x86_64',
      'not enough left: gpu 2 wanted, 0 of 0 free',
    ]);
  });

  test('of a global service only its own node speaks', async () => {
    const world = await worldOf({}, {});
    await world.service('big', 1, nginx({ Resources: { Reservations: { NanoCPUs: 3e9 } } }));
    await world.spec('web', {
      Mode: { Global: {} },
      TaskTemplate: nginx({ Resources: { Reservations: { NanoCPUs: 2e9 } } }),
    });
    const { Tasks, Desired, Running } = explain(world);
    expect([Running, Desired]).toEqual([1, 2]);
    expect(Tasks[0]?.Nodes?.map(({ Reason }) => Reason)).toEqual(['not enough left: CPUs 2 wanted, 1 of 4 free']);
    expect(Tasks.map(({ WaitsFor }) => WaitsFor === '')).toEqual([false, true]);
  });
});

describe('explain: every node that a service is not on', () => {
  const reasons = (nodes: readonly NodeVerdict[] = []) => nodes.map(({ Hostname, Reason }) => `${Hostname}: ${Reason}`);

  test('a global service that waits on three nodes for three reasons tells all three', async () => {
    const world = await worldOf({ Labels: { at: '1' } }, { Labels: { at: '2' } }, { Labels: { at: '3' } }, {});
    const at = (value: string) => ({ Placement: { Constraints: [`node.labels.at==${value}`] } });
    await world.service('cpu', 1, nginx({ ...at('1'), Resources: { Reservations: { NanoCPUs: 3e9 } } }));
    await world.service('mem', 1, nginx({ ...at('2'), Resources: { Reservations: { MemoryBytes: 7e9 } } }));
    const EndpointSpec = { Ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] };
    await world.service('port', 1, nginx(at('3')), EndpointSpec);
    const Reservations = { NanoCPUs: 2e9, MemoryBytes: 2e9 };
    await world.spec('web', {
      Mode: { Global: {} },
      TaskTemplate: nginx({ Resources: { Reservations } }),
      EndpointSpec,
    });
    const { Tasks, Nodes } = explain(world);
    expect(Tasks.slice(0, 3).map((task) => reasons(task.Nodes))).toEqual([
      ['n1: not enough left: CPUs 2 wanted, 1 of 4 free'],
      ['n2: not enough left: memory 1.86 GiB wanted, 953.7 MiB of 7.45 GiB free'],
      ['n3: host port 8080/tcp is taken by port.1'],
    ]);
    expect(Nodes).toBeUndefined();
  });

  test('nodes that a global service has no task on are told with the reason, those out of its constraints last', async () => {
    const ssd = { Labels: { disk: 'ssd' } };
    const world = await worldOf({}, ssd, { ...ssd, Availability: 'pause' }, ssd, ssd);
    const Placement = { Constraints: ['node.labels.disk==ssd'] };
    await world.spec('web', { Mode: { Global: {} }, TaskTemplate: nginx({ Placement }) });
    await world.node('n4', { Availability: 'drain' });
    const { Nodes, Findings, Running } = explain(world);
    expect(Running).toBe(2);
    expect(reasons(Nodes)).toEqual([
      'n3: the node is paused',
      'n4: the node is drained',
      'n1: node.labels.disk == ssd, but it is not set',
    ]);
    expect(Findings).toEqual([]);
  });

  test('tasks of two specs each tell what the nodes say, equal ones once', async () => {
    const world = await worldOf({});
    const reserve = (NanoCPUs: number) => nginx({ Resources: { Reservations: { NanoCPUs } } });
    await world.service('web', 3, reserve(2.5e9));
    await world.spec('web', { TaskTemplate: reserve(3e9), UpdateConfig: { Parallelism: 1, Order: 'start-first' } });
    const { Tasks } = explain(world);
    const told = Tasks.filter((task) => task.Nodes !== undefined).map((task) => reasons(task.Nodes)[0]);
    expect(told.sort()).toEqual([
      'n1: not enough left: CPUs 2.5 wanted, 1.5 of 4 free',
      'n1: not enough left: CPUs 3 wanted, 1.5 of 4 free',
    ]);
  });
});

describe('explain: a task that waits for addresses', () => {
  test('what is missing is said of the task and, where it is the service that lacks it, of the service', async () => {
    const world = await worldOf({});
    const port = { Ports: [{ TargetPort: 80, PublishedPort: 80 }] };
    await world.service('first', 1, nginx(), port);
    await world.service('web', 1, nginx(), port);
    const why = "port '80' is already in use by service 'first' (first) as an ingress port";
    expect(explain(world).Findings).toEqual([`not everything is given that it asks for: ${why}`]);
    const [task] = explain(world).Tasks;
    expect(task).toMatchObject({ State: 'new', WaitsFor: `its addresses: ${why}` });
    expect(task?.Nodes).toBeUndefined();
  });

  test('of one that was just made, that it is about to get them', async () => {
    const world = await worldOf({});
    await world.stop();
    await world.spec('web', {});
    const status = { state: TaskState.new, timestamp: 0, message: 'waiting for network addresses', err: '' };
    const made: Task = {
      ...{ id: 't', meta: { version: 1, createdAt: 0, updatedAt: 0 }, serviceId: 'web', slot: 1, nodeId: '' },
      ...{ spec: nginx(), specVersion: 1, serviceName: 'web', serviceLabels: {}, endpoint: {}, restarts: [] },
      ...{ desired: TaskState.running, status },
    };
    expect(explainTask(world.store.view, made, 0).WaitsFor).toBe('its addresses: they are about to be given');
  });
});

describe('explain: other states', () => {
  test('a crash loop tells how often it failed and when it is tried next', async () => {
    const world = await worldOf({});
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 1e9 } }));
    for (let round = 0; round < 5; round++) {
      await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
      await world.settle();
      if (round < 4) await world.advance(10_000);
    }
    const [task] = explain(world).Tasks as [TaskExplanation];
    expect(task.WaitsFor).toBe('the end of its restart delay (5 failures in a row)');
    expect(task.Until).toBe(world.clock.time + 4_000);
    expect(explain(world).Findings).toEqual(['1 task failed several times in a row and waits longer each time']);
  });

  test('a place that the restart policy gave up says so, with the error', async () => {
    const world = await worldOf({});
    await world.service('web', 2, nginx({ RestartPolicy: { Condition: 'none' } }));
    await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
    await world.settle();
    const { Findings, Tasks, Running, Desired } = explain(world);
    expect([Running, Desired]).toEqual([1, 2]);
    expect(Findings).toEqual(['1 place not restarted, as the restart policy says (none)']);
    expect(Tasks[0]?.WaitsFor).toBe('nothing: it failed: reported');
  });

  test('a place given up after several failures is not said to wait for another try', async () => {
    const world = await worldOf({});
    await world.service('web', 1, nginx({ RestartPolicy: { Delay: 1e9, MaxAttempts: 2 } }));
    for (let round = 0; round < 3; round++) {
      await world.report(world.running('web')[0]?.id ?? '', TaskState.failed);
      await world.settle();
      await world.advance(10_000);
    }
    expect(explain(world).Findings).toEqual([
      '1 place not restarted, as the restart policy says (any, at most 2 attempts)',
    ]);
  });

  test('a task on a node that is down is unknown', async () => {
    const world = await worldOf({});
    await world.service('web', 1);
    await world.node('n1', { state: 'down' });
    const task = world.running('web')[0] as Task;
    expect(explainTask(world.store.view, task, world.clock.time).WaitsFor).toBe(
      'node n1 to come back: whether it still runs there is unknown',
    );
  });

  test('a service that waits for its nodes says until when', async () => {
    const world = await worldOf({});
    await world.spec('web', { Labels: { 'tscluster.failover-delay': '30s' } });
    await world.advance(5_000);
    await world.node('n1', { state: 'down' });
    const [task] = explain(world).Tasks as [TaskExplanation];
    expect([task.WaitsFor, task.Until]).toEqual([
      'node n1 to come back, or else to be replaced',
      world.clock.time + 30_000,
    ]);
    expect(explain(world).Findings).toEqual(['1 task on nodes that are down']);
  });

  test('an agent that does not move is named', async () => {
    const world = await worldOf({});
    const state = { at: undefined as number | undefined };
    world.agent = () => state.at;
    await world.service('web', 1);
    const waits = () => explain(world).Tasks[0]?.WaitsFor;
    expect(waits()).toBe('the agent on n1 to accept it');
    state.at = TaskState.preparing;
    await world.settle();
    expect(waits()).toBe('the agent on n1 to prepare its image and container');
    state.at = TaskState.starting;
    await world.settle();
    expect(waits()).toBe('its container to start, or to be found healthy');
  });

  test('a global service without any node says so', async () => {
    const world = await worldOf({ Availability: 'pause' });
    await world.spec('web', { Mode: { Global: {} } });
    expect(explain(world).Findings).toEqual(['no node is ready, active and within the constraints']);
  });
});

describe('explain: why there', () => {
  const placement = (world: World, id: string) => explain(world, id).Tasks[0]?.Placement;

  test('the only node that fits; the one with the fewest; as good as the best; not any more', async () => {
    const world = await worldOf({ Labels: { disk: 'ssd' } }, {});
    await world.service('a', 1, nginx({ Placement: { Constraints: ['node.labels.disk==ssd'] } }));
    expect(placement(world, 'a')).toBe('no other node of 2 fits');
    await world.service('b', 1);
    expect(placement(world, 'b')).toBe(
      '2 of 2 nodes fit; among equals in tasks of the service this one has the fewest tasks at all (0)',
    );
    await world.service('c', 2);
    expect(placement(world, 'c')).toBe(
      '2 of 2 nodes fit; this one has the fewest other tasks of the service (0, the next has 1)',
    );
    await world.node('n1', { Availability: 'pause' });
    expect(placement(world, 'a')).toBe('no other node of 2 fits; it would not be placed here now (ready)');
  });
});

describe('forecast', () => {
  test('a new service: what the scheduler does when it is created, exactly', async () => {
    const world = await worldOf({}, {}, {});
    await world.service('other', 2);
    const before = world.commits;
    const wanted = spec({ Mode: { Replicated: { Replicas: 7 } } });
    const told = predict(world, wanted);
    expect(world.commits).toBe(before);
    await world.service('web', 7);
    const counts = (hosts: readonly string[]) =>
      ['n1', 'n2', 'n3'].map((id) => hosts.filter((host) => host === id).length);
    expect(told.Created).toHaveLength(7);
    expect(counts(told.Created.map(({ Hostname }) => Hostname)).sort()).toEqual(
      counts(world.running('web').map((task) => task.nodeId)).sort(),
    );
    expect([told.Kept, told.Replaced, told.Removed, told.More]).toEqual([0, 0, 0, 0]);
  });

  test('what finds no node says why, node by node', async () => {
    const world = await worldOf({}, {});
    const wanted = spec({
      Mode: { Replicated: { Replicas: 3 } },
      TaskTemplate: nginx({ Placement: { MaxReplicas: 1 } }),
    });
    const { Created } = predict(world, wanted);
    expect(where(Created)[2]).toEqual(['web.3', 'no suitable node (max replicas per node limit exceed)']);
    expect(Created[2]?.Nodes?.map(({ Filter }) => Filter)).toEqual(['maxReplicas', 'maxReplicas']);
  });

  test('an update: what is kept, replaced, added and removed', async () => {
    const world = await worldOf({}, {});
    await world.service('web', 3);
    const scaled = predict(world, spec({ Mode: { Replicated: { Replicas: 5 } } }), get(world));
    expect([scaled.Kept, scaled.Replaced, scaled.Removed]).toEqual([3, 0, 0]);
    expect(scaled.Created.map(({ Name }) => Name)).toEqual(['web.4', 'web.5']);
    const fewer = predict(world, spec({ Mode: { Replicated: { Replicas: 1 } } }), get(world));
    expect([fewer.Kept, fewer.Removed, fewer.Created.length]).toEqual([1, 2, 0]);
    const image = spec({ Mode: { Replicated: { Replicas: 3 } }, TaskTemplate: nginx({}, 'nginx:2') });
    const replaced = predict(world, image, get(world));
    expect([replaced.Kept, replaced.Replaced, replaced.Created.length]).toEqual([0, 3, 3]);
  });

  test('an update that fits only where the old tasks are now', async () => {
    const world = await worldOf({});
    const reserve = { Resources: { Reservations: { MemoryBytes: 6e9 } } };
    await world.service('web', 1, nginx(reserve));
    const { Created } = predict(world, spec({ TaskTemplate: nginx(reserve, 'nginx:2') }), get(world));
    expect(where(Created)).toEqual([['web.1', 'n1']]);
  });

  test('global services and jobs', async () => {
    const world = await worldOf({ Labels: { disk: 'ssd' } }, {}, { Availability: 'drain' });
    const global = spec({ Mode: { Global: {} } });
    expect(where(predict(world, global).Created)).toEqual([
      ['web.n1', 'n1'],
      ['web.n2', 'n2'],
    ]);
    await world.spec('web', { Mode: { Global: {} } });
    const narrowed = { ...global, TaskTemplate: nginx({ Placement: { Constraints: ['node.labels.disk==ssd'] } }) };
    const told = predict(world, narrowed, get(world));
    expect([told.Kept, told.Replaced, told.Removed]).toEqual([1, 0, 1]);
    const job = spec({ Mode: { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 9 } } });
    expect(predict(world, job).Created.map(({ Name }) => Name)).toEqual(['web.0', 'web.1']);
    expect(predict(world, spec({ Mode: { GlobalJob: {} } })).Created).toHaveLength(2);
  });
});
