import { describe, expect, test } from 'vitest';
import { TaskState } from '../../model/task-state.ts';
import { filters, TestApi, web } from '../testing/fake-node.ts';

describe('POST /services/create', () => {
  test('answers 201 with the id, and the service reads back with what clients rely on', async () => {
    const api = await TestApi.make();
    const created = await api.post('/v1.50/services/create', web());
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({ ID: expect.stringMatching(/^[0-9a-z]{25}$/), Warnings: null });
    const { body } = await api.get('/services/web');
    expect(body).toMatchObject({
      ID: created.body['ID'],
      Spec: {
        Name: 'web',
        Labels: {},
        Mode: { Replicated: { Replicas: 1 } },
        TaskTemplate: {
          Placement: {},
          Resources: { Limits: {}, Reservations: {} },
          ForceUpdate: 0,
          Runtime: 'container',
        },
        EndpointSpec: { Mode: 'vip' },
      },
      Endpoint: { Spec: { Mode: 'vip' } },
    });
    expect(body).not.toHaveProperty('UpdateStatus');
    expect(body).not.toHaveProperty('PreviousSpec');
  });

  test('matches keys without regard to case, drops nulls and unknown keys', async () => {
    const api = await TestApi.make();
    await api.service({
      name: 'web',
      Labels: null,
      version: 3,
      TaskTemplate: {
        ContainerSpec: { image: 'nginx', Args: null, Privileges: { CredentialSpec: null, SELinuxContext: null } },
        Nonsense: 1,
      },
      Mode: { replicated: { replicas: 3 } },
      EndpointSpec: { ExposedPorts: [1] },
    });
    const spec = api.node.store.view.serviceByName('web')?.spec;
    expect(spec).toEqual({
      Name: 'web',
      Labels: {},
      TaskTemplate: { ContainerSpec: { Image: 'nginx', Privileges: {} } },
      Mode: { Replicated: { Replicas: 3 } },
      EndpointSpec: {},
    });
  });

  test('refuses a taken name with 409 and Docker’s words, as application/json without a charset', async () => {
    const api = await TestApi.make();
    await api.service(web());
    const again = await api.post('/services/create', web());
    expect(again.status).toBe(409);
    expect(again.body).toEqual({ message: 'name conflicts with an existing object: service web already exists' });
    expect(again.headers['content-type']).toBe('application/json');
  });

  test('invents a name when there is none', async () => {
    const api = await TestApi.make();
    await api.service({ TaskTemplate: { ContainerSpec: { Image: 'nginx' } } });
    expect([...api.node.store.view.list('service')][0]?.spec.Name).toMatch(/^[a-z]+_[a-z]+$/);
  });

  test.each([
    ['', 400, 'got EOF while reading request body'],
    ['{"Name":', 400, 'invalid JSON: the request body is not valid JSON'],
    ['[]', 400, 'invalid JSON: cannot use array as object in field of the body'],
    ['{"Name":7}', 400, 'invalid JSON: cannot use number as string in field Name'],
    [
      '{"Mode":{"Replicated":{"Replicas":-1}}}',
      400,
      'invalid JSON: cannot use number as unsigned integer in field Mode.Replicated.Replicas',
    ],
  ])('refuses the body %j', async (payload, status, message) => {
    const api = await TestApi.make();
    const answer = await api.send({
      method: 'POST',
      url: '/services/create',
      payload,
      headers: { 'content-type': 'application/json' },
    });
    expect([answer.status, answer.body]).toEqual([status, { message }]);
  });
});

