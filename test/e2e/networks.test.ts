/**
 * Networks on four real hosts: after every kind of change the whole matrix of names, addresses and ports is held against the store.
 * Three managers and a worker; the services stay over the whole file, each test changes something and puts it right again.
 */
import { createSocket, type Socket } from 'node:dgram';
import { Agent, request } from 'node:http';
import packet from 'dns-packet';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { containers, formCluster, leaderOf, nodeTable, running } from './cluster.ts';
import { type Host, Hosts, until } from './hosts.ts';
import { serveLocalImages, serveWhoami } from './images.ts';
import { expectMatrix, get, httpPort, type Probe, probe, truth } from './matrix.ts';

let hosts: Hosts;
let first: Host;
let world: Socket;

/** Service → how many tasks it should have. */
const wanted = new Map<string, number>();

async function create(name: string, replicas: number, ...args: readonly string[]): Promise<void> {
  wanted.set(name, replicas);
  const common = ['--name', name, '--replicas', String(replicas), '--dns', hosts.outside];
  await first.ok(['service', 'create', '-d', ...common, ...args, 'whoami']);
}

/** The world's name server: knows one name. Containers ask it for what is not the cluster's. */
async function worldNames(address: string): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => {
    const { id, questions = [] } = packet.decode(message);
    const known = questions[0]?.name === 'world.test' && questions[0].type === 'A';
    const answer = {
      type: 'response' as const,
      ...(id === undefined ? {} : { id }),
      flags: known ? 0 : 3, // NXDOMAIN
      questions,
      ...(known ? { answers: [{ type: 'A' as const, name: 'world.test', data: '192.0.2.1' }] } : {}),
    };
    socket.send(packet.encode(answer), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(53, address, resolve));
  return socket;
}

async function settled(ask = first): Promise<void> {
  for (const [name, count] of wanted) {
    await until(`${name} with ${count} tasks`, 40_000, async () => {
      const all = await running(ask, name);
      if (all.length !== count) throw new Error(await ask.ok(['service', 'ps', name, '--no-trunc']));
      return true;
    });
  }
}

async function remove(...names: readonly string[]): Promise<void> {
  for (const name of names) wanted.delete(name);
  await first.ok(['service', 'rm', ...names]);
}

const named = (name: string): Host => {
  const host = hosts.hosts.find((one) => one.name === name);
  if (host === undefined) throw new Error(`no host ${name}`);
  return host;
};

beforeAll(async () => {
  hosts = await Hosts.up({ prefix: 'tsx', network: '10.91.0', count: 4 });
  first = hosts.host(1);
  world = await worldNames(hosts.outside);
  await serveLocalImages(hosts);
  await serveWhoami(hosts);
  await formCluster(hosts, 3);
  await first.ok(['network', 'create', '-d', 'overlay', '--subnet', '10.77.0.0/24', 'front']);
  await first.ok([
    'network',
    'create',
    '-d',
    'overlay',
    '--subnet',
    '10.77.0.0/24',
    '-o',
    'tscluster.shared-subnet=true',
    'twin',
  ]);
  await first.ok(['network', 'create', '-d', 'overlay', '--ipv6', '--subnet', 'fd00:77::/64', 'back']);
  await create('web', 4, '--network', 'front', '-p', '8080:80', '-p', '9000:9000/udp', '--update-order', 'start-first');
  await create(
    'api',
    2,
    '--network',
    'front',
    '--network',
    'name=back,alias=backend',
    '-p',
    'published=8082,target=80,source=masquerade',
  );
  await create('db', 2, '--network', 'back', '--endpoint-mode', 'dnsrr');
  await create('other', 4, '--network', 'twin');
  await settled();
}, 180_000);
afterAll(async () => {
  world?.close();
  await hosts?.down();
});

const matrix = (alive?: readonly Host[], ask?: Host) => expectMatrix(hosts, ask ?? first, alive);

