import { describe, expect, test } from 'vitest';
import { TaskState } from '../../model/task-state.ts';
import { TestApi, web } from '../testing/fake-node.ts';

describe('dry run', () => {
  test('of a create answers with the placement and writes nothing', async () => {
    const api = await TestApi.make();
    const before = api.node.store.view.version;
    const answer = await api.post('/tscluster/services/dry-run', web({ Mode: { Replicated: { Replicas: 2 } } }));
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ Warnings: null, Forecast: { Kept: 0, Replaced: 0, Removed: 0, More: 0 } });
    const { Forecast } = answer.body as unknown as { Forecast: { Created: { Name: string; Hostname: string }[] } };
    expect(Forecast.Created.map(({ Name, Hostname }) => [Name, Hostname])).toEqual([
      ['web.1', 'host-n1'],
      ['web.2', 'host-n1'],
    ]);
    expect(api.node.store.view.version).toBe(before);
    expect(answer.body).not.toHaveProperty('ID');
  });

  test('of an update compares with what is there', async () => {
    const api = await TestApi.make();
    const id = await api.service(web());
    await api.node.addTask('t1', id);
    const before = api.node.store.view.version;
    const wanted = web({ Mode: { Replicated: { Replicas: 3 } } });
    const { status, body } = await api.post(`/tscluster/services/dry-run?service=web`, wanted);
    expect([status, body['Forecast']]).toMatchObject([
      200,
      { Kept: 1, Created: [{ Name: 'web.2' }, { Name: 'web.3' }] },
    ]);
    expect(api.node.store.view.version).toBe(before);
  });

  test('refuses what would be refused', async () => {
    const api = await TestApi.make();
    await api.service(web());
    const ask = async (url: string, body: object) => {
      const answer = await api.post(url, body);
      return [answer.status, answer.body['message']];
    };
    expect(await ask('/tscluster/services/dry-run', web())).toEqual([
      409,
      'name conflicts with an existing object: service web already exists',
    ]);
    expect(await ask('/tscluster/services/dry-run?service=web', web({ Mode: { Global: {} } }))).toEqual([
      501,
      'service mode change is not allowed',
    ]);
    expect(await ask('/tscluster/services/dry-run?service=nope', web())).toEqual([404, 'service nope not found']);
    const broken = web({
      Name: 'x',
      TaskTemplate: { ContainerSpec: { Image: 'x' }, Placement: { Constraints: ['a'] } },
    });
    expect(await ask('/tscluster/services/dry-run', broken)).toEqual([
      400,
      'constraint expected one operator from ==, !=',
    ]);
  });
});

describe('explain', () => {
  test('a service and its tasks, by name or id', async () => {
    const api = await TestApi.make();
    const id = await api.service(web({ TaskTemplate: { ContainerSpec: { Image: 'x' } } }));
    await api.node.addNode('n2', { spec: { Labels: {}, Role: 'worker', Availability: 'drain' } });
    await api.node.addTask('t1', id);
    await api.node.addTask('t2', id, {
      slot: 2,
      nodeId: '',
      status: { state: TaskState.pending, timestamp: 0, message: '', err: 'no suitable node' },
    });
    const service = await api.get('/tscluster/services/web/explain');
    expect(service.status).toBe(200);
    expect(service.body).toMatchObject({
      Name: 'web',
      Mode: 'replicated',
      Running: 1,
      Desired: 1,
      Tasks: [
        { ID: 't2', WaitsFor: 'a node: no suitable node', Nodes: [{ Reason: '' }, { Reason: 'the node is drained' }] },
        { ID: 't1', WaitsFor: '', Placement: 'no other node of 2 fits' },
      ],
    });
    const task = await api.get('/v1.50/tscluster/tasks/t2/explain');
    expect(task.body).toMatchObject({ ID: 't2', Name: 'web.2', Nodes: [{}, {}] });
    expect((await api.get('/tscluster/services/nope/explain')).status).toBe(404);
    expect((await api.get('/tscluster/tasks/nope/explain')).status).toBe(404);
  });
});
