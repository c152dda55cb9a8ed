import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ClusterError } from '../../lib/errors.ts';
import { silentLog } from '../../lib/log.ts';
import { defaultClusterSpec as clusterSpec } from '../../model/defaults.ts';
import type { ClusterNetwork, Network, Task } from '../../model/objects.ts';
import type { EndpointSpec, NetworkSpec, PortConfig } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import { HandClock, nginx, nodeDraft, World } from '../orchestrator/testing/world.ts';
import { restPlace } from '../store/resting.ts';
import { createStore } from '../store/store.ts';
import { createAllocator } from './index.ts';

async function worldOf(nodes: number): Promise<World> {
  const world = new World();
  for (let at = 1; at <= nodes; at++) await world.node(`n${at}`);
  await world.start();
  return world;
}

async function network(world: World, id: string, more: Partial<NetworkSpec> = {}): Promise<void> {
  const spec = { Name: id, Labels: {}, Driver: 'overlay', ...more };
  await world.store.transact((tx) => tx.create('network', { id, spec }));
  await world.settle();
}

async function removeNetwork(world: World, id: string): Promise<void> {
  await world.store.transact((tx) => tx.remove('network', id));
  await world.settle();
}

async function newLeader(world: World): Promise<void> {
  await world.stop();
  await world.start();
}

const wide = {
  addressPools: ['10.0.0.0/8'],
  subnetSize: 24,
  dataPathPort: 4789,
  gatewayPools: ['172.28.0.0/14'],
  ingressPool: '10.255.0.0/16',
};

async function pools(world: World, change: Partial<ClusterNetwork>): Promise<void> {
  await world.store.transact((tx) => {
    const cluster = tx.cluster();
    if (cluster !== undefined) tx.update('cluster', { ...cluster, network: { ...wide, ...change } });
  });
}

async function label(world: World, text: string): Promise<void> {
  await world.store.transact((tx) => {
    const cluster = tx.cluster();
    if (cluster === undefined) return;
    tx.update('cluster', { ...cluster, spec: { ...cluster.spec, Labels: { 'tscluster.addr-pools': text } } });
  });
  await world.settle();
}

const subnet = (Subnet: string, more: object = {}) => ({ IPAM: { Config: [{ Subnet, ...more }] } });
const on = (...ids: string[]) => nginx({ Networks: ids.map((Target) => ({ Target })) });
const ports = (...Ports: PortConfig[]): EndpointSpec => ({ Ports });
const get = (world: World, id: string): Network | undefined => world.store.view.get('network', id);
const subnets = (world: World, id: string) => get(world, id)?.allocation?.subnets.map((one) => one.subnet);
const addresses = (tasks: readonly Task[]) => tasks.map((task) => task.attachments?.flatMap((one) => one.addresses));
const running = (world: World, id: string) => addresses(world.running(id)).flat();
const vips = (world: World, id: string) => world.get(id)?.endpoint?.vips.flatMap((one) => one.addresses);
const published = (world: World, id: string) => world.get(id)?.endpoint?.ports.map((port) => port.PublishedPort);
const waiting = (world: World, id: string) =>
  world.tasks(id).filter((task) => task.status.state === TaskState.new && task.desired <= TaskState.running);
const reasons = (world: World, id: string) => [...new Set(waiting(world, id).map((task) => task.status.err))];

