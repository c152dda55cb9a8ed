import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Forecast, ServiceExplanation, TaskExplanation } from '../model/explain.ts';
import { FakeDaemon, fail } from './testing/fake-daemon.ts';

const now = Date.parse('2026-01-01T00:01:00Z');

const task = (name: string, change: Partial<TaskExplanation>): TaskExplanation => ({
  ID: name.repeat(5).replaceAll('.', ''),
  Name: name,
  State: 'running',
  DesiredState: 'running',
  Since: now - 60_000,
  NodeID: 'n',
  Hostname: 'h1',
  WaitsFor: '',
  ...change,
});

const unplaced = task('web.2', {
  State: 'pending',
  NodeID: '',
  Hostname: '',
  WaitsFor: 'a node: no suitable node (insufficient resources on 1 node)',
  Nodes: [
    { NodeID: 'n', Hostname: 'h1', Filter: '', Reason: '', Remedy: '' },
    { NodeID: 'm', Hostname: 'h10', Filter: 'ready', Reason: 'the node is drained', Remedy: 'node update h10' },
  ],
});

const explanation: ServiceExplanation = {
  ID: 's',
  Name: 'web',
  Mode: 'replicated',
  Running: 1,
  Desired: 3,
  Completed: 0,
  Findings: ['update paused: of a failure'],
  Tasks: [
    task('web.1', { Placement: 'no other node of 2 fits' }),
    unplaced,
    task('web.3', {
      State: 'ready',
      DesiredState: 'ready',
      WaitsFor: 'the end of its restart delay',
      Until: now + 5000,
    }),
  ],
  More: 4,
};

const forecast: Forecast = {
  Created: [
    { Name: 'web.10', NodeID: 'n', Hostname: 'h1', Err: '' },
    { Name: 'web.2', NodeID: 'm', Hostname: 'h10', Err: '' },
  ],
  More: 0,
  Kept: 1,
  Replaced: 1,
  Removed: 0,
};

let daemon: FakeDaemon;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  daemon
    .on('GET', '/tscluster/services/web/explain', () => explanation)
    .on('GET', '/tscluster/tasks/t/explain', () => unplaced)
    .on('POST', '/tscluster/services/dry-run', () => ({ Warnings: ['mind this'], Forecast: forecast }))
    .on('GET', '/services/web', () => ({
      ID: 'sid',
      Version: { Index: 3 },
      Spec: { Name: 'web', Labels: {}, TaskTemplate: { ContainerSpec: { Image: 'x' } }, Mode: { Replicated: {} } },
    }));
});

afterEach(() => daemon.stop());

