import { describe, expect, test } from 'vitest';
import { TaskState } from '../../model/task-state.ts';
import { selfId, TestApi, web } from '../testing/fake-node.ts';

const vxlanIds = 'com.docker.network.driver.overlay.vxlanid_list';
const asked = {
  Name: 'front',
  Labels: { a: 'b' },
  Driver: 'overlay',
  Internal: true,
  Attachable: true,
  Options: { 'com.docker.network.driver.mtu': '1400' },
  IPAM: { Config: [{ Subnet: '10.0.1.0/24', IPRange: '10.0.1.128/25', AuxiliaryAddresses: { nas: '10.0.1.200' } }] },
};
const subnet = { subnet: '10.0.1.0/24', gateway: '10.0.1.1', range: '10.0.1.128/25', reserved: ['10.0.1.200'] };

/** A service on the network `front`, with a virtual address, a published port, and a task on this node. */
async function attached() {
  const api = await TestApi.make();
  await api.node.addNetwork('front', { spec: asked, allocation: { vni: 4097, subnets: [subnet] } });
  const id = await api.service(web());
  await api.node.store.transact((tx) => {
    const service = tx.get('service', id);
    if (service === undefined) throw new Error('no service');
    const { TaskTemplate } = service.spec;
    tx.update('service', {
      ...service,
      spec: { ...service.spec, TaskTemplate: { ...TaskTemplate, Networks: [{ Target: 'front' }] } },
      endpoint: {
        specVersion: 1,
        vips: [{ networkId: 'front', addresses: ['10.0.1.2/24', 'fd00::2/64'] }],
        ports: [{ TargetPort: 80, PublishedPort: 30_000, Source: 'local' }],
      },
    });
  });
  const status = {
    state: TaskState.running,
    timestamp: 0,
    message: 'started',
    err: '',
    container: { containerId: 'c1', pid: 7, exitCode: 0 },
  };
  await api.node.addTask('t1', id, { status, attachments: [{ networkId: 'front', addresses: ['10.0.1.130/24'] }] });
  return { api, id };
}

describe('networks', () => {
  test('show what was asked for, completed with what was given', async () => {
    const { api } = await attached();
    expect((await api.get('/networks/front')).body).toEqual({
      Name: 'front',
      Id: 'front',
      Created: expect.any(String),
      Scope: 'swarm',
      Driver: 'overlay',
      EnableIPv4: true,
      EnableIPv6: false,
      IPAM: {
        Driver: 'default',
        Options: null,
        Config: [
          {
            Subnet: '10.0.1.0/24',
            IPRange: '10.0.1.128/25',
            Gateway: '10.0.1.1',
            AuxiliaryAddresses: { nas: '10.0.1.200' },
          },
        ],
      },
      Internal: true,
      Attachable: true,
      Ingress: false,
      ConfigFrom: { Network: '' },
      ConfigOnly: false,
      Containers: {
        c1: {
          Name: 'web.1.t1',
          EndpointID: 't1',
          MacAddress: '02:42:0a:00:01:82',
          IPv4Address: '10.0.1.130/24',
          IPv6Address: '',
        },
      },
      Options: { [vxlanIds]: '4097', 'com.docker.network.driver.mtu': '1400' },
      Labels: { a: 'b' },
    });
  });

  test('before anything was given, show what was asked for, and why it is not given', async () => {
    const api = await TestApi.make();
    await api.node.store.transact((tx) =>
      tx.create('network', { id: 'n', spec: asked, allocationError: 'address pools are exhausted' }),
    );
    expect((await api.get('/networks/n')).body).toMatchObject({
      IPAM: { Config: asked.IPAM.Config },
      Options: asked.Options,
      Containers: null,
      TsCluster: { AllocationError: 'address pools are exhausted' },
    });
  });

  test('on request, show who is on them', async () => {
    const { api } = await attached();
    const { body } = await api.get('/networks/front?verbose=true');
    expect(body).toMatchObject({ Peers: [{ Name: 'host-n1', IP: '10.0.0.9' }] });
    expect(body['Services']).toEqual({
      web: {
        VIP: '10.0.1.2',
        Ports: ['Target: 80, Publish: 30000'],
        LocalLBIndex: 0,
        Tasks: [{ Name: 'web.1.t1', EndpointID: 't1', EndpointIP: '10.0.1.130', Info: { 'Host IP': '10.0.0.9' } }],
      },
    });
    expect((await api.get('/networks/front')).body).not.toHaveProperty('Services');
  });
});