describe('what is given', () => {
  test('a service on an overlay network: subnet, virtual address, addresses of its tasks, places of the nodes', async () => {
    const world = await worldOf(2);
    await network(world, 'web');
    expect(get(world, 'web')?.allocation).toEqual({
      vni: 4097,
      subnets: [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }],
    });
    await world.service('api', 2, on('web'));
    expect(world.get('api')?.endpoint).toEqual({
      specVersion: 1,
      vips: [{ networkId: 'web', addresses: ['10.0.0.2/24'] }],
      ports: [],
    });
    expect(addresses(world.running('api'))).toEqual([['10.0.0.3/24'], ['10.0.0.4/24']]);
    expect([...world.store.view.list('node')].map((node) => node.network)).toEqual([
      { gatewaySubnet: '172.28.0.0/24', ingressAddress: '10.255.0.1' },
      { gatewaySubnet: '172.28.1.0/24', ingressAddress: '10.255.0.2' },
    ]);
  });

  test('IPv6 beside IPv4: one address of each, in a subnet of its own or the one asked for', async () => {
    const world = await worldOf(1);
    await network(world, 'own', { EnableIPv6: true });
    await network(world, 'asked', { EnableIPv6: true, ...subnet('fd00:1::/64') });
    const [v4, v6] = subnets(world, 'own') ?? [];
    expect(v4).toBe('10.0.0.0/24');
    expect(v6).toMatch(/^fd[0-9a-f:]+::\/64$/);
    expect(subnets(world, 'asked')).toEqual(['10.0.1.0/24', 'fd00:1::/64']);
    await world.service('api', 1, on('asked', 'own'));
    expect(world.get('api')?.endpoint?.vips[0]?.addresses).toEqual(['10.0.1.2/24', 'fd00:1::2/64']);
    expect(world.running('api')[0]?.attachments?.map((one) => one.networkId)).toEqual(['asked', 'own']);
    expect(world.running('api')[0]?.attachments?.[0]?.addresses).toEqual(['10.0.1.3/24', 'fd00:1::3/64']);
  });

  test('range, gateway and reserved addresses are minded; the next subnet is used when one is full', async () => {
    const world = await worldOf(1);
    const Config = [
      { Subnet: '10.1.0.0/24', IPRange: '10.1.0.8/29', Gateway: '10.1.0.9', AuxiliaryAddresses: { nas: '10.1.0.11' } },
      { Subnet: '10.2.0.0/29' },
    ];
    await network(world, 'web', { IPAM: { Config } });
    await world.service('api', 7, on('web'));
    expect(vips(world, 'api')).toEqual(['10.1.0.8/24']);
    expect(running(world, 'api')).toEqual([
      ...['10.1.0.10/24', '10.1.0.12/24', '10.1.0.13/24', '10.1.0.14/24', '10.1.0.15/24'],
      ...['10.2.0.2/29', '10.2.0.3/29'],
    ]);
  });

  test('a macvlan network has no VXLAN id and no virtual addresses, but addresses for its tasks', async () => {
    const world = await worldOf(1);
    await network(world, 'lan', { Driver: 'macvlan', Options: { parent: 'eth0' }, ...subnet('192.168.1.0/24') });
    expect(get(world, 'lan')?.allocation?.vni).toBe(0);
    await world.service('api', 1, on('lan'));
    expect(world.get('api')?.endpoint).toBeUndefined();
    expect(running(world, 'api')).toEqual(['192.168.1.2/24']);
  });

  test('global services and jobs get addresses like others', async () => {
    const world = await worldOf(2);
    await network(world, 'web');
    await world.spec('everywhere', { TaskTemplate: on('web'), Mode: { Global: {} } });
    expect(running(world, 'everywhere')).toEqual(['10.0.0.3/24', '10.0.0.4/24']);
    await world.spec('job', { TaskTemplate: on('web'), Mode: { ReplicatedJob: {} }, EndpointSpec: { Mode: 'dnsrr' } });
    expect(addresses(world.tasks('job'))).toEqual([['10.0.0.5/24']]);
  });

  test('networks of every node need nothing: their tasks never meet the allocator', async () => {
    const world = await worldOf(1);
    await world.service('api', 1, on('host'));
    expect(world.running('api')[0]?.attachments).toBeUndefined();
    expect(world.get('api')?.endpoint).toBeUndefined();
  });

  test('nothing more is written when everything has what it needs', async () => {
    const world = await worldOf(2);
    await network(world, 'web', { EnableIPv6: true });
    await world.service('api', 3, on('web'), ports({ TargetPort: 80 }, { TargetPort: 81, PublishedPort: 81 }));
    const before = world.commits;
    await newLeader(world);
    await world.advance(200_000);
    expect(world.commits).toBe(before);
  });
});

