import { describe, expect, test } from 'vitest';
import { filters, TestApi, web } from '../testing/fake-node.ts';

const stack = { 'com.docker.stack.namespace': 'hello' };
/** As `docker stack deploy` posts it. */
const overlay = {
  Name: 'hello_default',
  Driver: 'overlay',
  Labels: stack,
  Scope: '',
  IPAM: null,
  ConfigFrom: null,
  Options: {},
};

const on = (Networks: object[], more: object = {}) =>
  web({ TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks }, ...more });

describe('networks', () => {
  test('a stack’s default network is made, and services find it by name', async () => {
    const api = await TestApi.make();
    const created = await api.post('/networks/create', overlay);
    expect([created.status, created.body]).toEqual([201, { Id: expect.any(String), Warning: '' }]);
    const Networks = [{ Target: 'hello_default', Aliases: ['web'] }];
    const service = await api.post('/services/create', on(Networks));
    expect([service.status, service.body['Warnings']]).toEqual([201, null]);
    const stored = api.node.store.view.serviceByName('web');
    expect(stored?.spec.TaskTemplate.Networks).toEqual([{ Target: created.body['Id'], Aliases: ['web'] }]);

    const redeployed = await api.post(
      `/services/web/update?version=${stored?.meta.version}`,
      web({ TaskTemplate: { ContainerSpec: { Image: 'nginx' } }, Networks }),
    );
    expect(redeployed.status).toBe(200);
    expect(api.node.store.view.serviceByName('web')?.specVersion).toBe(1);
  });

  test('what docker network create sends is kept and shown', async () => {
    const api = await TestApi.make();
    const asked = {
      ...overlay,
      Name: 'front',
      EnableIPv6: true,
      Internal: true,
      Attachable: true,
      Ingress: false,
      ConfigOnly: false,
      Options: { 'com.docker.network.driver.mtu': '1400' },
      IPAM: {
        Driver: 'default',
        Options: {},
        Config: [
          {
            Subnet: '10.9.0.0/24',
            IPRange: '10.9.0.128/25',
            Gateway: '10.9.0.1',
            AuxiliaryAddresses: { a: '10.9.0.200' },
          },
          { Subnet: 'fd00:9::/64' },
        ],
      },
    };
    expect((await api.post('/networks/create', asked)).status).toBe(201);
    expect((await api.get('/networks/front')).body).toMatchObject({
      Driver: 'overlay',
      Scope: 'swarm',
      EnableIPv6: true,
      Internal: true,
      Attachable: true,
      Options: asked.Options,
      IPAM: { Driver: 'default', Config: asked.IPAM.Config },
    });
  });

  test('are removed only when no service uses them', async () => {
    const api = await TestApi.make();
    const { body } = await api.post('/networks/create', overlay);
    const id = await api.service(on([{ Target: 'hello_default' }]));
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
    [{ ...overlay, Driver: 'bridge' }, 400, 'network driver "bridge" is for networks of one host'],
    [{ ...overlay, Driver: 'weave' }, 501, 'network driver "weave" is not supported yet'],
    [{ ...overlay, Ingress: true }, 501, 'ingress networks are not supported yet'],
    [{ ...overlay, Options: { encrypted: '' } }, 501, 'encrypted overlay networks are not supported yet'],
    [{ ...overlay, IPAM: { Config: [{ Subnet: '10.1.0/24' }] } }, 400, 'invalid subnet 10.1.0/24'],
    [{ ...overlay, Name: 'host' }, 403, 'operation is not permitted on predefined host network'],
    [{ ...overlay, Name: 'ingress' }, 403, 'operation is not permitted on predefined ingress network'],
    [{ ...overlay, Name: 'a.b' }, 400, 'name must be valid as a DNS name component'],
  ])('refuses %j', async (spec, status, message) => {
    const api = await TestApi.make();
    const answer = await api.post('/networks/create', spec);
    expect([answer.status, answer.body['message']]).toEqual([status, expect.stringContaining(message)]);
  });

  test('the predefined ones are listed; swarm-scoped on request, so that services can be on them', async () => {
    const api = await TestApi.make();
    const names = async (given: object) =>
      (await api.get(`/networks?filters=${filters(given)}`)).body.map((network) => network['Name']);
    expect(await names({})).toEqual(['bridge', 'host', 'none']);
    expect(await names({ type: ['custom'] })).toEqual([]);
    expect((await api.get('/networks/host')).body).toMatchObject({ Scope: 'local', Labels: {} });
    const swarm = (await api.get('/networks/host?scope=swarm')).body;
    expect(swarm).toMatchObject({ Scope: 'swarm', Labels: { 'com.docker.swarm.predefined': 'true' } });
    await api.service(on([{ Target: String(swarm['Id']) }]));
    expect(api.node.store.view.serviceByName('web')?.spec.TaskTemplate.Networks).toEqual([{ Target: 'host' }]);
    expect((await api.delete('/networks/host')).status).toBe(403);
  });

  test('a worker has the local ones, and makes none', async () => {
    const api = await TestApi.make();
    api.node.isManager = false;
    expect((await api.get('/networks')).body).toHaveLength(3);
    const refused = await api.post('/networks/create', overlay);
    expect([refused.status, refused.body['message']]).toEqual([
      403,
      'Cannot create a multi-host network from a worker node. Please create the network from a manager node.',
    ]);
  });

  test('there is no network of the routing mesh: published ports need none', async () => {
    const api = await TestApi.make();
    expect((await api.get('/networks/ingress')).status).toBe(404);
    const refused = await api.post('/services/create', on([{ Target: 'ingress' }]));
    expect(refused.status).toBe(400);
  });

  test.each([
    [{ driver: ['overlay'] }, ['a', 'b']],
    [{ name: ['a'] }, ['a']],
    [{ scope: ['swarm'] }, ['a', 'b']],
    [{ label: ['l=1'] }, ['b']],
    [{ dangling: ['true'] }, ['b']],
    [{ dangling: ['false'] }, ['a']],
    [{ type: ['builtin'], name: ['o'] }, ['host', 'none']],
  ])('with filters %j lists %j', async (given, names) => {
    const api = await TestApi.make();
    await api.post('/networks/create', { ...overlay, Name: 'a' });
    await api.post('/networks/create', { ...overlay, Name: 'b', Labels: { l: '1' } });
    await api.service(on([{ Target: 'a' }]));
    const { body } = await api.get(`/networks?filters=${filters(given)}`);
    expect(body.map((network) => network['Name'])).toEqual(names);
  });

  test('prune removes what no service uses', async () => {
    const api = await TestApi.make();
    await api.post('/networks/create', overlay);
    await api.post('/networks/create', { ...overlay, Name: 'kept', Labels: { keep: '' } });
    await api.post('/networks/create', { ...overlay, Name: 'used_default' });
    await api.service(on([{ Target: 'used_default' }]));
    const query = `filters=${filters({ 'label!': ['keep'] })}`;
    expect((await api.post(`/networks/prune?${query}`)).body).toEqual({ NetworksDeleted: ['hello_default'] });
    expect((await api.post('/networks/prune')).body).toEqual({ NetworksDeleted: ['kept'] });
  });

  test('prune with until removes what was made before: an age, a date or seconds', async () => {
    const api = await TestApi.make();
    const { clock } = api.node;
    const make = (Name: string) => api.post('/networks/create', { ...overlay, Name });
    const prune = async (...until: string[]) => (await api.post(`/networks/prune?filters=${filters({ until })}`)).body;
    for (const name of ['a', 'b', 'c', 'd']) {
      await make(name);
      await clock.advance(3_600_000);
    }
    expect(await prune('5h')).toEqual({ NetworksDeleted: [] });
    expect(await prune('3h30m')).toEqual({ NetworksDeleted: ['a'] });
    expect(await prune(String((clock.now() - 2.5 * 3_600_000) / 1000))).toEqual({ NetworksDeleted: ['b'] });
    expect(await prune(new Date(clock.now() - 1.5 * 3_600_000).toISOString())).toEqual({ NetworksDeleted: ['c'] });
    expect(await prune('1h', '2h')).toEqual({ message: 'more than one until filter specified' });
    expect(await prune('soon')).toEqual({ message: 'invalid value for "until": "soon"' });
  });
});
