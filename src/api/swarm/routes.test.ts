import { describe, expect, test } from 'vitest';
import { TestApi } from '../testing/fake-node.ts';

describe('GET /swarm', () => {
  test('shows settings and join tokens', async () => {
    const api = await TestApi.make();
    const { body } = await api.get('/swarm');
    expect(body).toMatchObject({
      ID: 'cluster',
      Spec: { Name: 'default', Orchestration: { TaskHistoryRetentionLimit: 5 } },
      JoinTokens: { Worker: 'worker-0', Manager: 'manager-0' },
      RootRotationInProgress: false,
      DefaultAddrPool: ['10.0.0.0/8'],
      SubnetSize: 24,
      DataPathPort: 4789,
      TsCluster: { GatewayPools: ['172.28.0.0/14'], IngressPool: '10.255.0.0/16' },
    });
    expect((await api.get('/swarm/unlockkey')).body).toEqual({ UnlockKey: '' });
  });
});

describe('POST /swarm/update', () => {
  const post = async (api: TestApi, query: string, change: object = {}) => {
    const { Spec, Version } = (await api.get('/swarm')).body as unknown as { Spec: object; Version: { Index: number } };
    return api.post(`/swarm/update?version=${Version.Index}${query}`, { ...Spec, ...change });
  };

  test('rotates one token and leaves the other', async () => {
    const api = await TestApi.make();
    expect((await post(api, '&rotateWorkerToken=true&rotateManagerToken=false')).status).toBe(200);
    expect((await api.get('/swarm')).body['JoinTokens']).toEqual({ Worker: 'token-1', Manager: 'manager-0' });
  });

  test('how long nodes may be silent is a label, checked against the heartbeat', async () => {
    const api = await TestApi.make();
    const ask = async (grace: string, period = 1e9) => {
      const wish = { Labels: { 'tscluster.node-grace': grace }, Dispatcher: { HeartbeatPeriod: period } };
      const { status, body } = await post(api, '', wish);
      return [status, body['message']];
    };
    expect(await ask('20s')).toEqual([200, undefined]);
    expect(await ask('soon')).toEqual([400, 'label tscluster.node-grace: invalid duration "soon"']);
    expect(await ask('11m')).toEqual([400, 'label tscluster.node-grace: at most 10m, not "11m"']);
    expect(await ask('3s', 2e9)).toEqual([400, 'label tscluster.node-grace: "3s" is less than two heartbeat periods']);
  });

  test('stores settings that are used, refuses others by name', async () => {
    const api = await TestApi.make();
    expect((await post(api, '', { Orchestration: { TaskHistoryRetentionLimit: 1 } })).status).toBe(200);
    expect(api.node.store.view.cluster()?.spec.Orchestration.TaskHistoryRetentionLimit).toBe(1);
    const refused = await post(api, '', { Raft: { ElectionTick: 3 } });
    expect([refused.status, refused.body['message']]).toEqual([501, 'changing Raft.ElectionTick is not supported yet']);
    expect((await post(api, '', { CAConfig: { NodeCertExpiry: 1 } })).status).toBe(400);
    expect((await api.post('/swarm/update?version=0', {})).body).toEqual({ message: 'update out of sequence' });
  });

  const expiry = { NodeCertExpiry: 7776e12 };
  test.each<[string, string, object, string]>([
    ['C11 F19 F24: autolock', '', { EncryptionConfig: { AutoLockManagers: true } }, 'autolock is'],
    ['C11 F19 F24: another unlock key', '&rotateManagerUnlockKey=1', {}, 'autolock is'],
    [
      'C12 C13 C14 C15 C16 C19: rotation of the root',
      '',
      { CAConfig: { ...expiry, ForceRotate: 1 } },
      'rotation of the root CA is',
    ],
    [
      'C17: a root without its key',
      '',
      { CAConfig: { ...expiry, SigningCACert: '-----BEGIN CERTIFICATE-----' } },
      'a root CA of your own is',
    ],
    [
      'C18: an external CA',
      '',
      { CAConfig: { ...expiry, ExternalCAs: [{ Protocol: 'cfssl', URL: 'https://ca.example' }] } },
      'external CAs are',
    ],
    ['U3: a default log driver', '', { TaskDefaults: { LogDriver: { Name: 'json-file' } } }, 'a default log driver is'],
  ])('%s is refused by name, and nothing changes', async (_, query, change, thing) => {
    const api = await TestApi.make();
    const before = api.node.store.view.cluster();
    const { status, body } = await post(api, query, change);
    expect([status, body['message']]).toEqual([501, `${thing} not supported yet`]);
    expect(api.node.store.view.cluster()).toEqual(before);
  });
});

