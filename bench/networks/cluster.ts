/** What networks cost and how fast they follow, on three real hosts: against the same without them, asked from inside containers. */
import { request } from 'node:http';
import { fileURLToPath } from 'node:url';
import { containers, formCluster, running } from '../../test/e2e/cluster.ts';
import { execute, type Host, Hosts, until } from '../../test/e2e/hosts.ts';
import { serveLocalImages, serveWhoami } from '../../test/e2e/images.ts';
import { get, truth } from '../../test/e2e/truth.ts';
import { median } from '../report.ts';
import type { Result } from './result.ts';

const load = fileURLToPath(new URL('./load.mjs', import.meta.url));
const rounds = 3;

export async function measureCluster(say: (result: Result) => void): Promise<void> {
  const hosts = await Hosts.up({ prefix: 'phn', network: '10.92.0', count: 3 });
  try {
    await serveLocalImages(hosts);
    await serveWhoami(hosts);
    await formCluster(hosts, 3);
    const first = hosts.host(1);
    await first.ok(['network', 'create', 'shop']);
    await creation(first, say);
    await paths(hosts, say);
    await convergence(hosts, say);
  } finally {
    await hosts.down();
  }
}

/** `service create` until all tasks run, with and without a network, in turn. */
async function creation(first: Host, say: (result: Result) => void): Promise<void> {
  for (const replicas of [3, 30]) {
    const times = { plain: [] as number[], overlay: [] as number[] };
    for (let round = 0; round <= rounds; round++) {
      for (const kind of ['plain', 'overlay'] as const) {
        const ms = await timeToRun(first, replicas, kind === 'overlay' ? [{ Target: 'shop' }] : []);
        if (round > 0) times[kind].push(ms); // the first of each warms up
      }
    }
    const [plain, overlay] = [median(times.plain) ?? 0, median(times.overlay) ?? 0];
    say({ case: `create ${replicas} without a network`, value: plain, unit: 'ms' });
    say({
      case: `create ${replicas} on an overlay`,
      value: overlay,
      unit: 'ms',
      ratio: overlay / plain,
      must: '≤ 1.5×',
    });
  }
}

async function timeToRun(first: Host, replicas: number, networks: readonly object[]): Promise<number> {
  const start = performance.now();
  const { ID } = await post<{ ID: string }>(first, '/services/create', {
    Name: 'timed',
    TaskTemplate: {
      ContainerSpec: { Image: 'busybox', Command: ['sleep', '3600'], StopGracePeriod: 1 },
      Networks: networks,
    },
    Mode: { Replicated: { Replicas: replicas } },
  });
  await until('all running', 60_000, async () => {
    const tasks = await get<{ Status: { State: string } }[]>(first, `/tasks?filters={"service":["${ID}"]}`);
    return tasks.filter((task) => task.Status.State === 'running').length === replicas ? true : undefined;
  });
  const ms = performance.now() - start;
  await first.ok(['service', 'rm', 'timed']);
  await until('all gone', 60_000, async () => {
    const tasks = await get<{ ServiceID: string }[]>(first, '/tasks');
    return tasks.some((task) => task.ServiceID === ID) ? undefined : true;
  });
  return ms;
}

function post<T>(host: Host, path: string, body: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const call = request({ socketPath: host.socket, path, method: 'POST', headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () =>
        (response.statusCode ?? 500) < 300 ? resolve(JSON.parse(text) as T) : reject(new Error(text)),
      );
    });
    call.on('error', reject);
    call.end(JSON.stringify(body));
  });
}

async function ask<T>(place: string, what: object): Promise<T> {
  const input = JSON.stringify(what);
  const result = await execute('nsenter', [`--net=${place}`, process.execPath, load], { input, timeoutMs: 60_000 });
  if (result.code !== 0) throw new Error(result.stderr);
  return JSON.parse(result.stdout) as T;
}

interface Times {
  readonly p50: number;
  readonly p99: number;
}

