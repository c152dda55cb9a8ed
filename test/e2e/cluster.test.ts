/** The main job on real hosts: the demo's steps and more, on one cluster of three managers and a worker. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Docker from 'dockerode';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
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
} from './cluster.ts';
import { execute, type Host, Hosts, projectDir, until } from './hosts.ts';
import { serveLocalImages } from './images.ts';

let hosts: Hosts;
let first: Host;

beforeAll(async () => {
  hosts = await Hosts.up({ prefix: 'tse', network: '10.89.0', count: 4 });
  first = hosts.host(1);
  await serveLocalImages(hosts);
  await formCluster(hosts, 3);
});
afterAll(() => hosts?.down());

/** One failure must not look like ten: every test starts with all hosts connected and no service. */
afterEach(async () => {
  for (const host of hosts.hosts) {
    await host.heal();
    if (!host.alive) await host.start();
  }
  const left = (await first.cli(['service', 'ls', '-q'])).stdout.split('\n').filter(Boolean);
  if (left.length > 0) await first.cli(['service', 'rm', ...left]);
});

function named(name: string): Host {
  const host = hosts.hosts.find((one) => one.name === name);
  if (host === undefined) throw new Error(`no host ${name}`);
  return host;
}

/** Waits for `count` running tasks of a service, and gives them. */
function settled(ask: Host, service: string, count: number, limitMs = 20_000) {
  return until(`${count} tasks of ${service}`, limitMs, async () => {
    const tasks = await running(ask, service);
    return tasks.length === count ? tasks : undefined;
  });
}

async function remove(...services: string[]): Promise<void> {
  await first.ok(['service', 'rm', ...services]);
  await until('containers gone', 20_000, async () => {
    const left = await Promise.all(hosts.hosts.map(async (host) => (await containers(hosts, host)).size));
    return left.every((count) => count === 0) ? true : undefined;
  });
}

describe('a service', () => {
  test('spreads over hosts, answers on each host port, scales, updates only what changed, and goes', async () => {
    await first.ok(createWeb);
    const tasks = await settled(first, 'web', 3);
    expect(new Set(tasks.map((task) => task.node)).size).toBe(3);
    for (const task of tasks) await until(`page of ${task.node}`, 5_000, () => page(named(task.node).address, 8080));

    await first.ok(['service', 'scale', 'web=2']);
    expect((await settled(first, 'web', 2)).length).toBe(2);
    await first.ok(['service', 'update', '-q', '--label-add', 'tier=front', 'web']);
    const same = await running(first, 'web');
    await first.ok(['service', 'update', '-q', '--env-add', 'COLOUR=blue', 'web']);
    const updated = await settled(first, 'web', 2);
    expect(updated.map((task) => task.id).some((id) => same.some((task) => task.id === id))).toBe(false);
    await remove('web');
    expect((await first.cli(['service', 'inspect', 'web'])).code).toBe(1);
  });

  test('writes logs that can be read from any manager, also after it failed', async () => {
    const script = 'echo to stdout; echo to stderr >&2; exit 3';
    await first.ok([
      'service',
      'create',
      '-d',
      '--name',
      'talk',
      '--restart-condition',
      'none',
      'busybox',
      'sh',
      '-c',
      script,
    ]);
    const failed = await until('failure', 15_000, async () =>
      (await taskTable(first, 'talk')).find((task) => task.state.startsWith('Failed')),
    );
    expect(failed.error).toContain('task: non-zero exit (3)');
    const logs = await until('logs', 5_000, async () => {
      const { stdout } = await hosts.host(2).cli(['service', 'logs', '--raw', 'talk']);
      return stdout.includes('to stdout') ? stdout : undefined;
    });
    expect(logs).toContain('to stdout');
    await remove('talk');
  });

  test('restarts by its policy, and no more often', async () => {
    await first.ok([
      'service',
      'create',
      '-d',
      '--name',
      'flaky',
      '--restart-condition',
      'on-failure',
      '--restart-delay',
      '100ms',
      '--restart-max-attempts',
      '2',
      'busybox',
      'sh',
      '-c',
      'exit 1',
    ]);
    const history = await until('three attempts', 20_000, async () => {
      const table = await taskTable(first, 'flaky');
      return table.filter((task) => task.state.startsWith('Failed')).length === 3 ? table : undefined;
    });
    expect(history.length).toBe(3);
    await first.ok([
      'service',
      'create',
      '-d',
      '--name',
      'done',
      '--restart-condition',
      'on-failure',
      'busybox',
      'true',
    ]);
    await until(
      'completion',
      10_000,
      async () => (await taskTable(first, 'done')).some((task) => task.state.startsWith('Complete')) || undefined,
    );
    expect((await taskTable(first, 'done')).length).toBe(1);
    await remove('flaky', 'done');
  });

  test('is replaced when its health check fails', async () => {
    const script = 'touch /ok; sleep 3; rm /ok; sleep 1000';
    await first.ok([
      'service',
      'create',
      '-d',
      '--name',
      'sick',
      '--restart-delay',
      '100ms',
      '--health-cmd',
      'test -e /ok',
      '--health-interval',
      '300ms',
      '--health-retries',
      '2',
      '--stop-grace-period',
      '1s',
      'busybox',
      'sh',
      '-c',
      script,
    ]);
    const history = await until('an unhealthy task', 30_000, async () => {
      const table = await taskTable(first, 'sick');
      return table.find((task) => task.error.includes('unhealthy container'));
    });
    expect(history.state).toMatch(/^Failed/);
    await settled(first, 'sick', 1);
    await remove('sick');
  });

  test('gets its secret and config, with owner and mode, and nobody else does', async () => {
    await first.ok(['secret', 'create', 'key', '-'], 'opensesame');
    await first.ok(['config', 'create', 'conf', '-'], 'colour=green');
    const script = 'stat -c "%u %g %a" /run/secrets/k; cat /run/secrets/k; echo; cat /etc/conf; echo; sleep 1000';
    await first.ok([
      'service',
      'create',
      '-d',
      '--name',
      'vault',
      '--secret',
      'source=key,target=k,uid=33,gid=44,mode=0400',
      '--config',
      'source=conf,target=/etc/conf',
      'busybox',
      'sh',
      '-c',
      script,
    ]);
    const [task] = await settled(first, 'vault', 1);
    const logs = await until('logs', 5_000, async () => {
      const { stdout } = await first.cli(['service', 'logs', '--raw', 'vault']);
      return stdout.includes('green') ? stdout : undefined;
    });
    expect(logs).toContain('33 44 400\nopensesame\ncolour=green');
    expect(JSON.stringify(JSON.parse(await first.ok(['secret', 'inspect', 'key'])))).not.toContain('b3BlbnNlc2FtZQ');
    expect((await first.cli(['secret', 'rm', 'key'])).stderr).toContain(
      "secret 'key' is in use by the following service: vault",
    );
    const dataDir = join(named(task?.node ?? '').dir, 'data');
    const itsOutput = ['--exclude=stdout', '--exclude=lines.json*'];
    expect((await execute('grep', ['-rl', 'opensesame', dataDir, '--exclude-dir=secrets', ...itsOutput])).stdout).toBe(
      '',
    );
    await remove('vault');
    await first.ok(['secret', 'rm', 'key']);
    await first.ok(['config', 'rm', 'conf']);
  });
});

