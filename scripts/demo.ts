/**
 * The main job, on four hosts of this machine: a cluster, a service, a dead host, a dead leader, a stack, a killed container.
 * Each step checks what it shows; the last line is JSON for scripts. KEEP=1 leaves the cluster running.
 */
import { join } from 'node:path';
import {
  containerMap,
  containers,
  createWeb,
  formCluster,
  leaderOf,
  nodeTable,
  page,
  running,
  taskTable,
} from '../test/e2e/cluster.ts';
import { type Host, Hosts, projectDir, until } from '../test/e2e/hosts.ts';
import { provideImages } from '../test/e2e/images.ts';

const times: Record<string, number> = {};
const keep = process.env['KEEP'] === '1';

async function step<T>(name: string, title: string, work: () => Promise<T>): Promise<T> {
  process.stdout.write(`\n== ${title}\n`);
  const start = performance.now();
  const value = await work();
  times[name] = Math.round(performance.now() - start);
  process.stdout.write(`   ${times[name]} ms\n`);
  return value;
}

function show(text: string): void {
  process.stdout.write(`${text.trimEnd().replaceAll(/^/gm, '   ')}\n`);
}

function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

async function main(hosts: Hosts): Promise<void> {
  const first = hosts.host(1);

  await step(
    'images',
    'Images: from Docker Hub where it can be reached, else built from this machine and served by a local registry',
    async () => {
      show(await provideImages(hosts));
    },
  );

  await step('cluster', 'One cluster of four hosts: init, three joins with tokens', async () => {
    await formCluster(hosts, 3);
    show(await first.ok(['node', 'ls']));
  });

  await step(
    'service',
    'tscluster service create --name web --replicas 3 --publish mode=host,target=80,published=8080 nginx',
    async () => {
      await first.ok(createWeb);
      const tasks = await until('three replicas', 60_000, async () => {
        const now = await running(first, 'web');
        return now.length === 3 ? now : undefined;
      });
      check(new Set(tasks.map((task) => task.node)).size === 3, 'expected three replicas on three hosts');
      for (const task of tasks) await answers(hostNamed(hosts, task.node));
      show(await first.ok(['service', 'ps', 'web']));
    },
  );

  await network(hosts);
  const healthy = await failover(hosts);
  await leaderCrash(hosts, healthy);
  await stack(hosts.host(1));
  await killedContainer(hosts);
}

/** Asks for `front` by its name, at each request anew. */
const visitorConf = `user root;
events { }
http { server { listen 80; location / { resolver 127.0.0.11 valid=1s; set $name front; proxy_pass http://$name; } } }
`;

/** Services find each other by name across hosts, and a published port answers on every host. */
async function network(hosts: Hosts): Promise<void> {
  const first = hosts.host(1);
  await step(
    'network',
    'tscluster network create shop; front on it, published on every host; visitor, which passes requests on to http://front',
    async () => {
      await first.ok(['network', 'create', 'shop']);
      const front = ['--name', 'front', '--network', 'shop', '--replicas', '2', '--publish', '8088:80', 'nginx'];
      await first.ok(['service', 'create', '-d', ...front]);
      await first.ok(['config', 'create', 'visitor-conf', '-'], visitorConf);
      const conf = ['--config', 'source=visitor-conf,target=/etc/nginx/nginx.conf'];
      const visitor = ['--name', 'visitor', '--network', 'shop', '--publish', '8089:80', ...conf, 'nginx'];
      await first.ok(['service', 'create', '-d', ...visitor]);
      await reachable(hosts.hosts);
      show(await first.ok(['service', 'ls']));
    },
  );
}

/** The mesh ports on each of these hosts; the second one leads to a service that finds the first by its name. */
async function reachable(alive: readonly Host[]): Promise<void> {
  for (const port of [8088, 8089]) {
    for (const host of alive)
      await until(`http://${host.address}:${port}/`, 15_000, async () =>
        (await page(host.address, port))?.includes('Welcome to nginx') === true ? true : undefined,
      );
  }
  const names = alive.map((host) => host.name).join(', ');
  show(`http://HOST:8088/ and, by the name "front", http://HOST:8089/ answer on ${names}`);
}

/** The cable of a host with a replica is pulled and put back; gives a manager that stayed up. */
async function failover(hosts: Hosts): Promise<Host> {
  const leader = await leaderOf(hosts, hosts.host(1));
  const nodes = (await running(leader, 'web')).map((task) => task.node);
  const victim = hostNamed(hosts, nodes.find((name) => name !== leader.name) ?? '');
  const idle = hosts.hosts.find((host) => !nodes.includes(host.name));
  check(idle !== undefined, 'no idle host');

  await step('failover', `The cable of ${victim.name} is pulled; ${idle.name} has to take over`, async () => {
    await victim.cut();
    await answers(idle, 15_000);
  });
  await step('network2', 'Without that host: the port answers on every other one, and the name still leads there', () =>
    reachable(hosts.hosts.filter((host) => host !== victim)),
  );
  check((times['failover'] ?? Infinity) <= 4000, `failover took ${times['failover']} ms, more than 4000`);
  show(await leader.ok(['service', 'ps', 'web']));

  await step('heal', 'The cable is put back: three replicas, the extra one goes', async () => {
    await victim.heal();
    await until('six containers', 20_000, async () => {
      const ready = (await nodeTable(leader)).every((node) => node.status === 'Ready');
      const counts = await Promise.all(hosts.hosts.map(async (host) => (await containers(hosts, host)).size));
      const count = counts.reduce((sum, one) => sum + one, 0);
      return ready && count === 6 && (await running(leader, 'web')).length === 3 ? true : undefined;
    });
    show(await leader.ok(['node', 'ls']));
  });
  return leader;
}