describe('explain', () => {
  test('service explain: what does not run first, each with its reason', async () => {
    const { stdout, code } = await daemon.run(['service', 'explain', 'web']);
    expect(code).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "web (replicated): 1 of 3 running
        Update paused: of a failure

        web.2 (web2web2web2): pending for about a minute, desired running
          Waits for: a node: no suitable node (insufficient resources on 1 node)
          h1        fits
          h10       the node is drained   → node update h10

        web.3 (web3web3web3): ready on h1 for about a minute, desired ready
          Waits for: the end of its restart delay, in 5 seconds

        web.1 (web1web1web1): running on h1 for about a minute, desired running
          Why there: no other node of 2 fits

        and 4 more that run
      "
    `);
  });

  test('service explain: of a global service also the nodes that have no task', async () => {
    const node = (Hostname: string, Reason: string, Remedy: string) => ({
      ...{ NodeID: Hostname, Hostname, Filter: 'x', Reason, Remedy },
    });
    const Nodes = [node('h2', 'the node is paused', 'activate it'), node('h3', 'node.role == worker, but', '')];
    const answer = { ...explanation, Findings: [], Tasks: [], More: 1, Mode: 'global', Nodes, MoreNodes: 7 };
    daemon.on('GET', '/tscluster/services/all/explain', () => answer);
    expect((await daemon.run(['service', 'explain', 'all'])).stdout).toMatchInlineSnapshot(`
      "web (global): 1 of 3 running

        and 1 more that run

        Nodes without a task:
          h2        the node is paused         → activate it
          h3        node.role == worker, but
          and 7 more
      "
    `);
  });

  test('task explain, and both as JSON', async () => {
    expect((await daemon.run(['task', 'explain', 't'])).stdout).toMatchInlineSnapshot(`
      "web.2 (web2web2web2): pending for about a minute, desired running
        Waits for: a node: no suitable node (insufficient resources on 1 node)
        h1        fits
        h10       the node is drained   → node update h10
      "
    `);
    const json = await daemon.run(['service', 'explain', '--format', 'json', 'web']);
    expect(JSON.parse(json.stdout)).toEqual(explanation);
    expect((await daemon.run(['task', 'explain', '--format', 'xml', 't'])).stderr).toBe(
      'Error: unknown format "xml", it must be text or json\n',
    );
  });

  test('what is not there is said', async () => {
    daemon.on('GET', '/tscluster/services/nope/explain', () => fail(404, 'service nope not found'));
    expect(await daemon.run(['service', 'explain', 'nope'])).toMatchObject({ code: 1, stdout: '' });
  });
});

describe('--dry-run', () => {
  test('of a create posts the spec to a path of its own and shows where tasks would go', async () => {
    const { stdout, stderr, code } = await daemon.run(['service', 'create', '--dry-run', '--no-resolve-image', 'x']);
    expect([code, stderr]).toEqual([0, 'mind this\n']);
    expect(stdout).toMatchInlineSnapshot(`
      "Dry run, nothing was changed. Tasks: 1 new, 1 replaced, 1 kept, 0 removed
      TASK      NODE
      web.2     h10
      web.10    h1
      "
    `);
    expect(daemon.posts().map(({ path, query }) => [path, query])).toEqual([['/tscluster/services/dry-run', {}]]);
  });

  test('of an update names the service; a task without a node makes the exit code 1', async () => {
    const nodes = unplaced.Nodes ?? [];
    daemon.on('POST', '/tscluster/services/dry-run', () => ({
      Warnings: null,
      Forecast: {
        ...forecast,
        More: 7,
        Created: [{ Name: 'web.1', NodeID: '', Hostname: '', Err: 'no suitable node', Nodes: nodes }],
      },
    }));
    const { stdout, code } = await daemon.run([
      'service',
      'update',
      '--dry-run',
      '--image',
      'y',
      '--no-resolve-image',
      'web',
    ]);
    expect(code).toBe(1);
    expect(stdout).toMatchInlineSnapshot(`
      "Dry run, nothing was changed. Tasks: 7 new, 1 replaced, 1 kept, 0 removed
      TASK      NODE
      web.1     nowhere: no suitable node
      and 7 more

      What each node says:
        h1        fits
        h10       the node is drained   → node update h10
      "
    `);
    expect(daemon.posts().map(({ query }) => query)).toEqual([{ service: 'sid' }]);
  });
});

test('--failover-delay becomes a label', async () => {
  daemon.on('POST', '/services/create', () => ({ ID: 'new' }));
  const line = ['service', 'create', '-d', '--no-resolve-image', '--failover-delay', '90s', 'x'];
  expect((await daemon.run(line)).stdout).toBe('new\n');
  expect(daemon.posts().at(-1)?.body).toMatchObject({ Labels: { 'tscluster.failover-delay': '1m30s' } });
});

test('update changes what it is told of the cluster, and leaves the rest', async () => {
  const spec = {
    Name: 'default',
    Labels: { a: '1', 'tscluster.node-grace': '9s' },
    Dispatcher: { HeartbeatPeriod: 1e9 },
  };
  daemon
    .on('GET', '/swarm', () => ({ ID: 'c', Version: { Index: 4 }, Spec: spec }))
    .on('POST', '/swarm/update', () => ({}));
  expect((await daemon.run(['update', '--node-grace', '20s', '--dispatcher-heartbeat', '2s'])).stdout).toBe(
    'Cluster updated.\n',
  );
  expect(daemon.posts().at(-1)).toMatchObject({
    query: { version: '4' },
    body: { Name: 'default', Labels: { a: '1', 'tscluster.node-grace': '20s' }, Dispatcher: { HeartbeatPeriod: 2e9 } },
  });
  await daemon.run(['update', '--node-grace', '0s']);
  expect(daemon.posts().at(-1)?.body).toEqual({ ...spec, Labels: { a: '1' } });
  expect(await daemon.run(['update'])).toMatchObject({ code: 1 });
});

test('service ps: the first slot of a replicated job is 0, not its node', async () => {
  const spec = { Name: 'job', Mode: { ReplicatedJob: { TotalCompletions: 2 } } };
  const job = (id: string, more: object) => ({
    ID: id,
    ServiceID: 'j',
    NodeID: 'n',
    CreatedAt: '2026-01-01T00:00:00Z',
    JobIteration: {},
    Spec: { ContainerSpec: { Image: 'x' } },
    Status: { State: 'complete', Timestamp: '2026-01-01T00:00:00Z' },
    DesiredState: 'complete',
    ...more,
  });
  daemon
    .on('GET', '/services', () => [{ ID: 'j', Spec: spec }])
    .on('GET', '/services/j', () => ({ ID: 'j', Spec: spec }))
    .on('GET', '/nodes/n', () => ({ ID: 'n', Spec: {}, Description: { Hostname: 'h1' } }))
    .on('GET', '/tasks', () => [job('a', {}), job('b', { Slot: 1 })]);
  const { stdout } = await daemon.run(['service', 'ps', '--format', '{{.Name}} {{.Node}} {{.DesiredState}}', 'job']);
  expect(stdout).toBe('job.0 h1 Complete\njob.1 h1 Complete\n');
});