test('a service shows its virtual addresses and the ports that were chosen', async () => {
  const { api, id } = await attached();
  expect((await api.get(`/services/${id}`)).body['Endpoint']).toEqual({
    Spec: { Mode: 'vip' },
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 30_000, PublishMode: 'ingress', Source: 'local' }],
    VirtualIPs: [
      { NetworkID: 'front', Addr: '10.0.1.2/24' },
      { NetworkID: 'front', Addr: 'fd00::2/64' },
    ],
  });
});

test('a port without a number is not shown before one was chosen', async () => {
  const api = await TestApi.make();
  const Ports = [{ TargetPort: 80 }, { TargetPort: 81, PublishedPort: 8081, PublishMode: 'host' }];
  const id = await api.service(web({ EndpointSpec: { Ports } }));
  expect((await api.get(`/services/${id}`)).body['Endpoint']).toMatchObject({
    Spec: { Ports },
    Ports: [{ TargetPort: 81, PublishedPort: 8081 }],
  });
});

test('a task shows its networks as they are now, with its addresses', async () => {
  const { api } = await attached();
  const attachments = async () => {
    const [listed] = (await api.get('/tasks')).body;
    const single = (await api.get('/tasks/t1')).body;
    expect(listed).toEqual(single);
    return single['NetworksAttachments'];
  };
  expect(await attachments()).toMatchObject([
    {
      Network: {
        ID: 'front',
        Version: { Index: expect.any(Number) },
        Spec: {
          Name: 'front',
          Labels: { a: 'b' },
          DriverConfiguration: { Name: 'overlay' },
          Internal: true,
          Attachable: true,
          IPAMOptions: { Driver: { Name: 'default' }, Configs: [{ Subnet: '10.0.1.0/24', Range: '10.0.1.128/25' }] },
          Scope: 'swarm',
        },
        DriverState: { Name: 'overlay', Options: { [vxlanIds]: '4097' } },
        IPAMOptions: { Driver: { Name: 'default' }, Configs: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }] },
      },
      Addresses: ['10.0.1.130/24'],
    },
  ]);
  await api.node.store.transact((tx) => tx.remove('network', 'front'));
  expect(await attachments()).toEqual([{ Network: { ID: 'front' }, Addresses: ['10.0.1.130/24'] }]);
});

test('a node shows its own addresses and what it could not do; explain tells those whom it concerns', async () => {
  const { api } = await attached();
  const message = 'published port 8080/tcp is taken by another program: stop it, or publish another port';
  await api.node.addNode('n2', {
    network: { gatewaySubnet: '172.28.3.0/24', ingressAddress: '10.255.0.3' },
    networkProblems: [
      { message: 'nft: not found' },
      { networkId: 'front', message },
      { serviceId: 'other', message: 'not this one' },
    ],
  });
  expect((await api.get('/nodes/n2')).body['TsCluster']).toEqual({
    GatewaySubnet: '172.28.3.0/24',
    IngressAddress: '10.255.0.3',
    NetworkProblems: [
      { Message: 'nft: not found' },
      { NetworkID: 'front', Message: message },
      { ServiceID: 'other', Message: 'not this one' },
    ],
  });
  expect((await api.get(`/nodes/${selfId}`)).body).not.toHaveProperty('TsCluster');
  expect((await api.get('/tscluster/services/web/explain')).body['Findings']).toEqual([
    'node host-n2: nft: not found',
    `node host-n2: ${message}`,
  ]);
});

test('a task that waits for an address says so, and no node is asked why', async () => {
  const { api, id } = await attached();
  const status = { state: TaskState.new, timestamp: 0, message: 'created', err: 'address pools are exhausted' };
  await api.node.addTask('t2', id, { slot: 2, nodeId: '', status });
  const { body } = await api.get('/tscluster/tasks/t2/explain');
  expect(body['WaitsFor']).toBe('its addresses: address pools are exhausted');
  expect(body).not.toHaveProperty('Nodes');
});

test('what is kept of a task only for its addresses is not listed', async () => {
  const { api, id } = await attached();
  const status = { state: TaskState.shutdown, timestamp: 0, message: 'shutdown', err: '' };
  await api.node.addTask('t2', id, { slot: 2, desired: TaskState.remove, status });
  await api.node.addTask('t3', id, { slot: 2, desired: TaskState.shutdown, status });
  expect((await api.get('/tasks')).body.map((task) => task['ID'])).toEqual(['t1', 't3']);
});
