import { describe, expect, test } from 'vitest';
import { filters, TestApi, web } from '../testing/fake-node.ts';

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

  test('does not pretend to know the past', async () => {
    const api = await TestApi.make();
    const answer = await api.get('/events?since=1000');
    expect([answer.status, answer.body]).toEqual([
      501,
      { message: 'events of the past (since) are not supported yet' },
    ]);
  });
});
