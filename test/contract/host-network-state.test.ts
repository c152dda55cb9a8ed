/** Isolation, repair and neighbours of the host's part of the network. Needs root, iproute2, nftables, conntrack and curl. */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ServiceRecord } from '../../src/model/network.ts';
import { linkName } from '../../src/worker/network/host/names.ts';
import {
  type Answer,
  addressOf,
  type Cluster,
  get,
  getTwice,
  inNetns,
  ip,
  netns,
  outside,
  send,
  type TaskSpec,
  World,
} from './host-network-world.ts';

const world = new World();
const host = (number: number) => `10.98.0.${number}`;

const c1: TaskSpec = { id: 'c1', host: 1, at: 11 };
const c2: TaskSpec = { id: 'c2', host: 1, at: 12, networks: ['inner'], service: 'shut' };
const c4: TaskSpec = { id: 'c4', host: 1, at: 13 };
const w1: TaskSpec = { id: 'w1', host: 1, at: 14, service: 'web' };
const w2: TaskSpec = { id: 'w2', host: 2, at: 11, service: 'web' };
const tasks = [c1, c2, c4, w1, w2];
const inner = {
  id: 'inner',
  name: 'inner',
  driver: 'overlay',
  vni: 4097,
  subnets: [],
  internal: true,
  options: {},
} as const;
const service = (id: string, published: number, protocol: 'tcp' | 'udp' = 'tcp'): ServiceRecord => ({
  id,
  name: id,
  mode: 'vip',
  networks: [],
  ports: [{ protocol, published, target: 80, source: 'preserve' }],
});
const services = [service('web', 8080), service('shut', 8090)];
const cluster: Cluster = { tasks, services, networks: [inner] };

const problemsOf = (answers: readonly Answer[]) =>
  answers.flatMap(({ value }) => (value ?? []).map(({ message }) => message));
const changesOf = (answers: readonly Answer[]) => answers.map(({ changes }) => changes);
const on = async (where: string, command: string) => {
  const [program = '', ...args] = command.split(' ');
  const { code, stdout, stderr } = await inNetns(where, program, args);
  return code === 0 ? stdout.trim() : `failed: ${stderr}`;
};

beforeAll(async () => {
  await world.open();
  for (const task of tasks) expect(await world.attach(task, cluster)).not.toHaveProperty('error');
  expect(problemsOf(await world.sync(cluster))).toEqual([]);
  await Promise.all([
    ...tasks.map((task) => world.serve(task.id, task.id)),
    world.serve('ext', 'ext', 8000),
    world.serve('h1', 'h1', 7000),
  ]);
});

afterAll(() => world.close());

