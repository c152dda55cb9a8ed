import { describe, expect, test } from 'vitest';
import { TaskState } from '../../model/task-state.ts';
import { filters, selfId, TestApi, web } from '../testing/fake-node.ts';

async function someTasks() {
  const api = await TestApi.make();
  const id = await api.service(web({ Labels: { stack: 's' } }));
  const other = await api.service({ ...web(), Name: 'db' });
  await api.node.addNode('n2other');
  await api.node.addTask('t1', id);
  await api.node.addTask('t2', id, { slot: 2, nodeId: 'n2other', desired: TaskState.shutdown });
  await api.node.addTask('t3', other, { nodeId: '' });
  const list = async (given: object) =>
    (await api.get(`/tasks?filters=${filters(given)}`)).body.map((task) => task['ID']);
  return { api, id, other, list };
}

describe('GET /tasks', () => {
  test.each([
    [{}, ['t1', 't2', 't3']],
    [{ service: { web: true } }, ['t1', 't2']],
    [{ service: ['web', 'db'] }, ['t1', 't2', 't3']],
    [{ node: ['host-n2'] }, ['t2']],
    [{ node: [selfId], service: ['web'] }, ['t1']],
    [{ 'desired-state': ['running'] }, ['t1', 't3']],
    [{ 'desired-state': { shutdown: true } }, ['t2']],
    [{ label: ['stack=s'] }, ['t1', 't2']],
    [{ id: ['t3'] }, ['t3']],
    [{ name: ['db.1'] }, ['t3']],
  ])('with filters %j lists %j', async (given, ids) => {
    const { list } = await someTasks();
    expect(await list(given)).toEqual(ids);
  });

  test('refuses what it does not know', async () => {
    const { api } = await someTasks();
    const ask = async (given: object) => {
      const { status, body } = await api.get(`/tasks?filters=${filters(given)}`);
      return [status, body['message']];
    };
    expect(await ask({ service: ['nope'] })).toEqual([404, 'service nope not found']);
    expect(await ask({ 'desired-state': ['bogus'] })).toEqual([400, "Invalid desired-state filter: 'bogus'"]);
    expect(await ask({ colour: ['red'] })).toEqual([400, "invalid filter 'colour'"]);
  });

  test('tasks of a removed service leave the listing by label at once', async () => {
    const { api, id, list } = await someTasks();
    await api.delete(`/services/${id}`);
    expect(await list({ label: ['stack=s'] })).toEqual([]);
    expect(await list({})).toEqual(['t1', 't2', 't3']);
  });

  test('_up-to-date keeps tasks of the current spec, whatever its version is called', async () => {
    const { api, id, list } = await someTasks();
    const update = async (image: string) => {
      const version = api.node.store.view.get('service', id)?.meta.version;
      const spec = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: image } } };
      expect((await api.post(`/services/${id}/update?version=${version}`, spec)).status).toBe(200);
    };
    const current = () => list({ '_up-to-date': { true: true }, service: [id] });
    expect(await current()).toEqual(['t1', 't2']);
    await update('nginx:1.27');
    expect(await current()).toEqual([]);
    await api.node.addTask('t4', id);
    expect(await current()).toEqual(['t4']);
    await update('nginx:latest');
    expect(await current()).toEqual(['t1', 't2']);
  });
});

describe('_up-to-date with new constraints', () => {
  test.each([
    ['node.role == worker', ['t2']],
    ['node.hostname != nowhere', ['t1', 't2']],
  ])('%s keeps %j', async (constraint, ids) => {
    const { api, id, list } = await someTasks();
    const version = api.node.store.view.get('service', id)?.meta.version;
    const TaskTemplate = { ContainerSpec: { Image: 'nginx:latest' }, Placement: { Constraints: [constraint] } };
    await api.post(`/services/${id}/update?version=${version}`, { Name: 'web', TaskTemplate });
    expect(await list({ '_up-to-date': ['true'], service: ['web'] })).toEqual(ids);
  });
});

describe('_up-to-date with another limit per node', () => {
  test.each([
    [1, ['t1', 't2']],
    [2, ['t1', 't2', 't5']],
    [0, ['t1', 't2', 't5', 't6']],
  ])('%i keeps %j: those that came first', async (MaxReplicas, ids) => {
    const { api, id, list } = await someTasks();
    await api.node.addTask('t5', id, { slot: 5 });
    await api.node.addTask('t6', id, { slot: 6 });
    const version = api.node.store.view.get('service', id)?.meta.version;
    const TaskTemplate = { ContainerSpec: { Image: 'nginx:latest' }, Placement: { MaxReplicas } };
    await api.post(`/services/${id}/update?version=${version}`, { Name: 'web', TaskTemplate });
    // t2 is elsewhere, and leaves anyway.
    expect(await list({ '_up-to-date': ['true'], service: ['web'] })).toEqual(ids);
  });
});

describe('GET /tasks/{id}', () => {
  test('shows status, error, container and ports', async () => {
    const { api, id } = await someTasks();
    await api.node.addTask('t9', id, {
      slot: 3,
      status: {
        state: TaskState.failed,
        timestamp: Date.UTC(2026, 1, 2),
        message: 'started',
        err: 'task: non-zero exit (3)',
        container: { containerId: 'c9', pid: 0, exitCode: 3 },
        ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }],
      },
    });
    const { body } = await api.get('/tasks/t9');
    expect(body).toMatchObject({
      Slot: 3,
      NodeID: selfId,
      ServiceID: id,
      DesiredState: 'running',
      Status: {
        Timestamp: '2026-02-02T00:00:00.000Z',
        State: 'failed',
        Message: 'started',
        Err: 'task: non-zero exit (3)',
        ContainerStatus: { ContainerID: 'c9', PID: 0, ExitCode: 3 },
        PortStatus: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] },
      },
    });
  });

  test('says of what a node that is down had that its state is unknown, and no more once the node is back', async () => {
    const { api, id, list } = await someTasks();
    const setState = (state: 'down' | 'ready') =>
      api.node.store.transact((tx) => {
        const { meta: _, ...draft } = tx.get('node', 'n2other') ?? expect.fail();
        tx.update('node', { ...draft, status: { ...draft.status, state, since: Date.UTC(2026, 1, 2) } });
      });
    const status = { timestamp: 0, message: 'exited', err: '', state: TaskState.complete };
    await api.node.addTask('t7', id, { slot: 7, nodeId: 'n2other', status });
    await setState('down');
    const shown = async (task: string) => {
      const { State, Err } = (await api.get(`/tasks/${task}`)).body['Status'] as { State: string; Err?: string };
      return [State, Err];
    };
    const unknown = 'node host-n2 is down: state unknown since 2026-02-02T00:00:00.000Z';
    expect(await shown('t2')).toEqual(['running', unknown]);
    expect(await shown('t1')).toEqual(['running', undefined]);
    expect(await shown('t7')).toEqual(['complete', undefined]);
    const { body } = await api.get('/tasks');
    expect(body.map((task) => (task['Status'] as { Err?: string }).Err)).toEqual([
      undefined,
      unknown,
      undefined,
      undefined,
    ]);
    expect(await list({ node: ['host-n2'] })).toEqual(['t2', 't7']);
    await setState('ready');
    expect(await shown('t2')).toEqual(['running', undefined]);
  });

  test('leaves out the node of a task that is not placed', async () => {
    const { api } = await someTasks();
    expect((await api.get('/tasks/t3')).body).not.toHaveProperty('NodeID');
    expect((await api.get('/tasks/t4')).body).toEqual({ message: 'task t4 not found' });
  });
});