describe('failures', () => {
  test('a host without cable is replaced in seconds; back again, exactly the replicas run', async () => {
    await first.ok(createWeb);
    const tasks = await settled(first, 'web', 3);
    const leader = await leaderOf(hosts, first);
    const victim = named(tasks.map((task) => task.node).find((name) => name !== leader.name) ?? '');
    const idle = hosts.hosts.find((host) => !tasks.some((task) => task.node === host.name));
    const survivors = tasks.filter((task) => task.node !== victim.name).map((task) => task.id);
    await victim.cut();
    await until('takeover', 15_000, () => page(idle?.address ?? '', 8080));
    await victim.heal();
    const after = await until('exactly three', 20_000, async () => {
      const counts = await Promise.all(hosts.hosts.map(async (host) => (await containers(hosts, host)).size));
      const now = await running(leader, 'web');
      return counts.reduce((sum, one) => sum + one, 0) === 3 && now.length === 3 ? now : undefined;
    });
    expect(after.map((task) => task.id)).toEqual(expect.arrayContaining(survivors));
  });

  test("F3: the leader's daemon is killed: writes go on, no container is touched, and it finds its containers again", async () => {
    await first.ok(createWeb);
    await settled(first, 'web', 3);
    const leader = await leaderOf(hosts, first);
    const other = hosts.hosts.find((host) => host.index <= 3 && host !== leader) ?? first;
    const before = await containerMap(hosts);
    await leader.stop('SIGKILL');
    await until('a write', 15_000, async () =>
      (await other.cli(['config', 'create', 'after', '-'], 'x')).code === 0 ? true : undefined,
    );
    await leader.start();
    await until('all ready', 20_000, async () =>
      (await nodeTable(other)).every((node) => node.status === 'Ready') ? true : undefined,
    );
    await settled(other, 'web', 3);
    expect(await containerMap(hosts)).toBe(before);
    await other.ok(['config', 'rm', 'after']);
  });

  test('a worker that comes up without any manager starts its tasks by itself', async () => {
    const worker = hosts.host(4);
    await first.ok([
      'service',
      'create',
      '-d',
      '--name',
      'edge',
      '--constraint',
      'node.role == worker',
      'busybox',
      'sleep',
      '1000',
    ]);
    await settled(first, 'edge', 1);
    await worker.cut();
    await worker.stop('SIGKILL');
    await worker.losePower();
    await worker.start(['--boot-id', 'the-next-one']);
    await until('the task runs again', 15_000, async () =>
      (await containers(hosts, worker)).size > 0 ? true : undefined,
    );
    await worker.heal();
    await until('ready again', 20_000, async () =>
      (await nodeTable(first)).every((node) => node.status === 'Ready') ? true : undefined,
    );
    await settled(first, 'edge', 1);
    await first.ok(['service', 'rm', 'edge']);
  });

  test('a drained node is emptied and refilled only by what comes later', async () => {
    await first.ok(createWeb);
    const [task] = await settled(first, 'web', 3);
    const node = task?.node ?? '';
    await first.ok(['node', 'update', '--availability', 'drain', node]);
    await until('drained', 20_000, async () => {
      const tasks = await running(first, 'web');
      return tasks.length === 3 && !tasks.some((one) => one.node === node) ? true : undefined;
    });
    await first.ok(['node', 'update', '--availability', 'active', node]);
    await remove('web');
  });

  test('F5 F6: without a majority writes fail in bounded time and say so; with it they work again', async () => {
    await hosts.host(2).stop('SIGKILL');
    await hosts.host(3).stop('SIGKILL');
    const start = performance.now();
    const refused = await first.cli(['config', 'create', 'lonely', '-'], 'x');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('does not have a leader');
    expect(performance.now() - start).toBeLessThan(20_000);
    await hosts.host(2).start();
    await hosts.host(3).start();
    await until('a write', 20_000, async () =>
      (await first.cli(['config', 'create', 'company', '-'], 'x')).code === 0 ? true : undefined,
    );
    await until('all ready', 20_000, async () =>
      (await nodeTable(first)).every((node) => node.status === 'Ready') ? true : undefined,
    );
    await first.ok(['config', 'rm', 'company']);
  });
});