/** Where a task's container is, for `nsenter`. */
async function inside(service: string): Promise<{ readonly place: string; readonly host: Host; readonly id: string }> {
  const task = (await running(first, service))[0];
  if (task === undefined) throw new Error(`no task of ${service}`);
  const host = named(task.node);
  const pid = (await containers(hosts, host)).get(task.id);
  return { place: `/proc/${pid}/ns/net`, host, id: task.id };
}

describe('the matrix of names, addresses and ports is what the store says', () => {
  test('once everything runs', async () => {
    await matrix();
    const now = await truth(first);
    expect(now.endpoints).toHaveLength(12);
    expect(now.services.find(({ name }) => name === 'api')?.vips.size).toBe(2);
  });

  test('after a host died, and after it came back', async () => {
    const leader = await leaderOf(hosts, first);
    const victim = hosts.hosts.find((host) => host !== leader && host !== first && host.index < 4) ?? hosts.host(4);
    await victim.cut();
    try {
      await until('the host is down', 15_000, async () =>
        (await nodeTable(first)).find((node) => node.hostname === victim.name)?.status === 'Down' ? true : undefined,
      );
      await settled();
      await matrix(hosts.hosts.filter((host) => host !== victim));
    } finally {
      await victim.heal();
    }
    await until('the host is back', 15_000, async () =>
      (await nodeTable(first)).every((node) => node.status === 'Ready') ? true : undefined,
    );
    await settled();
    await matrix();
  });

  test('after a rolling update, scaling up and scaling down', async () => {
    await first.ok(['service', 'update', '-q', '--env-add', 'ROUND=2', 'web']);
    await settled();
    await matrix();
    for (const count of [6, 3, 4]) {
      wanted.set('web', count);
      await first.ok(['service', 'scale', '-d', `web=${count}`]);
      await settled();
      await matrix();
    }
  });

  test('after kill -9 and restart of the daemon on each host, one after the other', async () => {
    for (const host of hosts.hosts) {
      const before = await containers(hosts, host);
      await host.stop('SIGKILL');
      await host.start();
      const ask = host === first ? hosts.host(2) : first;
      await until('all nodes ready', 20_000, async () =>
        (await nodeTable(ask)).every((node) => node.status === 'Ready') ? true : undefined,
      );
      await settled(ask);
      expect(await containers(hosts, host)).toEqual(before);
      await matrix(hosts.hosts, ask);
    }
  });

  test('after the leader changed', async () => {
    const leader = await leaderOf(hosts, first);
    const other = hosts.hosts.find((host) => host !== leader && host.index <= 3) ?? first;
    await leader.stop('SIGTERM');
    await until('another leader', 15_000, async () => {
      const next = await leaderOf(hosts, other).catch(() => leader);
      return next === leader ? undefined : next;
    });
    await leader.start();
    await until('all nodes ready', 20_000, async () =>
      (await nodeTable(other)).every((node) => node.status === 'Ready') ? true : undefined,
    );
    await settled(other);
    await matrix(hosts.hosts, other);
  });

  test('after a network was removed and made again', async () => {
    await remove('other');
    await until('the network is free', 20_000, async () =>
      (await first.cli(['network', 'rm', 'twin'])).code === 0 ? true : undefined,
    );
    await first.ok([
      'network',
      'create',
      '-d',
      'overlay',
      '--subnet',
      '10.77.0.0/24',
      '-o',
      'tscluster.shared-subnet=true',
      'twin',
    ]);
    await create('other', 4, '--network', 'twin');
    await settled();
    await matrix();
  });

  test('with fifty more services', async () => {
    const names = Array.from({ length: 50 }, (_, at) => `s${at}`);
    const silent = ['service', 'create', '-d', '--replicas', '0'];
    await Promise.all(
      names.map((name) =>
        first.ok([...silent, '--name', name, '--dns', hosts.outside, '--network', 'front', 'whoami']),
      ),
    );
    wanted.set('s0', 2);
    await first.ok(['service', 'scale', '-d', 's0=2']);
    await settled();
    await matrix();
    wanted.delete('s0');
    await first.ok(['service', 'rm', ...names]);
    await until('they are gone', 20_000, async () => ((await truth(first)).services.length === 4 ? true : undefined));
    await settled();
    await matrix();
  });
});

