import { describe, expect, test } from 'vitest';
import { TestApi } from '../testing/fake-node.ts';

describe('configs', () => {
  test('come back with their data, in list and inspect', async () => {
    const api = await TestApi.make();
    const Data = Buffer.from('server {}').toString('base64');
    const created = await api.post('/configs/create', { Name: 'site', Labels: {}, Data });
    expect(created.status).toBe(201);
    expect((await api.get('/configs')).body[0]?.['Spec']).toEqual({ Name: 'site', Labels: {}, Data });
    expect((await api.get('/configs/site')).body['Spec']).toEqual({ Name: 'site', Labels: {}, Data });
    expect((await api.post('/configs/create', { Name: 'site', Data })).body).toEqual({
      message: 'name conflicts with an existing object: config site already exists',
    });
    expect((await api.delete('/configs/site')).status).toBe(204);
  });

  test('the largest one is accepted, one byte more is not', async () => {
    const api = await TestApi.make();
    const create = (bytes: number) =>
      api.post('/configs/create', { Name: `c${bytes}`, Data: Buffer.alloc(bytes, 'x').toString('base64') });
    expect((await create(1_023_999)).status).toBe(201);
    expect((await create(1_024_000)).body).toEqual({
      message: 'config data must be larger than 0 and less than 1024000 bytes',
    });
    expect((await create(2_000_000)).status).toBe(413);
  });
});