describe('registry credentials', () => {
  const auth = (password: string) =>
    Buffer.from(JSON.stringify({ username: 'me', password, serveraddress: 'r.example' })).toString('base64url');
  const image = (Image: string) => web({ TaskTemplate: { ContainerSpec: { Image } } });

  async function withCredentials() {
    const api = await TestApi.make();
    const send = (url: string, payload: object, header?: string) =>
      api.send({ method: 'POST', url, payload, headers: header === undefined ? {} : { 'x-registry-auth': header } });
    const created = await send('/services/create', image('r.example/app:1'), auth('one'));
    const id = String(created.body['ID']);
    const service = () => api.node.store.view.get('service', id) ?? expect.fail();
    const update = (Image: string, { header, query = '' }: { header?: string; query?: string } = {}) =>
      send(`/services/${id}/update?version=${service().meta.version}${query}`, image(Image), header);
    return { api, id, send, service, update };
  }

  test('are kept for the tasks and shown to nobody', async () => {
    const { api, id, service, update } = await withCredentials();
    expect(service().registryAuth).toBe(auth('one'));
    await update('r.example/app:2', { header: auth('two') });
    expect([service().registryAuth, service().previousRegistryAuth]).toEqual([auth('two'), auth('one')]);
    for (const url of [`/services/${id}`, `/services/${id}?insertDefaults=true`, '/services?status=true'])
      expect(JSON.stringify((await api.get(url)).body)).not.toMatch(
        new RegExp(`${auth('one')}|${auth('two')}|egistryAuth`),
      );
    const history = await api.get(`/tscluster/services/${id}/history`);
    expect(JSON.stringify(history.body)).not.toMatch(/egistryAuth/);
  });

  test('are kept by an update without, replaced by one with, and new ones alone make no task stale', async () => {
    const { service, update } = await withCredentials();
    await update('r.example/app:2');
    expect(service()).toMatchObject({ specVersion: 2, registryAuth: auth('one'), previousRegistryAuth: auth('one') });
    await update('r.example/app:2', { header: auth('two') });
    expect(service()).toMatchObject({ specVersion: 2, registryAuth: auth('two') });
    await update('r.example/app:2', { header: Buffer.from('{}').toString('base64') });
    expect(service().registryAuth).toBe(auth('two'));
  });

  test('of the previous spec can be asked for, and come back with a rollback', async () => {
    const { service, update } = await withCredentials();
    await update('other.example/app:1', { header: auth('two') });
    await update('r.example/app:1', { query: '&registryAuthFrom=previous-spec' });
    expect(service().registryAuth).toBe(auth('one'));
    await update('r.example/app:1', { query: '&rollback=previous' });
    expect(service().spec.TaskTemplate.ContainerSpec.Image).toBe('other.example/app:1');
    expect([service().registryAuth, service().previousRegistryAuth]).toEqual([auth('two'), auth('one')]);
    const odd = await update('r.example/app:1', { query: '&registryAuthFrom=thin-air' });
    expect([odd.status, odd.body]).toEqual([400, { message: 'unsupported registryAuthFrom value' }]);
  });

  test('of the previous spec can be asked for within one registry, too', async () => {
    const { service, update } = await withCredentials();
    await update('r.example/app:2', { header: auth('two') });
    await update('r.example/app:3', { query: '&registryAuthFrom=previous-spec' });
    expect([service().registryAuth, service().previousRegistryAuth]).toEqual([auth('one'), auth('two')]);
    await update('r.example/app:4', { query: '&registryAuthFrom=spec' });
    expect(service().registryAuth).toBe(auth('one'));
  });

  test('stay behind when the image comes from another registry', async () => {
    const { service, update } = await withCredentials();
    await update('other.example/app:1');
    expect([service().registryAuth, service().previousRegistryAuth]).toEqual([undefined, auth('one')]);
    expect(service()).not.toHaveProperty('registryAuth');
  });

  test('that can not be read are refused, none are fine', async () => {
    const { send } = await withCredentials();
    const bad = await send('/services/create', { ...web(), Name: 'a' }, 'hunter2');
    expect([bad.status, bad.body]).toEqual([400, { message: 'invalid X-Registry-Auth header: no base64 of JSON' }]);
    expect((await send('/services/create', { ...web(), Name: 'b' }, 'e30=')).status).toBe(201);
  });
});

