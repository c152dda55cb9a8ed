import { describe, expect, test } from 'vitest';
import { filters, TestApi, web } from '../testing/fake-node.ts';

const stack = { 'com.docker.stack.namespace': 'hello' };
const overlay = {
  Name: 'hello_default',
  Driver: 'overlay',
  Labels: stack,
  Scope: '',
  IPAM: null,
  ConfigFrom: null,
  Options: {},
};

describe('networks', () => {
  test('a stack’s default network is accepted with a warning, and services find it by name', async () => {
    const api = await TestApi.make();
    const created = await api.post('/networks/create', overlay);
    expect(created.status).toBe(201);
    expect(created.body['Warning']).toContain('overlay networks are not built yet');
    const Networks = [{ Target: 'hello_default', Aliases: ['web'] }];
    const service = await api.post(
      '/services/create',
      web({ TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks } }),
    );
    expect(service.body['Warnings']).toEqual([expect.stringContaining('service names do not resolve')]);
    const stored = api.node.store.view.serviceByName('web');
    expect(stored?.spec.TaskTemplate.Networks).toEqual([{ Target: created.body['Id'], Aliases: ['web'] }]);

    const redeployed = await api.post(
      `/services/web/update?version=${stored?.meta.version}`,
      web({ TaskTemplate: { ContainerSpec: { Image: 'nginx' } }, Networks }),
    );
    expect(redeployed.status).toBe(200);
    expect(api.node.store.view.serviceByName('web')?.specVersion).toBe(1);
  });

  test('are removed only when no service uses them', async () => {
    const api = await TestApi.make();
    const { body } = await api.post('/networks/create', overlay);
    const Networks = [{ Target: 'hello_default' }];
    const id = await api.service(web({ TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks } }));
    await api.node.addTask('t1', id);
    const refused = await api.delete('/networks/hello_default');
    expect([refused.status, refused.body]).toEqual([
      400,
      { message: `network ${String(body['Id'])} is in use by service ${id}` },
    ]);
    await api.delete(`/services/${id}`);
    expect((await api.delete('/networks/hello_default')).status).toBe(204);
    expect((await api.get('/networks/hello_default')).body).toEqual({ message: 'network hello_default not found' });
  });

  test.each([
    [{ ...overlay, Labels: {} }, 501, 'overlay networks are not supported yet'],
    [{ ...overlay, Driver: 'macvlan' }, 501, 'network driver "macvlan" is not supported yet'],
    [{ ...overlay, Attachable: true }, 501, 'attachable networks are not supported yet'],
    [{ ...overlay, Internal: true }, 501, 'internal networks are not supported yet'],
    [{ ...overlay, Options: { encrypted: '' } }, 501, 'network option "encrypted" is not supported yet'],
    [
      { ...overlay, IPAM: { Config: [{ Subnet: '10.1.0.0/24' }] } },
      501,
      'subnets and other IPAM settings of networks are not supported yet',
    ],
    [{ ...overlay, Name: 'host' }, 403, 'operation is not permitted on predefined host network'],
    [{ ...overlay, Name: 'a.b' }, 400, 'name must be valid as a DNS name component'],
  ])('refuses %j', async (spec, status, message) => {
    const api = await TestApi.make();
    const answer = await api.post('/networks/create', spec);
    expect([answer.status, answer.body]).toEqual([status, { message }]);
  });

  test('the predefined ones are listed, swarm-scoped on request, and refused to services', async () => {
    const api = await TestApi.make();
    const names = async (given: object) =>
      (await api.get(`/networks?filters=${filters(given)}`)).body.map((network) => network['Name']);
    expect(await names({})).toEqual(['bridge', 'host', 'none']);
    expect(await names({ type: ['custom'] })).toEqual([]);
    expect((await api.get('/networks/host?scope=swarm')).body).toMatchObject({
      Scope: 'swarm',
      Labels: { 'com.docker.swarm.predefined': 'true' },
    });
    const Networks = [{ Target: String((await api.get('/networks/host?scope=swarm')).body['Id']) }];
    const answer = await api.post(
      '/services/create',
      web({ TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks } }),
    );
    expect([answer.status, answer.body['message']]).toEqual([
      501,
      'services on the network "host" are not supported yet',
    ]);
    expect((await api.delete('/networks/host')).status).toBe(403);
  });

  test('prune removes what no service uses', async () => {
    const api = await TestApi.make();
    await api.post('/networks/create', overlay);
    await api.post('/networks/create', {
      ...overlay,
      Name: 'used_default',
      Labels: { 'com.docker.stack.namespace': 'used' },
    });
    await api.service(
      web({ TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks: [{ Target: 'used_default' }] } }),
    );
    expect((await api.post('/networks/prune')).body).toEqual({ NetworksDeleted: ['hello_default'] });
  });
});