/** New connections and requests per second: straight to a task, by its service's address, through the mesh; on this host and another. */
async function paths(hosts: Hosts, say: (result: Result) => void): Promise<void> {
  const first = hosts.host(1);
  const create = async (name: string, ...args: string[]) => {
    await first.ok(['service', 'create', '-d', '--name', name, '--network', 'shop', ...args, 'whoami']);
    return until(name, 30_000, async () => (await running(first, name))[0]);
  };
  const here = await create('here', '--constraint', 'node.hostname==n1', '-p', '8081:80');
  await create(
    'there',
    '--constraint',
    'node.hostname==n2',
    '-p',
    '8082:80',
    '-p',
    'mode=host,published=8083,target=80',
  );
  await create('client', '--constraint', 'node.hostname==n1');
  const client = await until('client', 10_000, async () => (await running(first, 'client'))[0]);
  const pid = (await containers(hosts, first)).get(client.id);
  const inside = `/proc/${pid}/ns/net`;
  const now = await truth(first);
  const address = (service: string) =>
    [...(now.endpoints.find((one) => one.service === service)?.addresses.values() ?? [])].flat()[0] ?? '';
  const vip = (service: string) =>
    [...(now.services.find((one) => one.name === service)?.vips.values() ?? [])].flat()[0] ?? '';
  if (here === undefined) throw new Error('no task');
  const ways: readonly [string, string, string, number][] = [
    ['task on this host', inside, address('here'), 80],
    ['service on this host', inside, vip('here'), 80],
    ['task on another host', inside, address('there'), 80],
    ['service on another host', inside, vip('there'), 80],
    ['host port of another host', `/run/netns/${first.namespace}`, hosts.host(2).address, 8083],
    ['mesh, task on the host asked', `/run/netns/${hosts.host(2).namespace}`, first.address, 8081],
    ['mesh, task on another host', `/run/netns/${hosts.host(3).namespace}`, first.address, 8082],
  ];
  for (const [name, place, host, port] of ways) {
    const { p50, p99 } = await ask<Times>(place, { kind: 'latency', host, port, count: 1_000 });
    say({ case: `new connection and request: ${name}`, value: p50, unit: 'ms', note: `p99 ${p99.toFixed(2)} ms` });
    const { perSecond } = await ask<{ perSecond: number }>(place, { kind: 'rate', host, port, parallel: 8, ms: 3_000 });
    say({ case: `requests, 8 kept connections: ${name}`, value: perSecond, unit: '1/s' });
  }
  const dns = await ask<Times>(inside, { kind: 'names', name: 'there', count: 2_000 });
  say({ case: 'name of a service', value: dns.p50, unit: 'ms', note: `p99 ${dns.p99.toFixed(2)} ms` });
  await first.ok(['service', 'rm', 'here', 'there', 'client']);
}

/** From a task's new state in the store to the names on every node: what `tasks.NAME` answers there. */
async function convergence(hosts: Hosts, say: (result: Result) => void): Promise<void> {
  const first = hosts.host(1);
  await first.ok(['service', 'create', '-d', '--name', 'watcher', '--mode', 'global', '--network', 'shop', 'whoami']);
  await first.ok([
    'service',
    'create',
    '-d',
    '--name',
    'moving',
    '--network',
    'shop',
    '--restart-delay',
    '0s',
    'whoami',
  ]);
  await until('watchers', 30_000, async () => ((await running(first, 'watcher')).length === 3 ? true : undefined));
  const places: string[] = [];
  for (const task of await running(first, 'watcher')) {
    const host = hosts.hosts.find((one) => one.name === task.node) ?? first;
    places.push(`/proc/${(await containers(hosts, host)).get(task.id)}/ns/net`);
  }
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const before = await until('moving', 30_000, async () => (await running(first, 'moving'))[0]);
    await first.ok(['service', 'update', '-d', '--force', 'moving']);
    const after = await until('its next task', 30_000, async () =>
      (await running(first, 'moving')).find((task) => task.id !== before.id),
    );
    const start = performance.now();
    const now = await truth(first);
    const wanted = [...(now.endpoints.find((one) => one.taskId === after.id)?.addresses.values() ?? [])].flat();
    await Promise.all(places.map((place) => untilNamed(place, wanted[0] ?? '')));
    times.push(performance.now() - start);
  }
  const note = 'from the first API answer that shows it, asked by a new process each time (about 60 ms)';
  say({ case: 'a task moved: its address in the names of all nodes', value: median(times) ?? 0, unit: 'ms', note });
  await first.ok(['service', 'rm', 'moving', 'watcher']);
}

async function untilNamed(place: string, address: string): Promise<void> {
  const probes = [{ kind: 'dns', name: 'tasks.moving', type: 'A' }];
  const script = fileURLToPath(new URL('../../test/e2e/probe.mjs', import.meta.url));
  await until('the names follow', 10_000, async () => {
    const asked = await execute('nsenter', [`--net=${place}`, process.execPath, script], {
      input: JSON.stringify(probes),
    });
    const [answer] = JSON.parse(asked.stdout) as [string | string[]];
    return Array.isArray(answer) && answer.length === 1 && answer[0] === address ? true : undefined;
  });
}