describe('init, join, leave', () => {
  const init = {
    ListenAddr: '0.0.0.0:2377',
    AdvertiseAddr: 'eth0',
    SubnetSize: 24,
    DefaultAddrPool: null,
    Spec: { Raft: { ElectionTick: 0 } },
  };

  test('init answers with the bare node id; zero ticks mean the default', async () => {
    const api = await TestApi.make();
    api.node.state = 'inactive';
    const answer = await api.post('/swarm/init', init);
    expect([answer.status, answer.body]).toEqual([200, 'n1aaaaaaaaaaaaaaaaaaaaaaa']);
    expect(api.node.inits).toEqual([
      {
        listenAddr: '0.0.0.0:2377',
        advertiseAddr: 'eth0',
        availability: 'active',
        forceNewCluster: false,
        spec: {},
        network: { subnetSize: 24 },
      },
    ]);
  });

  test('init hands on the address plan that is asked for', async () => {
    const api = await TestApi.make();
    api.node.state = 'inactive';
    const wish = {
      DefaultAddrPool: ['10.20.0.0/16'],
      SubnetSize: 26,
      DataPathPort: 7777,
      TsCluster: { GatewayPools: ['172.20.0.0/16'], IngressPool: '10.30.0.0/16' },
    };
    expect((await api.post('/swarm/init', { ...init, ...wish })).status).toBe(200);
    expect(api.node.inits[0]?.network).toEqual({
      addressPools: ['10.20.0.0/16'],
      subnetSize: 26,
      dataPathPort: 7777,
      gatewayPools: ['172.20.0.0/16'],
      ingressPool: '10.30.0.0/16',
    });
  });

  test('a member of a swarm does neither; one that is in none cannot leave', async () => {
    const api = await TestApi.make();
    const text =
      'This node is already part of a swarm. Use "tscluster leave" to leave this swarm and join another one.';
    expect(await api.post('/swarm/init', init)).toMatchObject({ status: 503, body: { message: text } });
    const join = { RemoteAddrs: ['10.0.0.1:2377'], JoinToken: 'SWMTKN-1-x-y' };
    expect(await api.post('/swarm/join', join)).toMatchObject({ status: 503, body: { message: text } });
    api.node.state = 'inactive';
    expect((await api.post('/swarm/join', join)).status).toBe(200);
    expect(api.node.joins[0]).toMatchObject({ remoteAddrs: ['10.0.0.1:2377'], joinToken: 'SWMTKN-1-x-y' });
    expect((await api.post('/swarm/leave')).body).toEqual({ message: 'This node is not part of a swarm' });
  });

  test('a manager leaves only with force', async () => {
    const api = await TestApi.make();
    const refused = await api.post('/swarm/leave');
    expect([refused.status, refused.body['message']]).toEqual([
      503,
      expect.stringContaining('Removing the last manager'),
    ]);
    expect((await api.post('/swarm/leave?force=1')).status).toBe(200);
    expect(api.node.leaves).toEqual([true]);
  });

  test.each([
    [501, { AutoLockManagers: true }, 'autolock is not supported yet'],
    [
      501,
      { DataPathAddr: 'eth1' },
      'a data path address of its own is not supported yet: traffic between containers uses the advertised address',
    ],
    [400, { DataPathPort: 53 }, 'VXLAN UDP port number is not in valid range (1024-49151): 53'],
    [400, { DefaultAddrPool: ['10.0.0.0/25'] }, 'invalid CIDR: "10.0.0.0/25". Subnet size is too small: 24'],
    [400, { SubnetSize: 33 }, 'subnet size is out of range: 33'],
  ])('init answers %i to %j', async (status, change, message) => {
    const api = await TestApi.make();
    api.node.state = 'inactive';
    const answer = await api.post('/swarm/init', { ...init, ...change });
    expect([answer.status, answer.body]).toEqual([status, { message }]);
  });
});
