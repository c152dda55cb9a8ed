/**
 * Networks on four real hosts: after every kind of change the whole matrix of names, addresses and ports is held against the store.
 * Three managers and a worker; the services stay over the whole file, each test changes something and puts it right again.
 */
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { containers, leaderOf } from './cluster.ts';
import { type Host, type Hosts, until } from './hosts.ts';
import { failuresOf, Load, type Odd, stopAll } from './load.ts';
import { httpPort, isNobody, type Probe, probe } from './matrix.ts';
import { Bed } from './networks.ts';
import { call, hostnameOf, truth } from './truth.ts';

let bed: Bed;
let hosts: Hosts;
let first: Host;

beforeAll(async () => {
  bed = await Bed.up();
  ({ hosts, first } = bed);
  const ports = ['-p', '8080:80', '-p', '9000:9000/udp'];
  // That no request is lost can only be had by those who say when they are ready.
  const health = ['--health-cmd', 'wget -q -O /dev/null http://127.0.0.1/', '--health-interval', '5s'];
  const start = ['--health-start-period', '10s', '--health-start-interval', '100ms', '--update-order', 'start-first'];
  await bed.create('web', 4, '--network', 'front', ...ports, ...health, ...start);
  const masqueraded = ['-p', 'published=8082,target=80,source=masquerade'];
  await bed.create('api', 2, '--network', 'front', '--network', 'name=back,alias=backend', ...masqueraded);
  const own = ['-p', 'mode=host,published=8083,target=80', '-p', 'mode=host,published=9083,target=9000,protocol=udp'];
  await bed.create('db', 2, '--network', 'back', '--endpoint-mode', 'dnsrr', ...own);
  await bed.create('other', 4, '--network', 'twin');
  await bed.settled();
}, 180_000);
afterAll(() => bed?.down());