describe('POST /services/{id}/update', () => {
  test('needs the version that was read', async () => {
    const api = await TestApi.make();
    const id = await api.service(web());
    expect((await api.post(`/services/${id}/update?version=999`, web())).body).toEqual({
      message: 'update out of sequence',
    });
    expect((await api.post(`/services/${id}/update`, web())).status).toBe(400);
    expect((await api.post(`/services/${id}/update?version=NaN`, web())).body).toEqual({
      message: "invalid service version 'NaN'",
    });
  });

  test('posting back what was read does not make tasks stale; another image does', async () => {
    const api = await TestApi.make();
    const id = await api.service(web());
    const read = async () => (await api.get(`/services/${id}?insertDefaults=false`)).body as unknown as ServiceDocument;
    const first = await read();
    const second = await api.post(`/services/${id}/update?version=${first.Version.Index}`, first.Spec);
    expect([second.status, second.body]).toEqual([200, { Warnings: null }]);
    expect(api.node.store.view.get('service', id)?.specVersion).toBe(1);

    const third = await read();
    expect(third.Version.Index).toBeGreaterThan(first.Version.Index);
    const spec = {
      ...third.Spec,
      TaskTemplate: { ...third.Spec.TaskTemplate, ContainerSpec: { Image: 'nginx:1.27' } },
    };
    await api.post(`/services/${id}/update?version=${third.Version.Index}`, spec);
    const service = api.node.store.view.get('service', id);
    expect(service?.specVersion).toBe(2);
    expect(service?.previousSpec?.TaskTemplate.ContainerSpec.Image).toBe('nginx:latest');
  });

  test.each([
    [{ Name: 'other' }, 501, 'renaming services is not supported'],
    [{ Mode: { Global: {} } }, 501, 'service mode change is not allowed'],
  ])('refuses %j', async (change, status, message) => {
    const api = await TestApi.make();
    const id = await api.service(web());
    const { version } = api.node.store.view.get('service', id)?.meta ?? { version: 0 };
    const answer = await api.post(`/services/${id}/update?version=${version}`, web(change));
    expect([answer.status, answer.body]).toEqual([status, { message }]);
  });

  test('rollback=previous brings the previous spec back, whatever the body says; a second one takes it back', async () => {
    const api = await TestApi.make();
    const id = await api.service(web());
    const image = () => api.node.store.view.get('service', id)?.spec.TaskTemplate.ContainerSpec.Image;
    const version = () => api.node.store.view.get('service', id)?.meta.version ?? 0;
    const changed = web({ TaskTemplate: { ContainerSpec: { Image: 'nginx:2' } } });
    await api.post(`/services/${id}/update?version=${version()}`, changed);
    for (const expected of ['nginx:latest', 'nginx:2']) {
      const answer = await api.post(
        `/services/${id}/update?version=${version()}&rollback=previous`,
        web({ Name: 'x' }),
      );
      expect([answer.status, answer.body, image()]).toEqual([200, { Warnings: null }, expected]);
      expect((await api.get(`/services/${id}`)).body['UpdateStatus']).toMatchObject({
        State: 'rollback_started',
        Message: 'manually requested rollback',
        StartedAt: expect.any(String),
      });
    }
  });

  test('a rollback needs a previous spec, the version that was read and a known word', async () => {
    const api = await TestApi.make();
    const id = await api.service(web());
    const { version } = api.node.store.view.get('service', id)?.meta ?? { version: 0 };
    const none = await api.post(`/services/${id}/update?version=${version}&rollback=previous`, web());
    expect([none.status, none.body]).toEqual([400, { message: 'service web does not have a previous spec' }]);
    const stale = await api.post(`/services/${id}/update?version=1&rollback=previous`, web());
    expect(stale.body).toEqual({ message: 'update out of sequence' });
    const odd = await api.post(`/services/${id}/update?version=${version}&rollback=next`, web());
    expect([odd.status, odd.body]).toEqual([400, { message: 'unrecognized rollback option next' }]);
  });

  test('resets the update status before it answers: a client that looks next must not see the one before', async () => {
    const api = await TestApi.make();
    const id = await api.service(web());
    await api.node.store.transact((tx) => {
      const { meta: _, ...draft } = tx.get('service', id) ?? expect.fail();
      tx.update('service', { ...draft, updateStatus: { state: 'completed', message: 'update completed' } });
    });
    const { version } = api.node.store.view.get('service', id)?.meta ?? { version: 0 };
    await api.post(`/services/${id}/update?version=${version}`, web({ Labels: { a: 'b' } }));
    expect((await api.get(`/services/${id}`)).body).not.toHaveProperty('UpdateStatus');
  });

  test('warns that start-first and host-mode ports do not go well together', async () => {
    const api = await TestApi.make();
    const port = { TargetPort: 80, PublishedPort: 80, PublishMode: 'host' };
    const body = web({ UpdateConfig: { Parallelism: 1, Order: 'start-first' }, EndpointSpec: { Ports: [port] } });
    const { body: answer } = await api.post('/services/create', body);
    expect(answer['Warnings']).toEqual([
      'update order start-first with host-mode ports: a new task can only start on a node that has none yet',
    ]);
  });
});

