import { describe, expect, test } from 'vitest';
import { filters, TestApi, web } from '../testing/fake-node.ts';

const data = Buffer.from('hunter2').toString('base64');

describe('secrets', () => {
  test('are created and listed, and their data never comes back', async () => {
    const api = await TestApi.make();
    const created = await api.post('/secrets/create', { Name: 'pw', Labels: { a: 'b' }, Data: data });
    expect(created.status).toBe(201);
    for (const url of ['/secrets', '/secrets/pw', `/secrets/${String(created.body['ID'])}`]) {
      const answer = await api.get(url);
      expect(answer.raw.toString()).not.toContain(data);
    }
    expect((await api.get('/secrets/pw')).body['Spec']).toEqual({ Name: 'pw', Labels: { a: 'b' } });
  });

  test.each([
    [{ name: ['p'] }, ['pw', 'pw2']],
    [{ names: ['pw'] }, ['pw']],
    [{ label: ['x'] }, []],
  ])('with filters %j lists %j', async (given, names) => {
    const api = await TestApi.make();
    for (const Name of ['pw', 'pw2', 'other']) await api.post('/secrets/create', { Name, Data: data });
    const { body } = await api.get(`/secrets?filters=${filters(given)}`);
    expect(body.map((secret) => (secret['Spec'] as { Name: string }).Name)).toEqual(names);
  });

  test('only labels change; absent data means unchanged', async () => {
    const api = await TestApi.make();
    const id = String((await api.post('/secrets/create', { Name: 'pw', Data: data })).body['ID']);
    const update = (spec: object) => {
      const version = api.node.store.view.get('secret', id)?.meta.version;
      return api.post(`/secrets/${id}/update?version=${version}`, spec);
    };
    expect((await update({ Name: 'pw', Labels: { a: '1' } })).status).toBe(200);
    expect((await update({ Name: 'pw', Labels: { a: '2' }, Data: data })).status).toBe(200);
    expect((await update({ Name: 'pw', Data: Buffer.from('x').toString('base64') })).body).toEqual({
      message: 'only updates to Labels are allowed',
    });
    expect(api.node.store.view.get('secret', id)?.spec).toEqual({ Name: 'pw', Labels: { a: '2' }, Data: data });
  });

  test('in use are not removed', async () => {
    const api = await TestApi.make();
    const id = String((await api.post('/secrets/create', { Name: 'pw', Data: data })).body['ID']);
    const File = { Name: 'pw', UID: '0', GID: '0', Mode: 292 };
    const Secrets = [{ File, SecretID: id, SecretName: 'pw' }];
    const service = await api.service(web({ TaskTemplate: { ContainerSpec: { Image: 'nginx', Secrets } } }));
    const refused = await api.delete('/secrets/pw');
    expect([refused.status, refused.body]).toEqual([
      400,
      { message: "secret 'pw' is in use by the following service: web" },
    ]);
    await api.delete(`/services/${service}`);
    expect((await api.delete('/secrets/pw')).status).toBe(204);
    expect((await api.delete('/secrets/pw')).body).toEqual({ message: 'secret pw not found' });
  });

  test.each([
    [{ Name: 'pw', Data: '' }, 400, 'secret data must be larger than 0 and less than 512000 bytes'],
    [{ Name: 'pw', Data: '***' }, 400, 'invalid JSON: illegal base64 data in field Data'],
    [
      { Name: '-pw', Data: data },
      400,
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
    ],
    [{ Name: 'pw', Data: data, Templating: { Name: 'golang' } }, 501, 'templates in secrets are not supported yet'],
  ])('refuses %j', async (spec, status, message) => {
    const api = await TestApi.make();
    const answer = await api.post('/secrets/create', spec);
    expect([answer.status, answer.body]).toEqual([status, { message }]);
  });

  test('D14 D15: secret drivers are refused by name', async () => {
    const api = await TestApi.make();
    const answer = await api.post('/secrets/create', { Name: 'pw', Data: data, Driver: { Name: 'vault' } });
    expect([answer.status, answer.body]).toEqual([501, { message: 'secret drivers are not supported yet' }]);
  });
});