test('names that are not of the cluster come from the world outside', async () => {
  const { place } = await inside('web');
  expect(await probe(place, [{ kind: 'dns', name: 'world.test', type: 'A' }])).toEqual([['192.0.2.1']]);
});

describe('what is apart stays apart', () => {
  test('tasks of other networks cannot be reached, whatever is tried', async () => {
    const now = await truth(first);
    const networks = await get<{ Id: string; Name: string }[]>(first, '/networks');
    const back = networks.find(({ Name }) => Name === 'back')?.Id ?? '';
    const addresses = now.endpoints
      .filter(({ service }) => service === 'db')
      .flatMap((endpoint) => endpoint.addresses.get(back) ?? []);
    expect(addresses.length).toBeGreaterThan(0);
    const probes: Probe[] = addresses.map((host) => ({ kind: 'http', host, port: httpPort }));
    const { place } = await inside('web');
    for (const answer of await probe(place, probes)) expect(String(answer)).toMatch(/^(E[A-Z]+|TIMEOUT)$/);
  });

  test('the same address on two networks leads to two services', async () => {
    const now = await truth(first);
    const vip = (name: string) => [...(now.services.find((one) => one.name === name)?.vips.values() ?? [])].flat()[0];
    const host = vip('web') ?? '';
    expect([host, vip('other')]).toEqual(['10.77.0.2', '10.77.0.2']); // the subnets are the same, and both were the first there
    for (const service of ['web', 'other']) {
      const { place } = await inside(service);
      const answers = await probe(place, Array(8).fill({ kind: 'http', host, port: httpPort }));
      const ids = now.endpoints.filter((one) => one.service === service).map(({ taskId }) => taskId.slice(0, 12));
      for (const answer of answers) expect(ids).toContain(String(answer).split(' ')[0]);
    }
  });
});

/** Requests one after the other on `parallel` lanes through `entries`, until told to stop; counts what went wrong. */
class Load {
  requests = 0;
  readonly failures: string[] = [];
  #running = true;
  readonly #lanes: Promise<void>[];

  constructor(entries: readonly Host[], parallel: number, port: number) {
    this.#lanes = Array.from({ length: parallel }, (_, at) => this.#lane(entries[at % entries.length] as Host, port));
  }

  async #lane(entry: Host, port: number): Promise<void> {
    const agent = new Agent({ keepAlive: false });
    while (this.#running && this.requests < 20_000) {
      this.requests += 1;
      const failure = await one(entry.address, port, agent);
      if (failure !== undefined) this.failures.push(`${entry.name}: ${failure}`);
    }
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes);
  }
}

