import { describe, expect, test } from 'vitest';
import { filters, selfId, TestApi } from '../testing/fake-node.ts';

describe('GET /nodes', () => {
  test('shows managers with what Raft knows of them, workers without', async () => {
    const api = await TestApi.make();
    await api.node.addNode('n2worker');
    const { body } = await api.get('/nodes');
    expect(body[0]).toMatchObject({
      ID: selfId,
      Spec: { Role: 'manager', Availability: 'active', Labels: {} },
      Description: { Hostname: 'host-n1', Platform: { Architecture: 'x86_64', OS: 'linux' } },
      Status: { State: 'ready', Addr: '10.0.0.9' },
      ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '10.0.0.1:2377' },
    });
    expect(body[1]).not.toHaveProperty('ManagerStatus');
  });

  test('shows the root certificate of those that have registered: the one that the cluster shows', async () => {
    const api = await TestApi.make();
    const { body } = await api.get('/nodes');
    const { body: info } = await api.get('/info');
    const swarm = info['Swarm'] as { Cluster: { TLSInfo: object } };
    expect(body[0]?.['Description']).toMatchObject({ TLSInfo: swarm.Cluster.TLSInfo });
  });

  test('follows reachability, which changes without a commit', async () => {
    const api = await TestApi.make();
    await api.get('/nodes');
    api.node.members = [{ nodeId: selfId, raftId: 1, addr: 'a:1', leader: false, reachability: 'unreachable' }];
    const { body } = await api.get('/nodes');
    expect(body[0]?.['ManagerStatus']).toEqual({ Reachability: 'unreachable', Addr: 'a:1' });
  });

  test.each([
    [{ role: ['worker'] }, ['n2worker']],
    [{ role: { manager: true } }, [selfId]],
    [{ name: ['host-n2'] }, ['n2worker']],
    [{ 'node.label': ['disk=ssd'] }, ['n2worker']],
    [{ membership: ['accepted'] }, [selfId, 'n2worker']],
    [{ membership: ['pending'] }, []],
  ])('with filters %j lists %j', async (given, ids) => {
    const api = await TestApi.make();
    await api.node.addNode('n2worker', { spec: { Labels: { disk: 'ssd' }, Role: 'worker', Availability: 'active' } });
    const { body } = await api.get(`/nodes?filters=${filters(given)}`);
    expect(body.map((node) => node['ID'])).toEqual(ids);
  });

  test('refuses a role that does not exist', async () => {
    const api = await TestApi.make();
    const answer = await api.get(`/nodes?filters=${filters({ role: ['boss'] })}`);
    expect([answer.status, answer.body]).toEqual([400, { message: "Invalid role filter: 'boss'" }]);
  });

  test('a hostname that two nodes have is ambiguous', async () => {
    const api = await TestApi.make();
    await api.node.addNode('n2a');
    await api.node.addNode('n2b');
    const answer = await api.get('/nodes/host-n2');
    expect([answer.status, answer.body]).toEqual([400, { message: 'node host-n2 is ambiguous (2 matches found)' }]);
  });
});

describe('changing nodes', () => {
  const version = (api: TestApi, id: string) => api.node.store.view.get('node', id)?.meta.version ?? 0;

  test('drain and labels are stored; a demotion of the last manager is refused', async () => {
    const api = await TestApi.make();
    await api.node.addNode('n2worker');
    const drained = { Labels: { a: 'b' }, Role: 'worker', Availability: 'drain' };
    expect((await api.post(`/nodes/n2worker/update?version=${version(api, 'n2worker')}`, drained)).status).toBe(200);
    expect(api.node.store.view.get('node', 'n2worker')?.spec).toEqual(drained);

    const answer = await api.post(`/nodes/${selfId}/update?version=${version(api, selfId)}`, {
      ...drained,
      Availability: 'active',
    });
    expect([answer.status, answer.body['message']]).toEqual([
      400,
      'attempting to demote the last manager of the swarm',
    ]);
  });

  test.each([
    [{ Role: 'boss', Availability: 'active' }, 'invalid Role: "boss"'],
    [{ Role: 'worker', Availability: 'away' }, 'invalid Availability: "away"'],
  ])('refuses %j', async (spec, message) => {
    const api = await TestApi.make();
    const answer = await api.post(`/nodes/${selfId}/update?version=${version(api, selfId)}`, spec);
    expect([answer.status, answer.body]).toEqual([400, { message }]);
  });

  test('removal: never a manager, a live worker only with force', async () => {
    const api = await TestApi.make();
    await api.node.addNode('n2worker');
    expect((await api.delete(`/nodes/${selfId}?force=1`)).body['message']).toContain('is a cluster manager');
    expect((await api.delete('/nodes/n2worker')).body).toEqual({
      message: "node n2worker is not down and can't be removed",
    });
    expect((await api.delete('/nodes/n2worker?force=1')).status).toBe(200);
    expect((await api.get('/nodes/n2worker')).status).toBe(404);
  });
});
