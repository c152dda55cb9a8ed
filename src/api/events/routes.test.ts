import { describe, expect, test } from 'vitest';
import type { Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';
import { filters, selfId, TestApi, web } from '../testing/fake-node.ts';

/** Listens for ten simulated seconds while `act` runs, and returns what was sent. */
async function events(given: object, act: (api: TestApi) => Promise<unknown>) {
  const api = await TestApi.make();
  const until = api.node.clock.now() / 1000 + 10;
  const answer = api.app.inject(`/events?until=${until}&filters=${filters(given)}`);
  while (!isListening(api)) await new Promise((resolve) => setImmediate(resolve));
  await act(api);
  await api.node.clock.advance(10_000);
  const lines = (await answer).payload.split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

function isListening(api: TestApi): boolean {
  return api.node.commitListeners > 0;
}

describe('GET /events', () => {
  test('tells creations, changes and removals', async () => {
    const seen = await events({}, async (api) => {
      const id = await api.service(web());
      await api.node.clock.advance(1000);
      const version = api.node.store.view.get('service', id)?.meta.version;
      await api.post(`/services/${id}/update?version=${version}`, web({ Mode: { Replicated: { Replicas: 4 } } }));
      await api.node.clock.advance(1000);
      await api.delete(`/services/${id}`);
    });
    expect(seen).toEqual([
      expect.objectContaining({ Type: 'service', Action: 'create', scope: 'swarm' }),
      expect.objectContaining({
        Action: 'update',
        Actor: { ID: expect.any(String), Attributes: { name: 'web', 'replicas.old': '1', 'replicas.new': '4' } },
      }),
      expect.objectContaining({ Type: 'service', Action: 'remove' }),
    ]);
  });

  test.each([
    [{ type: ['secret'] }, ['pw']],
    [{ service: ['web'] }, ['web']],
    [{ event: ['remove'] }, []],
    [{ container: ['x'] }, []],
    [{}, ['web', 'pw']],
  ])('with filters %j tells of %j', async (given, names) => {
    const seen = await events(given, async (api) => {
      await api.service(web());
      await api.post('/secrets/create', { Name: 'pw', Data: 'eA==' });
    });
    expect(seen.map((event) => (event['Actor'] as { Attributes: { name: string } }).Attributes.name)).toEqual(names);
  });

  const actors = (seen: readonly Record<string, unknown>[]) =>
    seen.map(({ Type, Action, Actor }) => {
      const { Attributes } = Actor as { Attributes: Record<string, string> };
      return [Type, Action, Attributes];
    });

  async function lifeOfTask(api: TestApi): Promise<void> {
    const { store, clock } = api.node;
    const id = await api.service(web());
    const status = { state: TaskState.pending, timestamp: 0, message: 'pending task scheduling', err: '' };
    await api.node.addTask('t1', id, { nodeId: '', status });
    const move = (change: Partial<Task>, to: Partial<Task['status']> = {}) =>
      store.transact((tx) => {
        const task = tx.get('task', 't1');
        if (task !== undefined) tx.update('task', { ...task, ...change, status: { ...task.status, ...to } });
      });
    await move({}, { err: 'no suitable node' });
    await move({}, { timestamp: 7 });
    await move({ nodeId: selfId }, { state: TaskState.assigned, message: 'scheduler assigned task to node', err: '' });
    await move({}, { state: TaskState.failed, message: 'started', err: 'task: non-zero exit (3)' });
    await move({ desired: TaskState.shutdown });
    await store.transact((tx) => tx.remove('task', 't1'));
    await clock.advance(1);
  }

  test('of tasks it tells those who ask every transition, with its reason', async () => {
    const seen = await events({ type: ['task'] }, lifeOfTask);
    const own = { name: 'web.1', 'service.id': expect.any(String), 'service.name': 'web' };
    const message = 'pending task scheduling';
    const there = { ...own, 'node.id': selfId };
    const failed = { message: 'started', err: 'task: non-zero exit (3)' };
    expect(actors(seen)).toEqual([
      ['task', 'create', { ...own, 'state.new': 'pending', 'desired.new': 'running', message }],
      ['task', 'update', { ...own, message, err: 'no suitable node' }],
      [
        'task',
        'update',
        { ...there, 'state.old': 'pending', 'state.new': 'assigned', message: 'scheduler assigned task to node' },
      ],
      ['task', 'update', { ...there, 'state.old': 'assigned', 'state.new': 'failed', ...failed }],
      ['task', 'update', { ...there, 'desired.old': 'running', 'desired.new': 'shutdown', ...failed }],
      ['task', 'remove', { ...there, 'state.old': 'failed', 'desired.old': 'shutdown', ...failed }],
    ]);
  });

  test.each([
    [{}, 0],
    [{ service: ['web'] }, 0],
    [{ type: ['service'] }, 0],
    [{ type: ['task', 'service'], service: ['web'] }, 6],
    [{ type: ['task'], service: ['other'] }, 0],
    [{ type: ['task'], node: [selfId] }, 4],
    [{ task: ['web.1'] }, 6],
    [{ task: ['t1'], event: ['remove'] }, 1],
  ])('with filters %j it tells of %i changes of tasks', async (given, count) => {
    const seen = await events(given, lifeOfTask);
    expect(seen.filter((event) => event['Type'] === 'task')).toHaveLength(count);
  });

  test('says why an update stands as it does and why a node is as it is', async () => {
    const seen = await events({}, async (api) => {
      const { store, clock } = api.node;
      const id = await api.service(web());
      await clock.advance(1000);
      const write = (state: 'updating' | 'paused', message: string) =>
        store.transact((tx) => {
          const service = tx.get('service', id);
          if (service !== undefined) tx.update('service', { ...service, updateStatus: { state, message } });
        });
      await write('updating', 'update in progress');
      await clock.advance(1000);
      await write('paused', 'update paused due to failure');
      await store.transact((tx) => {
        const node = tx.get('node', selfId);
        if (node === undefined) return;
        tx.update('node', { ...node, status: { ...node.status, state: 'down', message: 'heartbeat failure' } });
      });
    });
    expect(actors(seen).slice(1)).toEqual([
      ['service', 'update', { name: 'web', 'updatestate.new': 'updating', message: 'update in progress' }],
      [
        'service',
        'update',
        {
          ...{ name: 'web', 'updatestate.old': 'updating', 'updatestate.new': 'paused' },
          message: 'update paused due to failure',
        },
      ],
      ['node', 'update', { name: 'host-n1', 'state.old': 'ready', 'state.new': 'down', message: 'heartbeat failure' }],
    ]);
  });

  test('a listener costs no more than what changes: nothing else is read', async () => {
    const seen = await events({}, async (api) => {
      api.node.store.view.list = () => {
        throw new Error('all objects are read');
      };
      await api.post('/secrets/create', { Name: 'pw', Data: 'eA==' });
    });
    expect(seen).toHaveLength(1);
  });

  test('does not pretend to know the past', async () => {
    const api = await TestApi.make();
    const answer = await api.get('/events?since=1000');
    expect([answer.status, answer.body]).toEqual([
      501,
      { message: 'events of the past (since) are not supported yet' },
    ]);
  });
});