function one(host: string, port: number, agent: Agent): Promise<string | undefined> {
  return new Promise((resolve) => {
    const call = request({ host, port, agent, timeout: 5_000 }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode}`));
      response.on('error', (error) => resolve(error.message));
    });
    call.on('timeout', () => call.destroy(new Error('timeout')));
    call.on('error', (error) => resolve(error.message));
    call.end();
  });
}

describe('no request is lost', () => {
  test('through two entry hosts while the service is updated both ways, scaled, and a node is drained', async () => {
    const load = new Load([hosts.host(2), hosts.host(4)], 4, 8080);
    try {
      await first.ok(['service', 'update', '-q', '--env-add', 'ROUND=3', 'web']);
      await first.ok(['service', 'update', '-q', '--update-order', 'stop-first', '--env-add', 'ROUND=4', 'web']);
      for (const count of [6, 2, 4]) {
        wanted.set('web', count);
        await first.ok(['service', 'scale', '-d', `web=${count}`]);
        await settled();
      }
      await first.ok(['node', 'update', '--availability', 'drain', 'n3']);
      await until('n3 is empty', 40_000, async () =>
        (await running(first, 'web')).some((task) => task.node === 'n3') ? undefined : true,
      );
      await settled();
    } finally {
      await load.stop();
      await first.ok(['node', 'update', '--availability', 'active', 'n3']);
    }
    expect(load.failures).toEqual([]);
    expect(load.requests).toBeGreaterThan(500);
    await matrix();
  });
});

describe('ports', () => {
  test('one that another program has is reported, and works elsewhere', async () => {
    const host = hosts.host(4);
    const program = host.run('socat', ['TCP4-LISTEN:8090,fork', 'EXEC:true']);
    try {
      await until('the program listens', 5_000, async () =>
        (await host.run('ss', ['-Hltn', 'sport = :8090'])).stdout.includes(':8090') ? true : undefined,
      );
      await create('busy', 1, '-p', '8090:80');
      await settled();
      await until('the problem is shown', 10_000, async () =>
        (await first.ok(['service', 'explain', 'busy'])).includes('8090') ? true : undefined,
      );
      const answers = await probe(undefined, [
        { kind: 'http', host: hosts.host(1).address, port: 8090 },
        { kind: 'http', host: hosts.host(3).address, port: 8090 },
      ]);
      for (const answer of answers) expect(String(answer)).toMatch(new RegExp(`^[0-9a-z]{12} ${hosts.outside}$`));
    } finally {
      await host.run('pkill', ['-f', 'TCP4-LISTEN:8090']);
      await program;
      await remove('busy');
    }
  });

  test('two services cannot publish the same one; an automatic one is chosen and shown', async () => {
    const taken = await first.cli(['service', 'create', '-d', '--name', 'late', '-p', '8080:80', 'whoami']);
    expect([taken.code, taken.stderr]).toEqual([
      1,
      expect.stringContaining("port '8080' is already in use by service 'web'"),
    ]);
    await create('auto', 1, '-p', '80');
    await settled();
    const ports = (await truth(first)).services.find(({ name }) => name === 'auto')?.ports ?? [];
    expect(ports[0]?.published).toBeGreaterThanOrEqual(30_000);
    await matrix();
    await remove('auto');
  });

  test('in host mode may be bound to one address, or get a number that the node chooses and shows', async () => {
    const bound = ['-p', 'mode=host,target=80,published=8097,host_ip=127.0.0.1'];
    await create('pinned', 1, ...bound, '-p', 'mode=host,target=80');
    await settled();
    const { host } = await inside('pinned');
    const shown = await first.ok(['service', 'ps', 'pinned', '--format', '{{.Ports}}']);
    const chosen = Number(/\*:(\d+)->80\/tcp/.exec(shown)?.[1]);
    expect(shown).toContain('127.0.0.1:8097->80/tcp');
    expect(chosen).toBeGreaterThanOrEqual(32_768);
    const answers = await probe(undefined, [
      { kind: 'http', host: host.address, port: chosen },
      { kind: 'http', host: host.address, port: 8097 },
    ]);
    expect(String(answers[0])).toMatch(new RegExp(`^[0-9a-z]{12} ${hosts.outside}$`));
    expect(String(answers[1])).not.toMatch(/^[0-9a-z]{12} /);
    expect((await host.run('curl', ['-s', 'http://127.0.0.1:8097/'])).stdout).toMatch(/^[0-9a-z]{12} /);
    await remove('pinned');
  });
});

test('removing everything leaves nothing of it on any host', async () => {
  await remove(...wanted.keys());
  for (const name of ['front', 'twin', 'back'])
    await until(`${name} is free`, 20_000, async () =>
      (await first.cli(['network', 'rm', name])).code === 0 ? true : undefined,
    );
  for (const host of hosts.hosts) {
    await until(`${host.name} is clean`, 20_000, async () => {
      const links = (await host.run('ip', ['-o', 'link', 'show', 'type', 'veth'])).stdout;
      return /: g[0-9a-f]{8}@/.test(links) ? undefined : true;
    });
  }
});