describe('addresses of tasks', () => {
  test('are used again as late as possible, also by a new leader', async () => {
    const world = await worldOf(1);
    await network(world, 'web', subnet('10.1.0.0/28'));
    await world.service('api', 2, on('web'));
    expect(running(world, 'api')).toEqual(['10.1.0.3/28', '10.1.0.4/28']);
    for (const [at, leads] of [5, 6, 7].entries()) {
      const [first] = world.running('api');
      if (first !== undefined) await world.report(first.id, TaskState.failed);
      if (at === 1) await newLeader(world);
      await world.advance(6_000);
      expect(running(world, 'api')).toContain(`10.1.0.${leads}/28`);
    }
  });

  test('of a task that ended are nobody’s for a minute; then who waits for one gets it, without polling', async () => {
    const world = await worldOf(1);
    await network(world, 'web', subnet('10.1.0.0/29'));
    await world.service('api', 4, on('web'));
    await world.service('late', 2, on('web'));
    const full =
      'no free address on network web (10.1.0.0/29 has 5, all in use or resting): remove tasks, or create a larger network';
    expect(reasons(world, 'late')).toEqual([`no virtual address for service late: ${full}`]);
    expect(world.get('late')?.endpointError).toBe(`no virtual address for service late: ${full}`);
    await world.service('api', 1, on('web'));
    await world.advance(59_000);
    expect(waiting(world, 'late')).toHaveLength(2);
    await newLeader(world);
    expect(waiting(world, 'late')).toHaveLength(2);
    await world.advance(1_000);
    expect(vips(world, 'late')).toEqual(['10.1.0.4/29']);
    expect(running(world, 'late').sort()).toEqual(['10.1.0.5/29', '10.1.0.6/29']);
    expect(world.get('late')?.endpointError).toBeUndefined();
  });

  test('are given in the order in which tasks began to wait, and an address is left to those who can use it', async () => {
    const world = await worldOf(1);
    await network(world, 'a', subnet('10.1.0.0/29'));
    await network(world, 'b', subnet('10.2.0.0/29'));
    const dnsrr = { Mode: 'dnsrr' };
    await world.service('fill-a', 5, on('a'), dnsrr);
    await world.service('fill-b', 5, on('b'), dnsrr);
    await world.service('both', 1, on('a', 'b'), dnsrr);
    await world.service('one', 1, on('a'), dnsrr);
    await world.service('fill-a', 4, on('a'), dnsrr);
    await world.advance(60_000);
    expect(reasons(world, 'both')[0]).toContain('no free address on network b');
    expect(running(world, 'one')).toHaveLength(1);
  });

  test('a task that waits and is no longer wanted goes, and so does one whose network is gone once the service is updated', async () => {
    const world = await worldOf(1);
    await network(world, 'web', subnet('10.1.0.0/29'));
    await world.service('api', 6, on('web'));
    expect(waiting(world, 'api')).toHaveLength(2);
    await world.service('api', 4, on('web'));
    expect(waiting(world, 'api')).toHaveLength(0);
    expect(world.tasks('api')).toHaveLength(4);
    await world.service('lost', 1, on('gone'));
    expect(reasons(world, 'lost')).toEqual(['network gone does not exist any more: update the service, or remove it']);
    await world.service('lost', 1, nginx());
    await world.advance(10_000);
    expect(world.running('lost')).toHaveLength(1);
    expect(world.tasks('lost')).toHaveLength(1);
  });

  test('an update on a network without a free address harms nothing: it waits, and is paused in the end, with the reason', async () => {
    const world = await worldOf(1);
    await network(world, 'web', subnet('10.1.0.0/29'));
    await world.service('api', 4, on('web'));
    await world.service('api', 4, { ...on('web'), ContainerSpec: { Image: 'nginx:2' } });
    expect(reasons(world, 'api')[0]).toContain('no free address on network web');
    expect(world.running('api')).toHaveLength(4);
    await world.advance(15 * 60_000);
    expect(world.get('api')?.updateStatus?.state).toBe('paused');
    expect(world.get('api')?.updateStatus?.message).toContain('no free address on network web (10.1.0.0/29 has 5');
    expect(world.running('api').map((task) => task.spec.ContainerSpec.Image)).toEqual(Array(4).fill('nginx:1'));
  });

  test('a task that had some is deleted when they have rested; others at once', async () => {
    const world = await worldOf(1);
    await network(world, 'web');
    await world.service('api', 1, on('web'));
    await world.service('plain', 1);
    await world.removeService('api');
    await world.removeService('plain');
    expect(world.tasks().map((task) => [task.serviceId, task.desired])).toEqual([['api', TaskState.remove]]);
    await world.advance(59_900);
    expect(world.tasks()).toHaveLength(1);
    await world.advance(100);
    expect(world.tasks()).toHaveLength(0);
    expect(world.clock.timers).toBe(0);
  });
});