async function leaderCrash(hosts: Hosts, ask: Host): Promise<void> {
  const leader = await leaderOf(hosts, ask);
  const other = hosts.hosts.find((host) => host.index <= 3 && host !== leader);
  check(other !== undefined, 'no other manager');
  const before = await containerMap(hosts);

  await step(
    'leader',
    `SIGKILL to the leader's daemon (${leader.name}); ${other.name} has to take a write`,
    async () => {
      await leader.stop('SIGKILL');
      await until('a write', 15_000, async () =>
        (await other.cli(['config', 'create', 'after-crash', '-'], 'x')).code === 0 ? true : undefined,
      );
    },
  );
  check((times['leader'] ?? Infinity) <= 3000, `the next write took ${times['leader']} ms, more than 3000`);

  await step('reattach', `${leader.name}'s daemon is started again and finds its containers`, async () => {
    await leader.start();
    await until('all nodes ready', 20_000, async () =>
      (await nodeTable(other)).every((node) => node.status === 'Ready') ? true : undefined,
    );
    await until('three running', 20_000, async () => ((await running(other, 'web')).length === 3 ? true : undefined));
    const after = await containerMap(hosts);
    check(after === before, `containers changed:\n${before}\n---\n${after}`);
    show(`the same containers as before:\n${after}`);
  });
}

async function stack(manager: Host): Promise<void> {
  await step('stack', 'tscluster stack deploy -c stacks/hello.yml hello', async () => {
    show(await manager.ok(['stack', 'deploy', '-c', join(projectDir, 'stacks/hello.yml'), 'hello']));
    const task = await until('hello_web', 20_000, async () => (await running(manager, 'hello_web'))[0]);
    const text = await until('the page', 10_000, async () =>
      page(`${manager.address.replace(/\d+$/, '')}${task.node.slice(1)}`, 8081),
    );
    check(/config/i.test(text) && /secret/i.test(text), `the page does not show secret and config:\n${text}`);
    show(text);
    show(await manager.ok(['stack', 'services', 'hello']));
  });
}

async function killedContainer(hosts: Hosts): Promise<void> {
  const ask = hosts.host(1);
  await step('restart', 'A container is killed from outside; its slot gets a new task', async () => {
    const task = (await running(ask, 'web'))[0];
    check(task !== undefined, 'no running task');
    const host = hostNamed(hosts, task.node);
    const pid = (await containers(hosts, host)).get(task.id) ?? [...(await containers(hosts, host)).values()][0];
    check(pid !== undefined, `no container on ${host.name}`);
    process.kill(pid, 'SIGKILL');
    await until('the replacement', 20_000, async () => {
      const slot = (await taskTable(ask, 'web')).filter((row) => row.name === task.name);
      const failed = slot.some((row) => row.id === task.id && row.state.startsWith('Failed'));
      return failed && slot.some((row) => row.id !== task.id && row.state.startsWith('Running')) ? true : undefined;
    });
    show(await ask.ok(['service', 'ps', 'web']));
  });
}

function hostNamed(hosts: Hosts, name: string): Host {
  const host = hosts.hosts.find((candidate) => candidate.name === name);
  check(host !== undefined, `no host named ${name}`);
  return host;
}

async function answers(host: Host, limitMs = 5_000): Promise<void> {
  await until(`http://${host.address}:8080/`, limitMs, async () => page(host.address, 8080));
}

function howToLook(hosts: Hosts): void {
  const lines = hosts.hosts.map(
    (host) => `export TSCLUSTER_HOST=unix://${host.socket}   # ${host.name}, or DOCKER_HOST for the docker client`,
  );
  process.stdout.write(
    `\nThe cluster stays up. To look at it:\n${lines.join('\n')}\n  bin/tscluster node ls\n  nsenter --net=/run/netns/${hosts.host(1).namespace} curl -s http://${hosts.host(1).address}:8080/\nTo end it: npm run demo:down\n`,
  );
}

const where = { prefix: 'tsd', network: '10.88.0', count: 4 };
if (process.argv.includes('--down')) {
  await new Hosts(where).down();
  process.exit(0);
}
const started = performance.now();
let hosts: Hosts | undefined;
let failed = false;
try {
  hosts = await step('hosts', 'Four hosts: network namespaces on a private bridge, one containerd', () =>
    Hosts.up(where),
  );
  await main(hosts);
} catch (error) {
  failed = true;
  process.stderr.write(`\ndemo failed: ${(error as Error).message}\n`);
  process.stderr.write(`${(await hosts?.host(1).cli(['service', 'ps', 'web', '--no-trunc']))?.stdout ?? ''}\n`);
  for (const host of hosts?.hosts ?? [])
    process.stderr.write(`\n-- last lines of ${host.name}'s daemon\n${host.logTail()}\n`);
}
if (hosts !== undefined && keep) howToLook(hosts);
else await hosts?.down();
times['total'] = Math.round(performance.now() - started);
process.stdout.write(`\n${JSON.stringify({ demo: failed ? 'failed' : 'ok', ...times })}\n`);
process.exit(failed ? 1 : 0);
