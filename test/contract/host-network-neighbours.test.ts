/** The host's part of the network beside other programs, and when tasks and hosts go. Needs root, iproute2, nftables, conntrack, curl. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ServiceRecord } from '../../src/model/network.ts';
import { until } from '../e2e/hosts.ts';
import {
  type Answer,
  addressOf,
  type Cluster,
  get,
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

const w2: TaskSpec = { id: 'w2', host: 2, at: 11, service: 'web' };
const w3: TaskSpec = { id: 'w3', host: 3, at: 11, service: 'web' };
const c1: TaskSpec = { id: 'c1', host: 1, at: 12 };
const published: TaskSpec = { id: 'p1', host: 1, at: 11, hostPorts: [{ port: 9090, protocol: 'tcp', target: 80 }] };
const web: ServiceRecord = {
  id: 'web',
  name: 'web',
  mode: 'vip',
  networks: [],
  ports: [
    { protocol: 'tcp', published: 8080, target: 80, source: 'preserve' },
    { protocol: 'udp', published: 8080, target: 80, source: 'preserve' },
  ],
};
const cluster: Cluster = { tasks: [w2, w3, c1], services: [web] };
/** The same with only these tasks of the service in its maps. */
const behind = (...active: readonly TaskSpec[]): Cluster => ({
  ...cluster,
  tasks: cluster.tasks.map((task) => ({ ...task, active: active.includes(task) })),
});

const problemsOf = (answers: readonly Answer[]) =>
  answers.flatMap(({ value }) => (value ?? []).map(({ message }) => message));
const on = async (where: string, ...[program = '', ...args]: readonly string[]) => {
  const { code, stdout, stderr } = await inNetns(where, program, args);
  return code === 0 ? stdout.trim() : `failed: ${stderr}`;
};

/** A client that keeps one connection and sends a request for every line it is given. */
function connect(target: string): { readonly process: ChildProcess; next(): Promise<string> } {
  const script = `
    const [host, port] = process.argv[1].split(':');
    const s = require('net').connect(+port, host);
    s.on('data', (d) => console.log(d.toString().split('\\r\\n\\r\\n')[1]));
    s.on('error', (e) => { console.log(e.code); process.exit(); });
    process.stdin.on('data', () => s.write('GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'));`;
  const client = spawn('nsenter', [`--net=/run/netns/${netns('ext')}`, process.execPath, '-e', script, target]);
  const next = async () => {
    client.stdin.write('\n');
    const [chunk] = (await once(client.stdout, 'data', { signal: AbortSignal.timeout(5_000) })) as [Buffer];
    return chunk.toString().trim();
  };
  return { process: client, next };
}

beforeAll(async () => {
  await world.open();
  for (const task of cluster.tasks) expect(await world.attach(task, cluster)).not.toHaveProperty('error');
  expect(problemsOf(await world.sync(cluster))).toEqual([]);
  await Promise.all([world.serve('w2', 'w2'), world.serve('w3', 'w3'), world.serve('ext', 'ext', 8000)]);
});

afterAll(() => world.close());

describe('a port that another program has', () => {
  test('stays with it, is reported with its name, and is taken when it is free', async () => {
    const wider = {
      ...cluster,
      services: [{ ...web, ports: [{ protocol: 'tcp', published: 8085, target: 80, source: 'preserve' }] }],
    } as const;
    const other = await world.serve('h1', 'other', 8085);
    const [answer] = await world.sync(wider);
    expect(answer?.value).toEqual([
      {
        serviceId: 'web',
        message: expect.stringMatching(
          /^published port 8085\/tcp of service web does not answer on this node: node \(process \d+\) has it/,
        ),
      },
    ]);
    expect(await get('ext', `${host(1)}:8085`)).toBe(`other ${outside}`);
    expect(await get('ext', `${host(2)}:8085`)).toMatch(/^w/);
    other.kill('SIGKILL');
    await once(other, 'exit');
    await until('another try', 5_000, async () => ((await world.ask(1, 'sync', wider)).again > 0 ? true : undefined));
    expect(problemsOf(await world.sync(wider))).toEqual([]);
    expect(await get('ext', `${host(1)}:8085`)).toMatch(/^w/);
    await world.sync(cluster);
    expect(await get('ext', `${host(1)}:8085`)).toBe('refused');
  });

  test('is refused to a task that wants it for itself', async () => {
    const other = await world.serve('h1', 'other', 9090);
    const more = { ...cluster, tasks: [...cluster.tasks, published] };
    expect((await world.attach(published, more)).error).toMatch(
      /^Bind for 0\.0\.0\.0:9090\/tcp failed: port is already allocated \(node \(process \d+\)\)$/,
    );
    other.kill('SIGKILL');
    await once(other, 'exit');
    expect((await world.ask(1, 'wire', more, { taskId: 'p1' })).error).toBeUndefined();
    await world.serve('p1', 'p1');
    expect(await get('ext', `${host(1)}:9090`)).toBe(`p1 ${outside}`);
    const second: TaskSpec = { ...published, id: 'p2', at: 20 };
    expect((await world.attach(second, { ...more, tasks: [...more.tasks, second] })).error).toBe(
      'Bind for 0.0.0.0:9090/tcp failed: port is already allocated (task p1)',
    );
    await world.detach(published, more);
    expect(await get('ext', `${host(1)}:9090`)).toBe('refused');
    expect(await world.serve('h1', 'free again', 9090)).toBeDefined();
  });
});