test('a manager is demoted and promoted while it runs', async () => {
  await first.ok(['node', 'demote', 'n3']);
  await until('worker', 20_000, async () =>
    (await nodeTable(first)).find((node) => node.hostname === 'n3')?.manager === '' ? true : undefined,
  );
  await until('its API says so', 10_000, async () =>
    (await hosts.host(3).cli(['node', 'ls'])).stderr.includes('not a swarm manager') ? true : undefined,
  );
  await first.ok(['node', 'promote', 'n3']);
  await until('manager', 20_000, async () =>
    (await nodeTable(first)).find((node) => node.hostname === 'n3')?.manager === 'Reachable' ? true : undefined,
  );
  await until('its API answers', 10_000, async () =>
    (await hosts.host(3).cli(['node', 'ls'])).code === 0 ? true : undefined,
  );
});

test('a stack is deployed, shown, changed and removed', async () => {
  const file = join(projectDir, 'stacks/hello.yml');
  await first.ok(['stack', 'deploy', '-c', file, '-q', 'hello']);
  const [task] = await settled(first, 'hello_web', 1);
  const text = await until('the page', 10_000, () => page(named(task?.node ?? '').address, 8081));
  expect(text).toMatch(/secret/i);
  expect(text).toMatch(/config/i);
  expect(await first.ok(['stack', 'ls'])).toMatch(/hello\s+2/);
  expect(await first.ok(['stack', 'services', 'hello'])).toContain('hello_web');
  expect(await first.ok(['stack', 'ps', 'hello'])).toContain('hello_web.1');
  await first.ok(['stack', 'deploy', '-c', file, '-q', 'hello']);
  expect((await settled(first, 'hello_web', 1))[0]?.id).toBe(task?.id);
  await first.ok(['stack', 'rm', 'hello']);
  expect(await first.ok(['secret', 'ls', '-q'])).toBe('');
});