describe('/tscluster/services/{id}', () => {
  async function withHistory(images: number) {
    const api = await TestApi.make();
    const id = await api.service(web({ Mode: { Replicated: { Replicas: 2 } } }));
    const service = () => api.node.store.view.get('service', id);
    const update = async (change: object) => {
      const answer = await api.post(`/services/${id}/update?version=${service()?.meta.version}`, web(change));
      expect(answer.status).toBe(200);
    };
    for (let at = 2; at <= images; at++)
      await update({
        TaskTemplate: { ContainerSpec: { Image: `nginx:${at}` } },
        Mode: { Replicated: { Replicas: 2 } },
      });
    const history = async () =>
      (await api.get('/tscluster/services/web/history')).body as unknown as {
        Revision: number;
        Spec: { TaskTemplate: { ContainerSpec: { Image: string } } };
      }[];
    return { api, id, service, update, history };
  }

  test('history lists the spec of now and the earlier ones, the newest first; scaling makes none', async () => {
    const { update, history } = await withHistory(3);
    await update({ TaskTemplate: { ContainerSpec: { Image: 'nginx:3' } }, Mode: { Replicated: { Replicas: 7 } } });
    expect((await history()).map(({ Revision, Spec }) => [Revision, Spec.TaskTemplate.ContainerSpec.Image])).toEqual([
      [3, 'nginx:3'],
      [2, 'nginx:2'],
      [1, 'nginx:latest'],
    ]);
  });

  test('ten earlier specs are kept, and go with the service', async () => {
    const { api, id, history } = await withHistory(15);
    expect((await history()).map(({ Revision }) => Revision)).toEqual([15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5]);
    await api.delete(`/services/${id}`);
    expect(api.node.store.view.count('revision')).toBe(0);
    const gone = await api.get('/tscluster/services/web/history');
    expect([gone.status, gone.body]).toEqual([404, { message: 'service web not found' }]);
  });

  test('rollback to a number brings that spec back, but not its number of replicas, as a new revision', async () => {
    const { api, id, service, update, history } = await withHistory(3);
    await update({ TaskTemplate: { ContainerSpec: { Image: 'nginx:3' } }, Mode: { Replicated: { Replicas: 7 } } });
    const answer = await api.post(`/tscluster/services/${id}/rollback?version=${service()?.meta.version}&to=1`, {});
    expect([answer.status, answer.body]).toEqual([200, { Warnings: null }]);
    expect(service()?.spec).toMatchObject({
      TaskTemplate: { ContainerSpec: { Image: 'nginx:latest' } },
      Mode: { Replicated: { Replicas: 7 } },
    });
    expect(service()?.updateStatus?.state).toBe('rollback_started');
    expect((await history()).map(({ Revision }) => Revision)).toEqual([4, 3, 2, 1]);
  });

  test.each([
    ['to=2', 400, 'service web is at revision 2'],
    ['to=9', 404, 'service web has no revision 9: kept are 1'],
    ['to=0', 400, "invalid revision '0'"],
    ['to=x', 400, "invalid revision 'x'"],
    ['', 400, "invalid revision ''"],
  ])('rollback with %j is refused', async (query, status, message) => {
    const { api, id, service } = await withHistory(2);
    const answer = await api.post(`/tscluster/services/${id}/rollback?version=${service()?.meta.version}&${query}`, {});
    expect([answer.status, answer.body]).toEqual([status, { message }]);
  });
});

