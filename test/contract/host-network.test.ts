/** The host's part of the network on three hosts that are namespaces. Needs root, iproute2, nftables, conntrack and curl. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IngressPort, ServiceRecord } from '../../src/model/network.ts';
import { type Cluster, get, getTwice, outside, send, type TaskSpec, World } from './host-network-world.ts';

const world = new World();
const host = (number: number) => `10.98.0.${number}`;

const c1: TaskSpec = { id: 'c1', host: 1, at: 11 };
const c2: TaskSpec = { id: 'c2', host: 1, at: 12, networks: ['inner'] };
const w2: TaskSpec = { id: 'w2', host: 2, at: 11, service: 'web' };
const w3: TaskSpec = { id: 'w3', host: 3, at: 11, service: 'web' };
const own: TaskSpec = {
  id: 'own',
  host: 2,
  at: 12,
  hostPorts: [
    { port: 9090, protocol: 'tcp', target: 80 },
    { port: 9091, protocol: 'tcp', target: 80, hostIp: '127.0.0.1' },
    { port: 9092, protocol: 'udp', target: 80 },
  ],
};
const inner = {
  id: 'inner',
  name: 'inner',
  driver: 'overlay',
  vni: 4097,
  subnets: [],
  internal: true,
  options: {},
} as const;

function web(ports: readonly Partial<IngressPort>[]): ServiceRecord {
  const full = ports.map(
    (port) => ({ protocol: 'tcp', published: 8080, target: 80, source: 'preserve', ...port }) as const,
  );
  return { id: 'web', name: 'web', mode: 'vip', networks: [], ports: full };
}

const everySource = web([
  {},
  { protocol: 'udp' },
  { published: 8081, source: 'masquerade' },
  { published: 8082, source: 'local' },
  { published: 8083, hostIp: host(1) },
]);
const tasks = [c1, c2, w2, w3, own];
const cluster: Cluster = { tasks, services: [everySource], networks: [inner] };

const problems = (answers: readonly { value?: readonly { message: string }[] }[]) =>
  answers.flatMap(({ value }) => (value ?? []).map(({ message }) => message));

beforeAll(async () => {
  await world.open();
  for (const task of tasks) expect(await world.attach(task, cluster)).not.toHaveProperty('error');
  expect(problems(await world.sync(cluster))).toEqual([]);
  await Promise.all([...tasks.map((task) => world.serve(task.id, task.id)), world.serve('ext', 'ext', 8000)]);
});

afterAll(() => world.close());

describe('a published port', () => {
  test('answers from outside on every host, and tasks see the client itself', async () => {
    for (const number of [1, 2, 3]) {
      expect(await getTwice('ext', `${host(number)}:8080`)).toEqual([`w2 ${outside}`, `w3 ${outside}`]);
    }
  });

  test('answers on each host by 127.0.0.1, its own address and the others', async () => {
    for (const number of [1, 2, 3]) {
      for (const target of ['127.0.0.1', host(1), host(2), host(3), `172.28.${number}.1`]) {
        const answers = await getTwice(`h${number}`, `${target}:8080`);
        expect([number, target, answers.map((answer) => answer.slice(0, 2))]).toEqual([number, target, ['w2', 'w3']]);
      }
    }
  });

  test('answers to containers on their own node and on others, and to its own tasks', async () => {
    for (const from of ['c1', 'w2', 'w3', 'own']) {
      for (const number of [1, 2, 3]) {
        const answers = await getTwice(from, `${host(number)}:8080`);
        expect([from, number, answers.map((answer) => answer.slice(0, 2))]).toEqual([from, number, ['w2', 'w3']]);
      }
    }
  });

  test('carries datagrams', async () => {
    const answers = [await send('ext', host(1), 8080), await send('ext', host(1), 8080)];
    expect(answers.toSorted()).toEqual([`w2 ${outside}`, `w3 ${outside}`]);
    expect(await send('h1', '127.0.0.1', 8080)).toMatch(/^w[23] /);
  });

  test('with `masquerade` shows the entry node to tasks elsewhere', async () => {
    expect(await getTwice('ext', `${host(1)}:8081`)).toEqual(['w2 10.255.0.1', 'w3 10.255.0.1']);
    expect(await getTwice('ext', `${host(2)}:8081`)).toEqual([`w2 ${outside}`, 'w3 10.255.0.2']);
  });

  test('with `local` answers where a task is, and nowhere else', async () => {
    expect(await getTwice('ext', `${host(2)}:8082`)).toEqual([`w2 ${outside}`, `w2 ${outside}`]);
    expect(await get('ext', `${host(1)}:8082`)).toBe('refused');
  });

  test('on one address of the hosts answers there only', async () => {
    expect(await getTwice('ext', `${host(1)}:8083`)).toEqual([`w2 ${outside}`, `w3 ${outside}`]);
    expect(await get('ext', `${host(2)}:8083`)).toBe('refused');
    expect(await get('h1', '127.0.0.1:8083')).toBe('refused');
  });

  test('without a task that is active is refused at once', async () => {
    const idle = tasks.map((task) => (task.service === undefined ? task : { ...task, active: false }));
    await world.sync({ ...cluster, tasks: idle }, false);
    expect(await get('ext', `${host(1)}:8080`)).toBe('refused');
    expect(await get('c1', `${host(1)}:8080`)).toBe('refused');
    expect(await get('h1', '127.0.0.1:8080')).toBe('refused');
    expect(await send('ext', host(2), 8080)).toBe('refused');
    await world.sync(cluster, false);
    expect(await get('ext', `${host(1)}:8080`)).toMatch(/^w/);
  });
});

describe('a host-mode port', () => {
  test('answers on its node only, from everywhere, with the client itself', async () => {
    expect(await get('ext', `${host(2)}:9090`)).toBe(`own ${outside}`);
    expect(await get('h2', '127.0.0.1:9090')).toMatch(/^own /);
    expect(await get('w2', `${host(2)}:9090`)).toMatch(/^own /);
    expect(await get('own', `${host(2)}:9090`)).toMatch(/^own /);
    expect(await get('c1', `${host(2)}:9090`)).toMatch(/^own /);
    expect(await get('ext', `${host(1)}:9090`)).toBe('refused');
    expect(await send('ext', host(2), 9092)).toBe(`own ${outside}`);
  });

  test('on one address answers there only', async () => {
    expect(await get('h2', '127.0.0.1:9091')).toMatch(/^own /);
    expect(await get('ext', `${host(2)}:9091`)).toBe('refused');
  });
});