test('a write without an answer may get through yet: what it gives is given to nobody else meanwhile', async () => {
  const clock = new HandClock();
  const store = createStore({ proposer: null, now: () => clock.time });
  await store.transact((tx) => {
    const allocation = { vni: 4097, subnets: [{ subnet: '10.1.0.0/29', gateway: '10.1.0.1' }] };
    tx.create('network', { id: 'web', spec: { Name: 'web', Labels: {}, Driver: 'overlay' }, allocation });
    const spec = { Name: 'api', Labels: {}, TaskTemplate: on('web'), Mode: {}, EndpointSpec: { Mode: 'dnsrr' } };
    tx.create('service', { id: 'api', spec, specVersion: 1 });
  });
  const make = (id: string) => store.transact((tx) => tx.create('task', taskDraft(id)));
  const log: (() => void)[] = [];
  let version = 100;
  let answer: 'now' | 'later' | 'never' = 'now';
  store.setProposer({
    propose: async (changes, now) => {
      const entry = store.encode(changes, now);
      const apply = () => store.apply(++version, entry);
      if (answer === 'now') return { version, applied: apply() };
      const applied = new Promise<boolean>((resolve) => log.push(() => resolve(apply())));
      if (answer === 'never') throw new ClusterError('deadline', 'no answer');
      return { version, applied: await applied };
    },
  });
  const loop = createAllocator({ store, clock, log: silentLog });
  loop.start();
  const settle = async () => {
    do await nextTurn();
    while (clock.runDeferred());
  };
  await make('t1');
  answer = 'never';
  await settle();
  expect(log).toHaveLength(1);
  answer = 'now';
  await make('t2'); // in truth it was proposed before that
  answer = 'later';
  await settle();
  expect(log).toHaveLength(2);
  answer = 'now';
  for (const apply of log) apply();
  await settle();
  clock.runTimer(clock.time + 1000);
  await settle();
  const given = [...store.view.list('task')].map((task) => task.attachments?.flatMap((one) => one.addresses));
  expect(given).toEqual([['10.1.0.2/29'], ['10.1.0.3/29']]);
  await loop.stop();
});

function taskDraft(id: string): Omit<Task, 'meta'> {
  return {
    id,
    serviceId: 'api',
    slot: Number(id.slice(1)),
    nodeId: '',
    spec: on('web'),
    specVersion: 1,
    serviceName: 'api',
    serviceLabels: {},
    endpoint: {},
    desired: TaskState.running,
    status: { state: TaskState.new, timestamp: 0, message: '', err: '' },
    restarts: [],
  };
}

describe('virtual addresses', () => {
  test('stay the service’s over updates and scaling', async () => {
    const world = await worldOf(2);
    await network(world, 'a');
    await network(world, 'b');
    await world.service('api', 2, on('a'));
    const [vip] = vips(world, 'api') ?? [];
    await world.service('api', 3, { ...on('a'), ContainerSpec: { Image: 'nginx:2' } });
    await world.advance(60_000);
    expect(vips(world, 'api')).toEqual([vip]);
    expect(world.get('api')?.endpoint?.specVersion).toBe(world.get('api')?.specVersion);
    await world.service('api', 3, on('b', 'a'));
    expect(vips(world, 'api')).toEqual(['10.0.1.2/24', vip]);
  });

  test('that are given up rest in the store for a minute, whoever leads', async () => {
    const world = await worldOf(1);
    await network(world, 'web', subnet('10.1.0.0/29'));
    const vip = { Mode: 'vip' };
    for (const id of ['a', 'b', 'c', 'd', 'e']) await world.service(id, 0, on('web'), vip);
    await world.service('a', 0, on('web'), { Mode: 'dnsrr' });
    expect(world.get('a')?.endpoint).toBeUndefined();
    expect(get(world, 'web')?.resting).toEqual({ '10.1.0.2': world.clock.time + 60_000 });
    await newLeader(world);
    await world.service('f', 0, on('web'), vip);
    expect(world.get('f')?.endpointError).toContain('no free address on network web');
    await world.advance(59_999);
    expect(world.get('f')?.endpoint).toBeUndefined();
    await world.advance(1);
    expect(vips(world, 'f')).toEqual(['10.1.0.2/29']);
  });
});