describe('the matrix of names, addresses and ports is what the store says', () => {
  test('once everything runs', async () => {
    await bed.matrix();
    const now = await truth(first);
    expect(now.endpoints).toHaveLength(12);
    expect(now.endpoints.filter(({ service }) => service === 'db').map(({ hostPorts }) => hostPorts.length)).toEqual([
      2, 2,
    ]);
    expect(now.services.find(({ name }) => name === 'api')?.vips.size).toBe(2);
  });

  test('after a host died, and after it came back', async () => {
    const leader = await leaderOf(hosts, first);
    const victim = hosts.hosts.find((host) => host !== leader && host !== first && host.index < 4) ?? hosts.host(4);
    await victim.cut();
    try {
      await bed.isDown(victim);
      await bed.settled();
      await bed.matrix(hosts.hosts.filter((host) => host !== victim));
    } finally {
      await victim.heal();
    }
    await bed.allReady();
    await bed.settled();
    await bed.matrix();
  });

  test('after a rolling update, scaling up and scaling down', async () => {
    await first.ok(['service', 'update', '-q', '--env-add', 'ROUND=2', 'web']);
    await bed.settled();
    await bed.matrix();
    for (const count of [6, 3, 4]) {
      await bed.scale('web', count);
      await bed.matrix();
    }
  });

  test('after kill -9 and restart of the daemon on each host, while names there go on being answered', async () => {
    for (const host of hosts.hosts) {
      const ask = host === first ? hosts.host(2) : first;
      const before = await containers(hosts, host);
      const names = await askNames(host);
      try {
        names.phase('killed');
        await host.stop('SIGKILL');
        names.phase('starting');
        await host.start();
        names.phase('joining');
        await bed.allReady(ask);
        await bed.settled(ask);
      } finally {
        const report = await names.stop();
        expect([host.name, report.odd]).toEqual([host.name, []]);
        for (const phase of ['starting', 'joining']) expect(report.counts[phase]).toBeGreaterThan(0);
      }
      expect(await containers(hosts, host)).toEqual(before);
      await bed.matrix(hosts.hosts, ask);
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
    await bed.allReady(other);
    await bed.settled(other);
    await bed.matrix(hosts.hosts, other);
  });

  test('after a network was removed and made again', async () => {
    await bed.remove('other');
    await removed('twin');
    await bed.createTwin();
    await bed.create('other', 4, '--network', 'twin');
    await bed.settled();
    await bed.matrix();
  });

  test('with fifty more services', async () => {
    const names = Array.from({ length: 50 }, (_, at) => `s${at}`);
    const spec = (name: string, at: number) => ({
      Name: name,
      TaskTemplate: {
        ContainerSpec: { Image: 'whoami', DNSConfig: { Nameservers: [hosts.outside] } },
        Networks: [{ Target: 'front' }],
      },
      Mode: { Replicated: { Replicas: at < 10 ? 1 : 0 } },
    });
    await Promise.all(names.map((name, at) => call(first, 'POST', '/services/create', spec(name, at))));
    try {
      for (const name of names.slice(0, 10)) bed.wanted.set(name, 1);
      await bed.scale('s0', 2);
      await bed.matrix();
    } finally {
      for (const name of names) bed.wanted.delete(name);
      for (const name of names) await call(first, 'DELETE', `/services/${name}`);
    }
    await until('they are gone', 20_000, async () => ((await truth(first)).services.length === 4 ? true : undefined));
    await bed.settled();
    await bed.matrix();
    const now = await truth(first);
    const [front = ''] = [...now.networks].find(([, name]) => name === 'front') ?? [];
    expect(bed.seen.namesGone([front], now)).toHaveLength(16); // so that it was asked for what is gone
    expect(bed.seen.addressesGone(front, now)).toHaveLength(16);
  });
});

/** Questions from inside a container on that host, about what stays as it is. */
async function askNames(host: Host): Promise<Load> {
  const ask = host === first ? hosts.host(2) : first;
  const now = await truth(ask);
  const { place } = await bed.inside('web', { on: (one) => one === host, ask });
  const [network = ''] = now.endpoints.find(({ service }) => service === 'web')?.addresses.keys() ?? [];
  const web = now.services.find(({ name }) => name === 'web')?.vips.get(network) ?? [];
  const api = now.endpoints.filter(({ service }) => service === 'api');
  const tasks = api.flatMap(({ addresses }) => addresses.get(network) ?? []);
  expect([web.length, tasks.length]).toEqual([1, 2]);
  return new Load(place, [
    { kind: 'dns', name: 'web', expected: web },
    { kind: 'dns', name: 'tasks.api', expected: [...tasks].sort() },
  ]);
}

/** As soon as nothing uses it any more. */
async function removed(network: string): Promise<void> {
  await until(`${network} is free`, 20_000, async () =>
    (await first.cli(['network', 'rm', network])).code === 0 ? true : undefined,
  );
}

describe('a service that runs may be changed', () => {
  const update = async (name: string, ...flags: readonly string[]) => {
    await first.ok(['service', 'update', '-q', ...flags, name]);
    await bed.settled();
    await bed.matrix();
  };
  const quick = ['--drain-delay', '200ms', '--update-monitor', '200ms'];
  const find = async (name: string) => (await truth(first)).services.find((service) => service.name === name);

  test('in its networks, ports and endpoint mode; a published port moves from one to another', async () => {
    await bed.create('alpha', 2, '--network', 'front', ...quick);
    await bed.create('beta', 1, '--network', 'front', ...quick);
    await bed.settled();

    await update('alpha', '--network-add', 'name=back,alias=alef');
    expect((await find('alpha'))?.vips.size).toBe(2);
    await update('alpha', '--network-rm', 'front');
    expect((await find('alpha'))?.vips.size).toBe(1);

    await update('alpha', '--publish-add', '8070:80');
    expect((await find('alpha'))?.ports.map(({ published }) => published)).toEqual([8070]);
    await first.ok(['service', 'update', '-d', '--publish-rm', '80', 'alpha']);
    await update('beta', '--publish-add', '8070:80');
    expect((await find('alpha'))?.ports).toEqual([]);

    await update('alpha', '--endpoint-mode', 'dnsrr');
    expect((await find('alpha'))?.dnsrr).toBe(true);
    await update('alpha', '--endpoint-mode', 'vip');
    expect((await find('alpha'))?.vips.size).toBe(1);

    await bed.remove('beta');
    await bed.create('gamma', 1, '--network', 'front', '-p', '8070:80', ...quick);
    await bed.settled();
    await bed.matrix();
    await bed.remove('alpha', 'gamma');
    await until('they are gone', 20_000, async () => ((await truth(first)).services.length === 4 ? true : undefined));
    await bed.matrix();
    expect(bed.seen.portsGone('n1', await truth(first))).toContainEqual({ protocol: 'tcp', published: 8070 });
  });
});

describe('names that are not of the cluster come from the world outside', () => {
  const question: Probe = { kind: 'dns', name: 'world.test', type: 'A' };

  test('to a container on a network', async () => {
    const { place } = await bed.inside('web');
    expect(await probe(place, [question])).toEqual([['192.0.2.1']]);
  });

  test('to a container on none of the cluster’s networks', async () => {
    await bed.create('plain', 1);
    try {
      await bed.settled();
      const { place, pid } = await bed.inside('plain');
      expect(readFileSync(`/proc/${pid}/root/etc/resolv.conf`, 'utf8')).toMatch(/^nameserver 127\.0\.0\.11$/m);
      expect(await probe(place, [question])).toEqual([['192.0.2.1']]);
    } finally {
      await bed.remove('plain');
    }
  });
});

describe('what is apart stays apart', () => {
  test('tasks of other networks cannot be reached, whatever is tried', async () => {
    const now = await truth(first);
    const [back = ''] = [...now.networks].find(([, name]) => name === 'back') ?? [];
    const addresses = now.endpoints
      .filter(({ service }) => service === 'db')
      .flatMap((endpoint) => endpoint.addresses.get(back) ?? []);
    expect(addresses.length).toBeGreaterThan(0);
    const probes: Probe[] = addresses.map((host) => ({ kind: 'http', host, port: httpPort }));
    const { place } = await bed.inside('web');
    for (const answer of await probe(place, probes)) expect([answer, isNobody(answer)]).toEqual([answer, true]);
  });

  test('the same address on two networks leads to two services', async () => {
    const now = await truth(first);
    const vip = (name: string) => [...(now.services.find((one) => one.name === name)?.vips.values() ?? [])].flat()[0];
    const host = vip('web') ?? '';
    expect([host, vip('other')]).toEqual(['10.77.0.2', '10.77.0.2']); // the subnets are the same, and both were the first there
    for (const service of ['web', 'other']) {
      const { place } = await bed.inside(service);
      const answers = await probe(place, Array(8).fill({ kind: 'http', host, port: httpPort }));
      const ids = now.endpoints.filter((one) => one.service === service).map(hostnameOf);
      for (const answer of answers) expect(ids).toContain(String(answer).split(' ')[0]);
    }
  });
});

/** Requests to `web`: through the published port of two hosts, and from a container, through its name and virtual address. */
async function loads(
  entries: readonly Host[],
  client: (host: Host) => boolean,
): Promise<Readonly<Record<string, Load>>> {
  const [vip = ''] = [
    ...((await truth(first)).services.find(({ name }) => name === 'web')?.vips.values() ?? []),
  ].flat();
  const { place } = await bed.inside('api', { on: client });
  const all = {
    outside: new Load(
      undefined,
      [...entries, ...entries].map(({ address }) => ({ kind: 'http', host: address, port: 8080 })),
    ),
    container: new Load(place, [
      { kind: 'http', name: 'web', port: httpPort },
      { kind: 'http', host: vip, port: httpPort },
    ]),
  };
  await Promise.all(Object.values(all).map(({ begun }) => begun));
  return all;
}

/** From the end of a host until no request may have anything to do with it any more: detection and a repeated SYN, not tightly. */
const limitMs = 10_000;
/** From the managers' knowledge to every host's. */
const spreadMs = 1_000;
const slowMs = 2_500;

describe('no request is lost', () => {
  test('through two hosts and from a container, while the service is updated both ways, scaled, and a node is drained', async () => {
    const n3 = hosts.host(3);
    const all = await loads([hosts.host(2), hosts.host(4)], (host) => host !== n3);
    const changes: Record<string, () => Promise<unknown>> = {
      'update start-first': () => first.ok(['service', 'update', '-q', '--env-add', 'ROUND=3', 'web']),
      'update stop-first': () =>
        first.ok(['service', 'update', '-q', '--update-order', 'stop-first', '--env-add', 'ROUND=4', 'web']),
      'scale up': () => bed.scale('web', 6),
      'scale down': () => bed.scale('web', 2),
      'scale up again': () => bed.scale('web', 4),
      drain: async () => {
        const onN3 = async () => (await bed.tasksOf('web')).some(({ node }) => node === 'n3');
        expect(await onN3()).toBe(true);
        await first.ok(['node', 'update', '--availability', 'drain', 'n3']);
        await until('n3 is empty', 40_000, async () => ((await onN3()) ? undefined : true));
        await bed.settled();
      },
    };
    let reports: Awaited<ReturnType<typeof stopAll>> = [];
    try {
      for (const [name, change] of Object.entries(changes)) {
        for (const load of Object.values(all)) load.phase(name);
        await change();
      }
    } finally {
      reports = await stopAll(all);
      await first.ok(['node', 'update', '--availability', 'active', 'n3']);
    }
    for (const { where, report } of reports) {
      expect([where, failuresOf(report)]).toEqual([where, []]);
      const idle = Object.keys(changes).filter((name) => (report.counts[name] ?? 0) === 0);
      expect([where, idle]).toEqual([where, []]);
    }
    await bed.matrix();
  });

  test('when a host dies, but for those under way to it until that is detected', async () => {
    const leader = await leaderOf(hosts, first);
    const tasks = await bed.tasksOf('web');
    const victim = hosts.hosts.find(
      (host) => host !== leader && host !== first && tasks.some(({ node }) => node === host.name),
    );
    if (victim === undefined) throw new Error('no host to cut off');
    const others = hosts.hosts.filter((host) => host !== victim);
    const all = await loads(others.slice(0, 2), (host) => host !== victim);
    const phase = (name: string) => {
      for (const load of Object.values(all)) load.phase(name);
      return Date.now();
    };
    let reports: Awaited<ReturnType<typeof stopAll>> = [];
    let [cutAt, deadAt, detectedAt] = [0, 0, 0];
    try {
      phase('before');
      await bed.settled();
      await leaderOf(hosts, first);
      cutAt = phase('dead');
      await victim.cut();
      deadAt = Date.now();
      await bed.isDown(victim);
      detectedAt = phase('detected');
      await bed.settled();
      // A lane that waits for the repeated SYN asks nothing meanwhile, and all is well again before it does.
      await until('late requests over', 2 * limitMs, async () => (Date.now() > deadAt + limitMs ? true : undefined));
      await victim.heal();
      phase('back');
      await bed.allReady();
      await bed.settled();
      await bed.matrix();
    } finally {
      reports = await stopAll(all);
      await victim.heal();
    }
    for (const { where, report } of reports) {
      // What had reached the host when it died is lost. What began later is answered, once the host is known to be dead.
      const isLost = ({ at, error }: Odd) => error !== undefined && at > cutAt - slowMs && at <= deadAt;
      const isLate = ({ at, ms, error }: Odd) =>
        error === undefined && at > cutAt - slowMs && at < detectedAt + spreadMs && at + ms < deadAt + limitMs;
      // On a busy machine a request may take long for other reasons; a SYN that leads nowhere takes longer.
      const isBusy = ({ error, ms }: Odd) => error === undefined && ms < slowMs;
      const wrong = report.odd.filter((one) => !isLost(one) && !isLate(one) && !isBusy(one));
      expect([where, wrong]).toEqual([where, []]);
      const idle = ['before', 'dead', 'detected', 'back'].filter((name) => (report.counts[name] ?? 0) === 0);
      expect([where, idle]).toEqual([where, []]);
    }
    expect(reports.some(({ report }) => report.odd.length > 0)).toBe(true); // or nothing was sent to that host
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
      await bed.create('busy', 1, '-p', '8090:80');
      await bed.settled();
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
      await bed.remove('busy');
    }
  });

  test('two services cannot publish the same one; an automatic one is chosen and shown', async () => {
    const taken = await first.cli(['service', 'create', '-d', '--name', 'late', '-p', '8080:80', 'whoami']);
    expect([taken.code, taken.stderr]).toEqual([
      1,
      expect.stringContaining("port '8080' is already in use by service 'web'"),
    ]);
    await bed.create('auto', 1, '-p', '80');
    await bed.settled();
    const ports = (await truth(first)).services.find(({ name }) => name === 'auto')?.ports ?? [];
    expect(ports[0]?.published).toBeGreaterThanOrEqual(30_000);
    await bed.matrix();
    await bed.remove('auto');
  });

  test('in host mode may be bound to one address, or get a number that the node chooses and shows', async () => {
    const bound = ['-p', 'mode=host,target=80,published=8097,host_ip=127.0.0.1'];
    await bed.create('pinned', 1, ...bound, '-p', 'mode=host,target=80');
    await bed.settled();
    const { host } = await bed.inside('pinned');
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
    await bed.remove('pinned');
  });
});

