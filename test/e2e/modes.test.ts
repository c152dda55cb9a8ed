/** Every service mode and what an update may come to, on real hosts, as a user of Docker's client and of ours meets them. */
import { existsSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { containers, formCluster, leaderOf, nodeTable, running, taskTable } from './cluster.ts';
import { execute, type Host, Hosts, type Result, until } from './hosts.ts';
import { serveLocalImages } from './images.ts';

const clients = ['/usr/bin/docker', '/usr/local/bin/docker'].filter((path) => existsSync(path));
/** Runs until it is told to stop, and then stops at once. */
const patient = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done";
const quickVerdict = ['--update-monitor', '500ms', '--rollback-monitor', '500ms'];

let hosts: Hosts;
let first: Host;

beforeAll(async () => {
  hosts = await Hosts.up({ prefix: 'tsm', network: '10.97.0', count: 4 });
  first = hosts.host(1);
  await serveLocalImages(hosts);
  await formCluster(hosts, 3, 3);
});
afterAll(() => hosts?.down());

afterEach(async () => {
  for (const host of hosts.hosts.slice(0, 3)) if (!host.alive) await host.start();
  const left = (await first.cli(['service', 'ls', '-q'])).stdout.split('\n').filter(Boolean);
  if (left.length > 0) await first.cli(['service', 'rm', ...left]);
});

function docker(program: string, ...args: string[]): Promise<Result> {
  const env = { ...process.env, DOCKER_HOST: `unix://${first.socket}` };
  return execute(program, args, { env, timeoutMs: 30_000 });
}

async function dockerOk(program: string, ...args: string[]): Promise<string> {
  const result = await docker(program, ...args);
  expect(result.code, `docker ${args.join(' ')}: ${result.stderr}`).toBe(0);
  return result.stdout;
}

/** `service create` of tasks that run until they are told to stop. */
function create(name: string, ...flags: string[]): Promise<string> {
  return first.ok(['service', 'create', '-d', '--name', name, ...flags, 'busybox', 'sh', '-c', patient]);
}

function settled(service: string, nodes: readonly string[], ask = first) {
  return until(`${service} on ${nodes.join(', ')}`, 20_000, async () => {
    const tasks = await running(ask, service);
    const found = tasks.map((task) => task.node).sort();
    return found.join() === [...nodes].sort().join() ? tasks : undefined;
  });
}

function updateState(service: string, ask = first): Promise<string> {
  return ask.ok(['service', 'inspect', service, '--format', '{{.UpdateStatus.State}}']).then((text) => text.trim());
}

function reaches(service: string, state: string, ask = first): Promise<true> {
  return until(`${service} ${state}`, 20_000, async () =>
    (await updateState(service, ask)) === state ? true : undefined,
  );
}

/** What `service update --dry-run` says: the counts as given, and `task node` for each new task. */
async function foretold(counts: string, ...flags: string[]): Promise<readonly string[]> {
  const text = await first.ok(['service', 'update', '--dry-run', ...flags]);
  expect(text).toContain(counts);
  const rows = text.split('\n').slice(2).filter(Boolean);
  return rows.map((row) => row.trim().split(/\s+/).join(' ')).sort();
}

function placement(tasks: readonly { readonly name: string; readonly node: string }[]): readonly string[] {
  return tasks.map(({ name, node }) => `${name} ${node}`).sort();
}

const replicasColumn = ['service', 'ls', '--format', '{{.Name}} {{.Replicas}}'];

describe('jobs', () => {
  test.skipIf(clients.length === 0).each(clients)('%s shows them to their end and counts them', async (program) => {
    const many = ['--mode', 'replicated-job', '--replicas', '3', '--max-concurrent', '2'];
    const replicated = await dockerOk(program, 'service', 'create', '--name', 'many', ...many, 'busybox', 'true');
    expect(replicated).toContain('job complete');
    const global = await dockerOk(
      program,
      'service',
      'create',
      '--name',
      'each',
      '--mode',
      'global-job',
      'busybox',
      'true',
    );
    expect(global).toContain('job complete');

    const counted = ['each 0/0 (3/3 completed)', 'many 0/2 (3/3 completed)'];
    expect((await dockerOk(program, ...replicasColumn)).trim().split('\n').sort()).toEqual(counted);
    expect((await first.ok(replicasColumn)).trim().split('\n').sort()).toEqual(counted);
    const each = await taskTable(first, 'each');
    expect(each.map(({ node, state }) => [node, state.split(' ')[0]]).sort()).toEqual([
      ['n1', 'Complete'],
      ['n2', 'Complete'],
      ['n3', 'Complete'],
    ]);

    await dockerOk(program, 'service', 'update', '--force', 'many');
    const again = await taskTable(first, 'many');
    expect(again.filter((task) => task.desired === 'Complete').map((task) => task.state.split(' ')[0])).toEqual([
      'Complete',
      'Complete',
      'Complete',
    ]);
  });

  test('one that fails is tried as often as it may be, and explains that it is over', async () => {
    const policy = ['--restart-delay', '100ms', '--restart-max-attempts', '1'];
    const flags = ['--mode', 'replicated-job', ...policy];
    await first.ok(['service', 'create', '-d', '--name', 'doomed', ...flags, 'busybox', 'sh', '-c', 'exit 4']);
    const over = 'not restarted, as the restart policy says (any, at most 1 attempts)';
    const told = await until('the end of all attempts', 15_000, async () => {
      const text = await first.ok(['service', 'explain', 'doomed']);
      return text.includes(over) ? text : undefined;
    });
    expect(told).not.toContain('longer each time');
    const tasks = await taskTable(first, 'doomed');
    expect(tasks.map((task) => task.error.replaceAll('"', ''))).toEqual(
      Array.from({ length: 2 }, () => 'task: non-zero exit (4)'),
    );
  });
});

describe('an update', () => {
  const broken = ['--args', 'sh -c "exit 3"'];

  test.skipIf(clients.length === 0).each(clients)(
    '%s: pauses at a failure, is taken back, and rolls out',
    async (program) => {
      await create('web', '--replicas', '3', ...quickVerdict);
      const before = await settled('web', ['n1', 'n2', 'n3']);
      const failed = await docker(program, 'service', 'update', ...broken, 'web');
      expect([failed.code, failed.stderr + failed.stdout]).toEqual([
        1,
        expect.stringContaining('service update paused: update paused due to failure or early termination of task'),
      ]);
      expect(await updateState('web')).toBe('paused');

      expect(await dockerOk(program, 'service', 'rollback', 'web')).toContain('converged');
      expect(await updateState('web')).toBe('rollback_completed');
      const after = await settled('web', ['n1', 'n2', 'n3']);
      const kept = after.filter(({ id }) => before.some((task) => task.id === id));
      expect(kept).toHaveLength(2); // only the place that had failed was touched

      const flags = [
        '--env-add',
        'A=1',
        '--update-parallelism',
        '2',
        '--update-delay',
        '100ms',
        '--update-order',
        'start-first',
      ];
      const more = ['--replicas', '4', '--constraint-add', 'node.role==manager', '--label-add', 'tier=front'];
      expect(await dockerOk(program, 'service', 'update', ...flags, ...more, 'web')).toContain('converged');
      expect(await updateState('web')).toBe('completed');
      expect(await running(first, 'web')).toHaveLength(4);
    },
  );

  test('that fails rolls back by itself, and leaves alone what it had not reached', async () => {
    await create('web', '--replicas', '3', '--update-failure-action', 'rollback', ...quickVerdict);
    const before = await settled('web', ['n1', 'n2', 'n3']);
    await first.ok(['service', 'update', '-d', ...broken, 'web']);
    await reaches('web', 'rollback_completed');
    const after = await settled('web', ['n1', 'n2', 'n3']);
    expect(after.filter(({ id }) => before.some((task) => task.id === id))).toHaveLength(2);
  });

  test('goes on when the daemon of the leader is killed, and replaces every task once', async () => {
    await create('web', '--replicas', '4', '--update-delay', '500ms', ...quickVerdict);
    const before = await until('four tasks', 20_000, async () => {
      const tasks = await running(first, 'web');
      return tasks.length === 4 ? tasks : undefined;
    });
    await first.ok(['service', 'update', '-d', '--env-add', 'A=1', 'web']);
    await until('the first replaced', 10_000, async () => {
      const now = await running(first, 'web');
      return now.some(({ id }) => before.every((task) => task.id !== id)) ? true : undefined;
    });
    const leader = await leaderOf(hosts, first);
    const other = hosts.hosts.find((host) => host.alive && host !== leader) ?? first;
    await leader.stop('SIGKILL');
    await leader.start();
    await reaches('web', 'completed', other);
    const all = await taskTable(other, 'web');
    expect(all.filter((task) => task.desired === 'Running')).toHaveLength(4);
    expect(all).toHaveLength(8);
  });

  test('is shown by a dry run, kept in the history, and undone to any revision', async () => {
    await create('web', '--replicas', '2', ...quickVerdict);
    const before = await until('two tasks', 20_000, async () => {
      const tasks = await running(first, 'web');
      return tasks.length === 2 ? tasks : undefined;
    });
    const scaled = await foretold('Tasks: 1 new, 0 replaced, 2 kept, 0 removed', '--replicas', '3', 'web');
    const revisions = async () =>
      (await first.ok(['service', 'history', 'web'])).split('\n').slice(1).filter(Boolean).length;
    expect(await revisions()).toBe(1);
    await first.ok(['service', 'scale', 'web=3']);
    const after = await running(first, 'web');
    expect(placement(after.filter(({ id }) => before.every((task) => task.id !== id)))).toEqual(scaled);
    expect(after).toHaveLength(3);
    const replaced = await foretold('Tasks: 0 new, 3 replaced, 0 kept, 0 removed', '--env-add', 'B=1', 'web');
    await first.ok(['service', 'update', '--env-add', 'B=1', 'web']);
    expect(placement(await running(first, 'web'))).toEqual(replaced);
    await first.ok(['service', 'rm', 'web']);
    await create('web', '--replicas', '2', ...quickVerdict);
    for (const value of ['1', '2']) await first.ok(['service', 'update', '-d', '--env-add', `A=${value}`, 'web']);
    expect(await revisions()).toBe(3);
    await first.ok(['service', 'rollback', '-d', '--to', '1', 'web']);
    await reaches('web', 'rollback_completed');
    expect(
      await first.ok(['service', 'inspect', 'web', '--format', '{{json .Spec.TaskTemplate.ContainerSpec}}']),
    ).not.toContain('A=');
    const unknown = await first.cli(['service', 'rollback', '--to', '99', 'web']);
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining('service web has no revision 99')]);
  });
});