describe('published ports', () => {
  test('are chosen for who asks for none, and stay; those that are asked for are kept', async () => {
    const world = await worldOf(1);
    await world.service('a', 1, nginx(), ports({ TargetPort: 80 }, { TargetPort: 80, Protocol: 'udp' }));
    await world.service('b', 1, nginx(), ports({ TargetPort: 80 }, { TargetPort: 81, PublishedPort: 8080 }));
    expect(published(world, 'a')).toEqual([30_000, 30_000]);
    expect(published(world, 'b')).toEqual([30_001, 8080]);
    expect(world.running('a')).toHaveLength(1);
    await newLeader(world);
    await world.service('b', 1, nginx(), ports({ TargetPort: 82 }, { TargetPort: 80 }));
    expect(published(world, 'b')?.[1]).toBe(30_001);
    expect(published(world, 'b')?.[0]).toBeGreaterThan(30_001);
  });

  test('that change replace no task', async () => {
    const world = await worldOf(2);
    await network(world, 'web');
    await world.service('api', 2, on('web'), ports({ TargetPort: 80, PublishedPort: 80 }));
    const before = world.tasks('api').map((task) => task.id);
    await world.service('api', 2, on('web'), ports({ TargetPort: 80, PublishedPort: 8080 }));
    await world.advance(30_000);
    expect(published(world, 'api')).toEqual([8080]);
    await world.service('api', 2, on('web'), { Mode: 'dnsrr' });
    await world.advance(30_000);
    expect(world.get('api')?.endpoint).toBeUndefined();
    expect(world.tasks('api').map((task) => task.id)).toEqual(before);
    await world.service('api', 2, on('web'), ports({ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }));
    await world.advance(60_000);
    expect(world.running('api').some((task) => before.includes(task.id))).toBe(false);
  });

  test('that another service has are not given, tasks say why, and they are given when it gives them up', async () => {
    const world = await worldOf(1);
    const port = { TargetPort: 80, PublishedPort: 8080 };
    await world.service('first', 1, nginx(), ports(port));
    await world.service('second', 1, nginx(), ports(port));
    const why = "port '8080' is already in use by service 'first' (first) as an ingress port";
    expect(reasons(world, 'second')).toEqual([why]);
    expect(world.get('second')?.endpointError).toBe(why);
    await world.removeService('first');
    expect(world.running('second')).toHaveLength(1);
    expect(published(world, 'second')).toEqual([8080]);
  });

  test('a task that waits for them goes on when its service no longer asks for any', async () => {
    const world = await worldOf(1);
    await world.service('api', 1, nginx(), ports({ TargetPort: 80, PublishedPort: 80 }));
    await world.service('other', 1, nginx(), ports({ TargetPort: 80, PublishedPort: 80 }));
    expect(waiting(world, 'other')).toHaveLength(1);
    await world.service('other', 1, nginx(), {});
    expect(world.running('other')).toHaveLength(1);
    expect(world.get('other')?.endpointError).toBeUndefined();
  });

  test('a service that cannot get a port more keeps what it has, and its tasks are restarted all the same', async () => {
    const world = await worldOf(1);
    await world.service('first', 1, nginx(), ports({ TargetPort: 80, PublishedPort: 80 }));
    await world.service('second', 1, nginx(), ports({ TargetPort: 80, PublishedPort: 81 }));
    await world.service(
      'second',
      1,
      nginx(),
      ports({ TargetPort: 80, PublishedPort: 81 }, { TargetPort: 8, PublishedPort: 80 }),
    );
    expect(world.get('second')?.endpointError).toContain("port '80' is already in use by service 'first'");
    expect(published(world, 'second')).toEqual([81]);
    for (const task of world.running('second')) await world.report(task.id, TaskState.failed);
    await world.advance(10_000);
    expect(world.running('second')).toHaveLength(1);
  });
});