test('removing everything leaves nothing of it on any host', async () => {
  await bed.create('kept', 4, '-p', '8099:80');
  await bed.settled();
  await bed.matrix();
  const published = bed.seen.ports.map(({ published: port }) => port);
  expect(published).toEqual(expect.arrayContaining([8080, 9000, 8082, 8083, 9083, 8099]));
  for (const host of hosts.hosts) {
    const found = await remains(host, published);
    const kinds = ['link', 'namespace', 'listener', 'ports', 'closed', 'admitted'];
    expect([host.name, kinds.filter((kind) => found.every((one) => !one.startsWith(`${kind} `)))]).toEqual([
      host.name,
      [],
    ]);
  }
  await bed.remove(...bed.wanted.keys());
  for (const name of ['front', 'twin', 'back']) await removed(name);
  for (const host of hosts.hosts) {
    await until(`${host.name} is clean`, 20_000, async () => {
      const found = await remains(host, published);
      if (found.length > 0) throw new Error(found.join(', '));
      return true;
    });
  }
});

interface NftSet {
  readonly name: string;
  readonly elem?: readonly unknown[];
}

/** What there is in the kernel for services and tasks. */
async function remains(host: Host, ports: readonly number[]): Promise<readonly string[]> {
  const links = (await host.run('ip', ['-o', 'link', 'show', 'type', 'veth'])).stdout;
  const namespaces = (await readdir('/run/netns')).filter((name) => name.startsWith(`${host.containerdNamespace}-`));
  const listeners = (await host.run('ss', ['-Hltun'])).stdout
    .split('\n')
    .map((line) => Number(/:(\d+) /.exec(line)?.[1]));
  const { nftables } = JSON.parse((await host.run('nft', ['-j', 'list', 'table', 'ip', 'tsc'])).stdout) as {
    readonly nftables: readonly { readonly set?: NftSet; readonly map?: NftSet }[];
  };
  const sets = nftables.flatMap(({ set, map }) => set ?? map ?? []);
  const named = (name: string) => sets.find((set) => set.name === name)?.elem?.length ?? 0;
  expect(named('nodes')).toBe(hosts.hosts.length - 1); // that this is how to count them
  const forServices = sets.map(({ name }) => name).filter((name) => !['nodes', 'entries'].includes(name));
  return [
    ...[...links.matchAll(/: (tscg[0-9a-f]{8})@/g)].map(([, link]) => `link ${link}`),
    ...namespaces.map((name) => `namespace ${name}`),
    ...ports.filter((port) => listeners.includes(port)).map((port) => `listener ${port}`),
    ...forServices.filter((name) => named(name) > 0).map((name) => `${name} with ${named(name)}`),
  ];
}