describe('a task that leaves the maps', () => {
  test('keeps its connections', async () => {
    await world.sync(behind(w2), false);
    const client = connect(`${host(1)}:8080`);
    expect(await client.next()).toBe(`w2 ${outside}`);
    await world.sync(behind(w3), false);
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(await client.next()).toBe(`w2 ${outside}`);
    expect(await get('ext', `${host(1)}:8080`)).toBe(`w3 ${outside}`);
    client.process.kill();
  });

  test('loses its flows of datagrams', async () => {
    await world.sync(behind(w2), false);
    expect(await send('ext', host(1), 8080, 7777)).toBe(`w2 ${outside}`);
    await world.sync(behind(w3), false);
    await until('the other task', 3_000, async () =>
      (await send('ext', host(1), 8080, 7777)).startsWith('w3') ? true : undefined,
    );
  });

  test('still gets what peers with older maps send', async () => {
    await world.sync(behind(w2, w3), false);
    const withoutRecord = {
      ...cluster,
      tasks: cluster.tasks.map((task) => (task === w2 ? { ...task, service: 'unknown' } : task)),
    };
    await world.ask(2, 'sync', withoutRecord, { full: false });
    const answers = await Promise.all([1, 2, 3, 4].map(() => get('ext', `${host(1)}:8080`)));
    expect(answers).not.toContain('silence');
    expect(answers).toContain(`w2 ${outside}`);
    await world.sync(cluster, false);
  });
});

describe('a host that is lost', () => {
  test('costs a connection attempt one repetition, and open connections are cut', async () => {
    await world.sync(behind(w2), false);
    const client = connect(`${host(1)}:8080`);
    expect(await client.next()).toBe(`w2 ${outside}`);
    await ip(['link set vh2 down'], 'und');
    const attempt = inNetns('ext', 'curl', ['-s', '-m', '6', '-w', ' %{time_total}', `http://${host(1)}:8080/`]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (const number of [1, 3]) await world.ask(number, 'sync', { ...behind(w3), downHosts: [2] }, { full: false });
    const [name, , seconds] = (await attempt).stdout.split(' ');
    expect(name).toBe('w3');
    expect(Number(seconds)).toBeLessThan(2);
    expect(await client.next()).toBe('ECONNRESET');
    await ip(['link set vh2 up'], 'und');
    await world.sync(cluster, false);
  });
});

describe('a host that is removed from the cluster at once', () => {
  test('is gone as well: open connections to its tasks are cut', async () => {
    await world.sync(behind(w2), false);
    const client = connect(`${host(1)}:8080`);
    expect(await client.next()).toBe(`w2 ${outside}`);
    const without = { ...behind(w3), tasks: behind(w3).tasks.filter(({ id }) => id !== 'w2'), goneHosts: [2] };
    for (const number of [1, 3]) await world.ask(number, 'sync', without, { full: false });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await client.next()).toBe('ECONNRESET');
    await world.sync(cluster, false);
    expect(await get('ext', `${host(1)}:8080`)).toMatch(/^w[23] /);
  });
});

describe('a port that changes hands in one state', () => {
  test('answers for its new service at once, on every host', async () => {
    const other: ServiceRecord = { ...web, id: 'other', name: 'other' };
    const moved: Cluster = {
      tasks: cluster.tasks.map((task) => (task === w3 ? { ...task, service: 'other' } : task)),
      services: [other],
    };
    expect(problemsOf(await world.sync(moved, false))).toEqual([]);
    for (const number of [1, 2, 3]) {
      for (let at = 0; at < 2; at++) expect(await get('ext', `${host(number)}:8080`)).toBe(`w3 ${outside}`);
    }
    const swapped = { ...moved, services: [{ ...other, ports: [] }, web] };
    expect(problemsOf(await world.sync(swapped, false))).toEqual([]);
    expect(await get('ext', `${host(1)}:8080`)).toBe(`w2 ${outside}`);
    expect(problemsOf(await world.sync(cluster, false))).toEqual([]);
  });
});