describe('a container', () => {
  test('gets out under the address of its host', async () => {
    expect(await get('c1', `${outside}:8000`)).toBe(`ext ${host(1)}`);
  });

  test('reaches no other container by its gateway address, here or elsewhere', async () => {
    expect(await get('c1', `${addressOf(c4)}:80`)).toBe('refused');
    expect(await get('c1', `${addressOf(w1)}:80`)).toBe('refused');
    expect(await get('c1', `${addressOf(w2)}:80`)).toBe('refused');
  });

  test('is not reached by its gateway address from outside or from other nodes, but for published ports', async () => {
    await ip([`route add 172.28.1.0/24 via ${host(1)}`], 'ext');
    expect(await get('ext', `${addressOf(c1)}:80`)).toBe('silence');
    expect(await get('ext', `${addressOf(w1)}:80`)).toBe('silence');
    expect(await get('h2', `${addressOf(c1)}:80`)).toBe('silence');
    expect(await get('h2', `${addressOf(w1)}:80`)).toMatch(/^w1 /);
    await ip(['route del 172.28.1.0/24'], 'ext');
  });

  test('can not pretend to be another', async () => {
    await on('h1', 'sysctl -qw net.ipv4.conf.all.rp_filter=0');
    expect(await get('c1', '172.28.1.1:7000')).toBe(`h1 ${addressOf(c1)}`);
    await ip([`addr add ${addressOf(c4)}/32 dev lo`], 'c1');
    const { code } = await inNetns('c1', 'curl', [
      '-s',
      '-m1',
      '--interface',
      addressOf(c4),
      'http://172.28.1.1:7000/',
    ]);
    await ip([`addr del ${addressOf(c4)}/32 dev lo`], 'c1');
    expect(code).toBe(28);
  });

  test("does not reach its host's loopback services", async () => {
    await ip(['addr add 127.9.9.9/8 dev lo'], 'h1');
    await ip([`route add table local 127.9.9.9/32 via 172.28.1.1 dev gw0 src ${addressOf(c1)}`], 'c1');
    expect(await get('c1', '127.9.9.9:7000')).toBe('silence');
  });

  test('of internal networks only does not get out, but its published port answers', async () => {
    expect(await on('c2', 'ip route show default')).toBe('');
    await ip(['route add default via 172.28.1.1 dev gw0'], 'c2');
    for (const target of [
      `${outside}:8000`,
      '172.28.1.1:7000',
      `${host(1)}:7000`,
      `${host(1)}:8080`,
      `${host(2)}:8080`,
    ]) {
      expect([target, await get('c2', target)]).toEqual([target, 'refused']);
    }
    await ip(['route del default'], 'c2');
    for (const number of [1, 2]) expect(await get('ext', `${host(number)}:8090`)).toBe(`c2 172.28.1.1`);
  });

  test('asks 127.0.0.11 for names and reaches the host on the port of its resolver', async () => {
    const names = await world.serve('h1', 'names', 10053);
    for (const from of ['c1', 'c2']) expect(await get(from, '127.0.0.11:53')).toMatch(/^names 172\.28\.1\.1[12]$/);
    expect(await send('c1', '127.0.0.11', 53)).toBe(`names ${addressOf(c1)}`);
    expect(problemsOf([await world.ask(1, 'sync', cluster)])).toEqual([
      expect.stringMatching(/^names: node \(process \d+\) has port 10053 on all addresses of this host/),
    ]);
    await ip([`route add 172.28.1.1/32 via ${host(1)}`], 'ext');
    expect(await get('ext', '172.28.1.1:10053')).toBe('silence');
    await ip(['route del 172.28.1.1/32'], 'ext');
    names.kill('SIGKILL');
    await once(names, 'exit');
  });
});

describe('nodes', () => {
  test('do not reach services of another host over the link for published ports', async () => {
    await ip(['route add 192.0.2.1/32 via 10.255.0.1 dev ing0 onlink'], 'h2');
    await ip(['addr add 192.0.2.1/32 dev lo'], 'h1');
    expect(await get('h2', '10.255.0.1:7000')).toBe('silence');
    expect(await get('h2', '192.0.2.1:7000')).toBe('silence');
  });

  test('accept VXLAN from nodes only', async () => {
    const drops = async () =>
      Number(/counter packets (\d+)/.exec(await on('h1', 'nft list chain ip tsntest seen'))?.[1]);
    await on('h1', 'nft add table ip tsntest');
    await on('h1', 'nft add chain ip tsntest seen { type filter hook input priority 0 ; }');
    await on('h1', 'nft add rule ip tsntest seen udp dport 4789 counter');
    const before = await drops();
    await send('ext', host(1), 4789);
    expect(await drops()).toBe(before);
    await get('h2', `${addressOf(w1)}:80`);
    expect(await drops()).toBeGreaterThan(before);
    await on('h1', 'nft delete table ip tsntest');
  });
});