interface ServiceDocument {
  readonly Version: { readonly Index: number };
  readonly Spec: { readonly TaskTemplate: object };
}

describe('GET /services', () => {
  async function three() {
    const api = await TestApi.make();
    for (const [Name, Labels] of [
      ['web', { tier: 'front' }],
      ['web-admin', { tier: 'back' }],
      ['db', {}],
    ] as const) {
      await api.service({ ...web(), Name, Labels });
    }
    return api;
  }

  test.each([
    [{}, ['web', 'web-admin', 'db']],
    [{ name: ['web'] }, ['web', 'web-admin']],
    [{ name: { web: true } }, ['web', 'web-admin']],
    [{ name: ['db', 'web-'] }, ['web-admin', 'db']],
    [{ label: ['tier'] }, ['web', 'web-admin']],
    [{ label: ['tier=back'] }, ['web-admin']],
    [{ label: ['tier'], name: ['db'] }, []],
    [{ mode: ['global'] }, []],
    [{ mode: ['replicated'], runtime: ['container'] }, ['web', 'web-admin', 'db']],
  ])('with filters %j lists %j', async (given, names) => {
    const api = await three();
    const { body } = await api.get(`/services?filters=${filters(given)}`);
    expect(body.map((service) => (service['Spec'] as { Name: string }).Name)).toEqual(names);
  });

  test.each([
    ['{"bogus":["x"]}', "invalid filter 'bogus'"],
    ['{', 'invalid filter: not valid JSON'],
    ['[]', 'invalid filter: not a JSON object'],
    ['{"name":"web"}', 'invalid filter: values must be a list or an object'],
  ])('refuses the filters %s', async (text, message) => {
    const api = await TestApi.make();
    const answer = await api.get(`/services?filters=${encodeURIComponent(text)}`);
    expect([answer.status, answer.body]).toEqual([400, { message }]);
  });

  test('status=true counts tasks that run and are meant to, on nodes that are not down', async () => {
    const api = await TestApi.make();
    const id = await api.service(web({ Mode: { Replicated: { Replicas: 3 } } }));
    await api.node.addNode('n2', { status: { state: 'down', message: '', addr: '', since: 0 } });
    await api.node.addTask('t1', id);
    await api.node.addTask('t2', id, { slot: 2, nodeId: 'n2' });
    await api.node.addTask('t3', id, { slot: 3, desired: TaskState.shutdown });
    const { body } = await api.get('/services?status=true');
    expect(body[0]?.['ServiceStatus']).toEqual({ RunningTasks: 1, DesiredTasks: 3, CompletedTasks: 0 });
    expect((await api.get('/services')).body[0]).not.toHaveProperty('ServiceStatus');
  });

  test('shows a change in the very next answer', async () => {
    const api = await TestApi.make();
    expect((await api.get('/services')).body).toEqual([]);
    const id = await api.service(web());
    expect((await api.get('/services')).body).toHaveLength(1);
    expect((await api.delete(`/services/${id}`)).status).toBe(200);
    expect((await api.get('/services')).body).toEqual([]);
  });
});