describe('networks', () => {
  test('are cut from the pools in order, around what others have and the cluster’s own blocks', async () => {
    const world = new World();
    await world.cluster(5);
    await pools(world, { addressPools: ['10.1.0.0/23', '10.2.0.0/22'], gatewayPools: ['10.2.0.0/24'] });
    await world.node('n1');
    await world.start();
    await network(world, 'asked', subnet('10.1.0.128/25'));
    for (const id of ['a', 'b', 'c', 'd', 'e']) await network(world, id);
    expect(['a', 'b', 'c', 'd'].map((id) => subnets(world, id))).toEqual([
      ['10.1.1.0/24'],
      ['10.2.1.0/24'],
      ['10.2.2.0/24'],
      ['10.2.3.0/24'],
    ]);
    expect(get(world, 'e')?.allocationError).toBe(
      'address pools are exhausted (every /24 of 10.1.0.0/23, 10.2.0.0/22 is in use): remove networks, give the network a subnet of its own, or add a pool',
    );
    await world.service('api', 1, on('e'));
    expect(reasons(world, 'api')[0]).toContain('network e has no subnet: address pools are exhausted');
    await removeNetwork(world, 'c');
    expect(subnets(world, 'e')).toEqual(['10.2.2.0/24']);
    expect(get(world, 'e')?.allocationError).toBeUndefined();
    expect(world.running('api')).toHaveLength(1);
    await network(world, 'f');
    expect(get(world, 'f')?.allocation).toBeUndefined();
    await label(world, '192.168.0.0/16');
    expect(subnets(world, 'f')).toEqual(['192.168.0.0/24']);
  });

  test('that ask for the same subnet at the same moment do not both get it', async () => {
    const world = await worldOf(1);
    await world.store.transact((tx) => {
      for (const id of ['a', 'b']) {
        tx.create('network', { id, spec: { Name: id, Labels: {}, Driver: 'overlay', ...subnet('10.1.0.0/24') } });
      }
    });
    await world.settle();
    expect(subnets(world, 'a')).toEqual(['10.1.0.0/24']);
    expect(get(world, 'b')?.allocationError).toBe('subnet 10.1.0.0/24 overlaps with one of network a');
  });

  test('a VXLAN id is free again a minute after its network was removed', async () => {
    const world = await worldOf(1);
    const vni = (id: string) => get(world, id)?.allocation?.vni;
    const list = 'com.docker.network.driver.overlay.vxlanid_list';
    await network(world, 'a');
    await network(world, 'b', { Options: { [list]: '4098' } });
    await removeNetwork(world, 'a');
    await network(world, 'c');
    expect([vni('b'), vni('c')]).toEqual([4098, 4099]);
    await world.advance(60_000);
    await network(world, 'd');
    expect(vni('d')).toBe(4097);
  });

  test('one that asks for a VXLAN id which rests gets it, and its subnet, when it has rested, without polling', async () => {
    const world = await worldOf(1);
    const chosen = { Options: { 'com.docker.network.driver.overlay.vxlanid_list': '5000' } };
    await network(world, 'a', chosen);
    await removeNetwork(world, 'a');
    await world.advance(10_000);
    await network(world, 'b', chosen);
    expect(get(world, 'b')?.allocationError).toBe('VXLAN id 5000 is in use by another network');
    await world.advance(49_999);
    expect(get(world, 'b')?.allocation).toBeUndefined();
    await world.advance(1);
    expect(get(world, 'b')?.allocation).toMatchObject({ vni: 5000 });
    expect(get(world, 'b')?.allocationError).toBeUndefined();
    expect(world.clock.timers).toBe(0);
  });

  test('a subnet that one shares with another is in use as long as either has it, whoever leads', async () => {
    const world = await worldOf(1);
    const shared = { Options: { 'tscluster.shared-subnet': 'true' } };
    await network(world, 'a', subnet('10.0.0.0/24'));
    await network(world, 'b', { ...subnet('10.0.0.0/23'), ...shared });
    await network(world, 'c', { ...subnet('10.0.0.0/24'), ...shared });
    await network(world, 'd');
    expect(subnets(world, 'd')).toEqual(['10.0.2.0/24']);
    await removeNetwork(world, 'd');
    await removeNetwork(world, 'a');
    await removeNetwork(world, 'b');
    await network(world, 'e');
    expect(subnets(world, 'e')).toEqual(['10.0.1.0/24']);
    await removeNetwork(world, 'e');
    await newLeader(world);
    await network(world, 'f');
    expect(subnets(world, 'f')).toEqual(['10.0.1.0/24']);
  });
});