describe('unmodified Docker clients', () => {
  const docker = ['/usr/bin/docker', '/usr/local/bin/docker'].filter((path) => existsSync(path));

  test.skipIf(docker.length === 0).each(docker)('%s does the main job', async (program) => {
    const env = { ...process.env, DOCKER_HOST: `unix://${first.socket}` };
    const ok = async (args: readonly string[], input = '') => {
      const result = await execute(program, args, { env, input, timeoutMs: 40_000 });
      expect(result.stderr + result.stdout, `docker ${args.join(' ')}`).not.toContain('Error');
      expect(result.code, `docker ${args.join(' ')}: ${result.stderr}`).toBe(0);
      return result.stdout;
    };
    expect(await ok(['node', 'ls'])).toContain('Leader');
    expect(await ok(['info'])).toContain('Is Manager: true');
    expect(await ok(['version'])).toContain('Server');
    await ok(['secret', 'create', 'dsecret', '-'], 'x');
    await ok(['config', 'create', 'dconfig', '-'], 'y');
    await ok([
      'service',
      'create',
      '--name',
      'dweb',
      '--replicas',
      '2',
      '--secret',
      'dsecret',
      '--config',
      'dconfig',
      'nginx',
    ]);
    expect(await ok(['service', 'ls'])).toMatch(/dweb\s+replicated\s+2\/2/);
    expect(await ok(['service', 'ps', 'dweb'])).toContain('Running');
    expect(JSON.parse(await ok(['service', 'inspect', 'dweb']))[0].Spec.Name).toBe('dweb');
    await ok(['service', 'scale', 'dweb=3']);
    await ok(['service', 'update', '--env-add', 'A=1', 'dweb']);
    await ok(['service', 'logs', 'dweb']);
    await ok(['service', 'rm', 'dweb']);
    await ok(['secret', 'rm', 'dsecret']);
    await ok(['config', 'rm', 'dconfig']);
    const file = join(projectDir, 'stacks/hello.yml');
    await ok(['stack', 'deploy', '-c', file, 'dstack']);
    expect(await ok(['stack', 'ls'])).toContain('dstack');
    expect(await ok(['stack', 'services', 'dstack'])).toContain('dstack_web');
    expect(await ok(['stack', 'ps', 'dstack'])).toContain('dstack_web');
    await ok(['stack', 'rm', 'dstack']);
  });

  test('dockerode creates, lists, updates and removes', async () => {
    const client = new Docker({ socketPath: hosts.host(2).socket });
    const { id } = await client.createService({
      Name: 'dode',
      TaskTemplate: { ContainerSpec: { Image: 'busybox', Args: ['sleep', '1000'] } },
      Mode: { Replicated: { Replicas: 1 } },
    } as Docker.CreateServiceOptions);
    await settled(first, 'dode', 1);
    const service = client.getService(id);
    const info = await service.inspect();
    await service.update({ ...info.Spec, version: Number(info.Version.Index), Mode: { Replicated: { Replicas: 2 } } });
    await settled(first, 'dode', 2);
    expect((await client.listTasks({ filters: { service: ['dode'] } })).length).toBe(2);
    await service.remove();
  });
});

describe('what must not be half done', () => {
  test('a node removed by force while nobody reached it stops its containers when it comes back, and may join again', async () => {
    await first.ok(['service', 'create', '-d', '--name', 'lost', '--replicas', '4', 'busybox', 'sleep', '100000']);
    await settled(first, 'lost', 4);
    const host = hosts.host(4);
    expect((await containers(hosts, host)).size).toBeGreaterThan(0);
    await host.cut();
    await until('down', 10_000, async () =>
      (await nodeTable(first)).some((node) => node.hostname === host.name && node.status === 'Down') ? true : undefined,
    );
    await first.ok(['node', 'rm', '--force', host.name]);
    expect((await containers(hosts, host)).size).toBeGreaterThan(0);
    await host.heal();
    const gone = () =>
      until('containers stopped', 20_000, async () => ((await containers(hosts, host)).size === 0 ? true : undefined));
    await gone();
    expect(await host.ok(['info'])).toMatch(/Error: this node was removed from the cluster.*tscluster leave --force/);
    await host.stop();
    await host.start();
    expect(await host.ok(['info', '--format', '{{.Swarm.LocalNodeState}}'])).toBe('error\n');
    await host.ok(['leave', '--force']);
    const token = (await first.ok(['join-token', 'worker', '-q'])).trim();
    await host.ok(['join', '--token', token, `${first.address}:2377`]);
    await remove('lost');
  });

  test('a stack whose second service is refused leaves nothing behind', async () => {
    const file = `
services:
  good: {image: busybox, secrets: [key]}
  wrong: {image: busybox, stop_signal: SIGFOO}
secrets:
  key: {file: ./key.txt}
`;
    writeFileSync(join(hosts.dir, 'half.yml'), file);
    writeFileSync(join(hosts.dir, 'key.txt'), 'x');
    const result = await first.cli(['stack', 'deploy', '-c', join(hosts.dir, 'half.yml'), 'half']);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('failed to create service half_wrong: Invalid signal: SIGFOO');
    expect(await first.ok(['service', 'ls', '-q'])).toBe('');
    expect(await first.ok(['secret', 'ls', '--format', '{{.Name}}'])).not.toContain('half_key');
  });
});