describe('GET /services/{id}', () => {
  test('finds by id, name and unique prefix of the id', async () => {
    const api = await TestApi.make();
    const id = await api.service(web());
    for (const reference of [id, 'web', id.slice(0, 6)]) {
      expect((await api.get(`/services/${reference}`)).body['ID']).toBe(id);
    }
    const missing = await api.get('/services/nope');
    expect([missing.status, missing.body]).toEqual([404, { message: 'service nope not found' }]);
  });

  test('insertDefaults=true writes Docker’s defaults out', async () => {
    const api = await TestApi.make();
    await api.service(web());
    const { body } = await api.get('/services/web?insertDefaults=true');
    expect(body['Spec']).toMatchObject({
      TaskTemplate: {
        ContainerSpec: { StopGracePeriod: 10_000_000_000, DNSConfig: {} },
        RestartPolicy: { Condition: 'any', Delay: 5_000_000_000, MaxAttempts: 0 },
      },
      UpdateConfig: { Parallelism: 1, Monitor: 5_000_000_000, Order: 'stop-first', FailureAction: 'pause' },
    });
  });
});

describe('ServiceStatus and JobStatus by mode', () => {
  const status = async (api: TestApi) => (await api.get('/services?status=true')).body[0]?.['ServiceStatus'];

  test('of a global service as many are desired as are wanted on nodes that are not down', async () => {
    const api = await TestApi.make();
    const id = await api.service(web({ Mode: { Global: {} } }));
    await api.node.addNode('n2', { status: { state: 'down', message: '', addr: '', since: 0 } });
    await api.node.addTask('t1', id, { slot: 0, pinned: true });
    await api.node.addTask('t2', id, { slot: 0, pinned: true, nodeId: 'n2' });
    await api.node.addTask('t3', id, { slot: 0, pinned: true, desired: TaskState.shutdown });
    await api.node.addTask('t4', id, {
      slot: 0,
      pinned: true,
      handover: 'start-first',
      replaces: 't1',
      status: { state: TaskState.starting, timestamp: 0, message: '', err: '' },
    });
    expect(await status(api)).toEqual({ RunningTasks: 1, DesiredTasks: 1, CompletedTasks: 0 });
    expect((await api.get('/services/web')).body).not.toHaveProperty('JobStatus');
    expect((await api.get('/tasks/t1')).body).not.toHaveProperty('Slot');
  });

  test('of a job only the current execution counts, and both sizes are told', async () => {
    const api = await TestApi.make();
    const id = await api.service(web({ Mode: { ReplicatedJob: { MaxConcurrent: 2 } } }));
    const done = { state: TaskState.complete, timestamp: 0, message: 'finished', err: '' } as const;
    const desired = TaskState.complete;
    await api.node.addTask('t1', id, { slot: 0, jobIteration: 0, desired, status: done });
    await api.node.addTask('t2', id, { slot: 1, jobIteration: 0, desired });
    await api.node.addTask('t3', id, { slot: 1, jobIteration: 7, desired });
    expect(await status(api)).toEqual({ RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 1 });
    const { body } = await api.get(`/services/${id}`);
    expect(body).toMatchObject({
      Spec: { Mode: { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 2 } } },
      JobStatus: { JobIteration: { Index: 0 }, LastExecution: expect.stringMatching(/Z$/) },
    });
    expect((await api.get('/tasks/t1')).body).toMatchObject({ JobIteration: { Index: 0 }, DesiredState: 'complete' });
    const upToDate = await api.get(`/tasks?filters=${filters({ '_up-to-date': ['true'] })}`);
    expect(upToDate.body.map((task) => task['ID'])).toEqual(['t1', 't2']);
  });

  test('of a global job those of the current execution are desired that are not complete: clients add the two up', async () => {
    const api = await TestApi.make();
    const id = await api.service(web({ Mode: { GlobalJob: {} } }));
    const pinned = { slot: 0, pinned: true, jobIteration: 0, desired: TaskState.complete } as const;
    await api.node.addTask('t1', id, pinned);
    await api.node.addTask('t2', id, {
      ...pinned,
      status: { state: TaskState.complete, timestamp: 0, message: '', err: '' },
    });
    expect(await status(api)).toEqual({ RunningTasks: 1, DesiredTasks: 1, CompletedTasks: 1 });
  });
});
