import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeDaemon, fail } from '../testing/fake-daemon.ts';

const event = (Type: string, Action: string, Attributes: object) => ({
  ...{ Type, Action, Actor: { ID: `${Type}id`, Attributes }, scope: 'swarm', time: 1767225660 },
  timeNano: 1767225660250000000,
});
const stream = (...events: object[]) => ({
  raw: Buffer.from(events.map((one) => `${JSON.stringify(one)}\n`).join('')),
});

let daemon: FakeDaemon;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  const failed = { name: 'web.1', 'state.old': 'running', 'state.new': 'failed', err: 'task: non-zero exit (3)' };
  daemon.on('GET', '/events', () =>
    stream(event('service', 'create', { name: 'web' }), event('task', 'update', failed)),
  );
});
afterEach(() => daemon.stop());

const filters = () => JSON.parse(daemon.requests.at(-1)?.query['filters'] ?? '{}') as Record<string, unknown>;

describe('events', () => {
  test('one line each, tasks among them unless types are given', async () => {
    const { stdout, stderr, code } = await daemon.run(['events']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatchInlineSnapshot(`
      "2026-01-01T00:01:00.250Z service create serviceid (name=web)
      2026-01-01T00:01:00.250Z task update taskid (err=task: non-zero exit (3), name=web.1, state.new=failed, state.old=running)
      "
    `);
    expect(filters()['type']).toContain('task');
    await daemon.run(['events', '--filter', 'type=node', '-f', 'node=n1']);
    expect(filters()).toEqual({ type: ['node'], node: ['n1'] });
  });

  test('as JSON, and by a template', async () => {
    const json = await daemon.run(['events', '--format', 'json']);
    expect(JSON.parse(json.stdout.split('\n')[0] ?? '')).toMatchObject({ Type: 'service', Actor: { ID: 'serviceid' } });
    const template = await daemon.run(['events', '--format', '{{.Type}} {{.Actor.Attributes.name}}']);
    expect(template.stdout).toBe('service web\ntask web.1\n');
  });

  test('what cannot be is said: the past, a worker, and a reader that is too slow', async () => {
    expect(await daemon.run(['events', '--since', '1h'])).toMatchObject({
      ...{ code: 1, stderr: 'Error: events of the past (--since) are not supported yet\n' },
    });
    daemon.on('GET', '/events', () => stream({ message: 'events came faster than they were read' }));
    expect(await daemon.run(['events'])).toMatchObject({
      ...{ code: 1, stderr: 'Error: events came faster than they were read\n' },
    });
    daemon.on('GET', '/events', () => fail(503, 'This node is not a swarm manager.'));
    const { code, stderr } = await daemon.run(['events']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('This node is not a swarm manager.')]);
  });
});