describe('a global service', () => {
  test('follows the nodes: labels, drain, a node that joins and one that leaves', async () => {
    await create('all', '--mode', 'global', '--constraint', 'node.labels.off!=yes');
    await settled('all', ['n1', 'n2', 'n3']);
    await first.ok(['node', 'update', '--label-add', 'off=yes', 'n2']);
    await settled('all', ['n1', 'n3']);
    await first.ok(['node', 'update', '--label-rm', 'off', 'n2']);
    await first.ok(['node', 'update', '--availability', 'drain', 'n3']);
    await settled('all', ['n1', 'n2']);
    await first.ok(['node', 'update', '--availability', 'active', 'n3']);
    await settled('all', ['n1', 'n2', 'n3']);

    const joining = hosts.host(4);
    await joining.start();
    const token = (await first.ok(['join-token', 'worker', '-q'])).trim();
    await joining.ok(['join', '--token', token, `${first.address}:2377`]);
    await settled('all', ['n1', 'n2', 'n3', 'n4']);
    await joining.ok(['leave']);
    expect((await containers(hosts, joining)).size).toBe(0);
    await until('n4 down', 20_000, async () =>
      (await nodeTable(first)).find((node) => node.hostname === 'n4')?.status === 'Down' ? true : undefined,
    );
    expect((await first.ok(replicasColumn)).trim()).toBe('all 3/3');
    await first.ok(['node', 'rm', 'n4']);
    await settled('all', ['n1', 'n2', 'n3']);
  });
});