describe('sync', () => {
  test('writes nothing when nothing is to do', async () => {
    expect(changesOf(await world.sync(cluster))).toEqual([0, 0, 0]);
    expect(changesOf(await world.sync(cluster, false))).toEqual([0, 0, 0]);
  });

  test('changes one service in one transaction', async () => {
    const idle = { ...cluster, tasks: tasks.map((task) => (task === w2 ? { ...task, active: false } : task)) };
    const answers = await world.sync(idle, false);
    expect(changesOf(answers)).toEqual([1, 1, 1]);
    expect(await getTwice('ext', `${host(2)}:8080`)).toEqual([`w1 ${outside}`, `w1 ${outside}`]);
    await world.sync(cluster, false);
  });

  test('repairs what was flushed, removed or changed, and takes away what nobody wants', async () => {
    const link = linkName('c1');
    for (const harm of [
      'nft flush table ip tsc',
      'nft delete table ip tsc',
      'nft flush map ip tsc ports',
      'ip link delete ing0',
      'ip link set ing0 down',
      'bridge fdb flush dev ing0 self permanent',
      'ip neigh flush dev ing0 nud permanent',
      'ip route flush proto 84',
      'ip rule del pref 5451',
      'ip rule del pref 5452',
      `ip link set ${link} down`,
      `ip link delete ${linkName('w1')}`,
      `ip addr del 172.28.1.1/32 dev lo`,
      'sysctl -qw net.ipv4.conf.ing0.rp_filter=1',
      'sysctl -qw net.ipv4.ip_forward=0',
      'ip link add tscgdeadbeef type veth peer name other0',
    ]) {
      await on('h1', harm);
      const answer = await world.ask(1, 'sync', cluster);
      expect([harm, answer.value, answer.changes > 0]).toEqual([harm, [], true]);
      expect([harm, (await world.ask(1, 'sync', cluster)).changes]).toEqual([harm, 0]);
      expect([harm, await getTwice('ext', `${host(1)}:8080`)]).toEqual([harm, [`w1 ${outside}`, `w2 ${outside}`]]);
      expect([harm, await get('c1', `${outside}:8000`)]).toEqual([harm, `ext ${host(1)}`]);
    }
    expect(await on('h1', 'ip link show tscgdeadbeef')).toMatch(/^failed/);
  });

  test('gives both ends of every link the packet size that the underlay leaves', async () => {
    const sizes = async () =>
      [
        await on('c1', 'ip -o link show gw0'),
        await on('h1', `ip -o link show ${linkName('c1')}`),
        await on('h1', 'ip -o link show ing0'),
      ].map((line) => Number(/ mtu (\d+)/.exec(line)?.[1]));
    expect(await sizes()).toEqual([1450, 1450, 1450]);
    for (const [underlay, inner] of [
      [1400, 1350],
      [1500, 1450],
    ] as const) {
      await on('h1', `ip link set eth0 mtu ${underlay}`);
      expect(problemsOf([await world.ask(1, 'sync', cluster)])).toEqual([]);
      expect([underlay, await sizes()]).toEqual([underlay, [inner, inner, inner]]);
      expect((await world.ask(1, 'sync', cluster)).changes).toBe(0);
    }
    expect(await get('c1', `${outside}:8000`)).toBe(`ext ${host(1)}`);
  });

  test('converges after kills in the middle', async () => {
    const more = [21, 22, 23, 24, 25, 26].map((at): TaskSpec => ({ id: `k${at}`, host: 1, at, service: 'web' }));
    await ip(more.map(({ id }) => `netns add ${netns(id)}`));
    const larger = { ...cluster, tasks: [...tasks, ...more] };
    for (const delayMs of [4, 9, 15, 22, 30, 45, 60]) {
      await world.killDaemon(1);
      await world.startDaemon(1);
      await world.ask(1, 'sync', cluster, { full: false });
      world.tell(1, 'sync', delayMs === 15 ? cluster : larger);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
    await world.killDaemon(1);
    await world.startDaemon(1);
    expect(problemsOf([await world.ask(1, 'sync', larger)])).toEqual([]);
    expect(changesOf([await world.ask(1, 'sync', larger)])).toEqual([0]);
    expect(await on('k24', 'ip -br addr show gw0')).toContain('172.28.1.24/32');
    expect(problemsOf([await world.ask(1, 'sync', cluster)])).toEqual([]);
    expect(await getTwice('ext', `${host(1)}:8080`)).toEqual([`w1 ${outside}`, `w2 ${outside}`]);
  });

  test('repeats an attach without cutting the container off', async () => {
    const before = await on('h1', `ip -j link show ${linkName('c1')}`);
    expect(await world.ask(1, 'wire', cluster, { taskId: 'c1' })).not.toHaveProperty('error');
    expect(JSON.parse(await on('h1', `ip -j link show ${linkName('c1')}`))).toEqual(JSON.parse(before));
  });
});