describe('beside other programs', () => {
  test('marks that count in address checks (WireGuard sets this) do no harm', async () => {
    for (const number of [1, 2, 3]) await on(`h${number}`, 'sysctl', '-qw', 'net.ipv4.conf.all.src_valid_mark=1');
    for (const number of [1, 2, 3]) {
      for (let at = 0; at < 2; at++) expect(await get('ext', `${host(number)}:8080`)).toMatch(/^w[23] 10\.98\.0\.9$/);
    }
    for (const number of [1, 2, 3]) await on(`h${number}`, 'sysctl', '-qw', 'net.ipv4.conf.all.src_valid_mark=0');
  });

  test("Docker's firewall lets our links through", async () => {
    const docker = [
      'table ip filter {',
      '  chain DOCKER-USER { counter return; }',
      '  chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }',
      '}',
    ].join('\n');
    for (const number of [1, 2]) await on(`h${number}`, 'nft', docker);
    expect(await get('ext', `${host(1)}:8080`)).toBe('silence');
    expect(problemsOf(await world.sync(cluster))).toEqual([]);
    expect(await get('ext', `${host(1)}:8080`)).toMatch(/^w/);
    expect(await get('ext', `${host(2)}:8080`)).toMatch(/^w/);
    expect(await get('c1', `${outside}:8000`)).toBe(`ext ${host(1)}`);
    expect(await get('c1', `${addressOf(w2)}:80`)).toBe('refused');
    expect((await world.sync(cluster)).map(({ changes }) => changes)).toEqual([0, 0, 0]);
    await on('h1', 'nft', 'delete table ip filter');
  });

  test('a firewall that drops what is forwarded is reported', async () => {
    await on('h1', 'nft', 'table inet mine { chain onward { type filter hook forward priority 10; policy drop; }; }');
    expect(problemsOf(await world.sync(cluster))).toEqual([
      'firewall: table inet mine drops what is forwarded, which cuts containers off: accept input and output interfaces tscg* and ing0 in its chain onward',
    ]);
    await on('h1', 'nft', 'delete table inet mine');
  });

  test("the host's own routes that overlap the cluster's pools are reported", async () => {
    const lan = {
      id: 'lan',
      name: 'lan',
      driver: 'overlay',
      vni: 4098,
      subnets: [{ subnet: '10.98.0.0/16', gateway: '10.98.0.1' }],
      internal: false,
      options: {},
    } as const;
    await ip(['route add 172.29.5.0/24 dev eth0', 'route add 10.255.7.0/24 via 10.98.0.9'], 'h3');
    const [, , answer] = await world.sync({ ...cluster, networks: [lan] });
    expect(answer?.value).toEqual([
      {
        message: expect.stringMatching(
          /^the gateway pool 172\.28\.0\.0\/14 overlaps this host's route to 172\.29\.5\.0\/24 of eth0: .*--gateway-pool/,
        ),
      },
      {
        message: expect.stringMatching(
          /^the ingress pool 10\.255\.0\.0\/16 overlaps this host's route to 10\.255\.7\.0\/24 of eth0: .*--ingress-pool/,
        ),
      },
      {
        networkId: 'lan',
        message: expect.stringMatching(/^network lan: subnet 10\.98\.0\.0\/16 overlaps .*--default-addr-pool/),
      },
    ]);
    await ip(['route del 172.29.5.0/24', 'route del 10.255.7.0/24'], 'h3');
  });
});

test('destroy leaves nothing of ours and everything of others', async () => {
  const left = async (where: string) => ({
    links: (JSON.parse(await on(where, 'ip', '-j', 'link')) as { ifname: string }[])
      .map(({ ifname }) => ifname)
      .filter((name) => /^(tscg|ing0)/.test(name)),
    routes: await on(where, 'ip', 'route', 'show', 'table', 'all', 'proto', '84'),
    rules: (await on(where, 'ip', 'rule')).split('\n').length,
    tables: await on(where, 'nft', 'list', 'tables'),
    loopback: await on(where, 'ip', '-br', 'addr', 'show', 'lo', 'label', 'lo:tsc'),
    docker: (await on(where, 'nft', 'list', 'chain', 'ip', 'filter', 'DOCKER-USER')).includes('tscluster'),
  });
  await on('h2', 'nft', 'table inet theirs { }');
  for (const number of [1, 2, 3]) await world.ask(number, 'destroy', cluster);
  const nothing = { links: [], routes: '', rules: 3, tables: '', loopback: '', docker: false };
  expect(await left('h1')).toEqual(nothing);
  expect(await left('h3')).toEqual(nothing);
  expect(await left('h2')).toEqual({ ...nothing, tables: 'table ip filter\ntable inet theirs' });
  for (const number of [1, 2, 3]) expect((await world.ask(number, 'destroy', cluster)).error).toBeUndefined();
});