describe('places of nodes', () => {
  test('are kept, free again a minute after the node was removed, and who gets none says so', async () => {
    const world = new World();
    await world.cluster(5);
    await pools(world, { gatewayPools: ['172.28.0.0/23'] });
    for (const id of ['n1', 'n2', 'n3']) await world.node(id);
    await world.start();
    const place = (id: string) => world.store.view.get('node', id)?.network?.gatewaySubnet;
    expect(['n1', 'n2', 'n3'].map(place)).toEqual(['172.28.0.0/24', '172.28.1.0/24', undefined]);
    expect(world.store.view.get('node', 'n3')?.networkProblems).toEqual([
      {
        message:
          'no free gateway subnet for this node: every /24 of 172.28.0.0/23 belongs to a node, or did a minute ago; remove nodes that are gone',
      },
    ]);
    await newLeader(world);
    await world.removeNode('n1');
    expect(place('n3')).toBeUndefined();
    await world.advance(59_999);
    expect(place('n3')).toBeUndefined();
    await world.advance(1);
    expect(['n2', 'n3'].map(place)).toEqual(['172.28.1.0/24', '172.28.0.0/24']);
    expect(world.clock.timers).toBe(0);
  });

  test('of a removed node rest in the store: the next leader gives them to nobody sooner', async () => {
    const world = new World();
    await world.cluster(5);
    await pools(world, { gatewayPools: ['172.28.0.0/22'] });
    for (const id of ['n1', 'n2']) await world.node(id);
    await world.start();
    await world.store.transact((tx) => {
      restPlace(tx, 'n1');
      tx.remove('node', 'n1');
    });
    await world.settle();
    await newLeader(world);
    await world.node('n3');
    expect(world.store.view.get('node', 'n3')?.network).toEqual({
      gatewaySubnet: '172.28.2.0/24',
      ingressAddress: '10.255.0.3',
    });
    await world.advance(60_000);
    await world.node('n4');
    expect(world.store.view.get('node', 'n4')?.network).toEqual({
      gatewaySubnet: '172.28.0.0/24',
      ingressAddress: '10.255.0.1',
    });
    await world.removeNode('n2');
    await world.store.transact((tx) => {
      restPlace(tx, 'n3');
      tx.remove('node', 'n3');
    });
    expect(Object.keys(world.store.view.cluster()?.restingPlaces ?? {})).toEqual(['n3']);
  });

  test('5,000 nodes get theirs in no time that grows with their square', async () => {
    const clock = new HandClock();
    const store = createStore({ proposer: null, now: () => clock.time });
    await store.transact((tx) => {
      const rootCa = { certPem: '', keyPem: '', joinTokens: { worker: '', manager: '' } };
      const network = { ...wide, gatewayPools: ['100.64.0.0/10'] };
      tx.create('cluster', { id: 'c', spec: clusterSpec, rootCa, removedNodes: {}, nextRaftId: 1, network });
    });
    const ids = Array.from({ length: 5_000 }, (_, at) => `n${at}`);
    await store.batch(ids, (tx, id) => tx.create('node', nodeDraft(id)));
    const loop = createAllocator({ store, clock, log: silentLog });
    const began = performance.now();
    loop.start();
    const unplaced = () => [...store.view.list('node')].some((node) => node.network === undefined);
    while (unplaced()) {
      clock.runDeferred();
      await nextTurn();
    }
    expect(performance.now() - began).toBeLessThan(5_000);
    const places = new Set(Array.from(store.view.list('node'), (node) => node.network?.gatewaySubnet));
    expect(places.size).toBe(5_000);
    const stopped = loop.stop();
    clock.runDeferred();
    await stopped;
  });
});
