import { describe, expect, test } from 'vitest';
import { silentLog } from '../../lib/log.ts';
import { seededRandom } from '../../lib/random.ts';
import { defaultClusterSpec } from '../../model/defaults.ts';
import type { Network } from '../../model/objects.ts';
import type { EndpointSpec, IpamConfig, Labels, NetworkSpec, PortConfig, ServiceSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import { MemoryStore } from '../store/store.ts';
import { createControlApi } from './index.ts';

const now = Date.UTC(2026, 0, 1);

function world() {
  const store = new MemoryStore({ proposer: null, now: () => now });
  const control = createControlApi({ store, random: seededRandom(1), log: silentLog, makeJoinToken: () => '' });
  const network = (more: Partial<NetworkSpec>) =>
    control.call('network.create', { spec: { Name: 'net', Labels: {}, Driver: 'overlay', ...more } });
  const service = (more: Partial<ServiceSpec>) =>
    control.call('service.create', {
      spec: { Name: '', Labels: {}, TaskTemplate: { ContainerSpec: { Image: 'nginx' } }, Mode: {}, ...more },
    });
  return { store, view: store.view, control, network, service };
}

async function refusal(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'accepted',
    (error: unknown) =>
      error instanceof Error && 'kind' in error ? `${String(error.kind)}: ${error.message}` : String(error),
  );
}

const ipam = (...Config: IpamConfig[]): Partial<NetworkSpec> => ({ IPAM: { Config } });
const options = (Options: Labels): Partial<NetworkSpec> => ({ Options });
const macvlan = (more: Partial<NetworkSpec> = {}): Partial<NetworkSpec> => ({
  Driver: 'macvlan',
  Options: { parent: 'eth0.10' },
  ...ipam({ Subnet: '192.168.1.0/24' }),
  ...more,
});
const subnet = '10.1.0.0/24';

describe('a network is refused', () => {
  test.each<[string, Partial<NetworkSpec>]>([
    ['permission_denied: operation is not permitted on predefined bridge network', { Name: 'bridge' }],
    ['invalid: name must be valid as a DNS name component', { Name: 'a b' }],
    [
      'invalid: network driver "bridge" is for networks of one host: networks of a cluster have driver overlay, macvlan or ipvlan',
      { Driver: 'bridge' },
    ],
    [
      'unimplemented: network driver "weave" is not supported yet (known: overlay, macvlan, ipvlan)',
      { Driver: 'weave' },
    ],
    ['unimplemented: ingress networks are not supported yet: published ports need no network here', { Ingress: true }],
    [
      'unimplemented: networks of configurations (config-only, config-from) are not supported yet: give the network its settings itself',
      { ConfigFrom: { Network: 'x' } },
    ],
    ['unimplemented: networks without IPv4 are not supported yet', { EnableIPv4: false }],
    [
      'unimplemented: networks of scope "local" are not supported yet: those of a cluster have scope swarm',
      { Scope: 'local' },
    ],
    [
      'unimplemented: encrypted overlay networks are not supported yet: connect the hosts by an encrypted network (e.g. WireGuard) instead',
      options({ encrypted: '' }),
    ],
    ['unimplemented: network option "fast" of driver overlay is not supported yet', options({ fast: 'yes' })],
    ['unimplemented: network option "toString" of driver overlay is not supported yet', options({ toString: 'yes' })],
    ['unimplemented: network option "parent" of driver overlay is not supported yet', options({ parent: 'eth0' })],
    ['invalid: invalid MTU "67": it must be 68 to 65535', options({ 'com.docker.network.driver.mtu': '67' })],
    [
      'invalid: invalid MTU "1279": it must be 1280 to 65535 with IPv6',
      { EnableIPv6: true, ...options({ 'com.docker.network.driver.mtu': '1279' }) },
    ],
    [
      'invalid: VXLAN id 4096 belongs to the link for published ports',
      options({ 'com.docker.network.driver.overlay.vxlanid_list': '4096' }),
    ],
    [
      'invalid: invalid VXLAN id "5,6": it must be one number, 1 to 16777215',
      options({ 'com.docker.network.driver.overlay.vxlanid_list': '5,6' }),
    ],
    [
      'invalid: network option "parent" is missing: the hosts\' interface that the macvlan network is on',
      macvlan({ Options: {} }),
    ],
    [
      'invalid: invalid network option "parent": "a b" is no name of an interface',
      macvlan({ Options: { parent: 'a b' } }),
    ],
    [
      'invalid: invalid network option "macvlan_mode": "x", it must be one of bridge, private, vepa, passthru',
      macvlan({ Options: { parent: 'eth0', macvlan_mode: 'x' } }),
    ],
    ["invalid: a macvlan network needs an IPv4 subnet: that of the hosts' network which it is on", macvlan(ipam())],
    [
      "invalid: a macvlan network with IPv6 needs an IPv6 subnet: that of the hosts' network which it is on",
      macvlan({ EnableIPv6: true }),
    ],
    [
      'unimplemented: internal networks of driver macvlan are not supported yet: what they reach is up to the network of the hosts',
      macvlan({ Internal: true }),
    ],
    ['unimplemented: IPAM driver "dhcp" is not supported yet', { IPAM: { Driver: 'dhcp' } }],
    ['unimplemented: IPAM option "a" is not supported yet', { IPAM: { Options: { a: 'b' } } }],
    ['invalid: invalid subnet 10.1.0.0: invalid CIDR block notation', ipam({ Subnet: '10.1.0.0' })],
    ['invalid: invalid subnet : invalid CIDR block notation', ipam({ Gateway: '10.1.0.1' })],
    ['invalid: invalid subnet 10.1.0.1/24: it should be 10.1.0.0/24', ipam({ Subnet: '10.1.0.1/24' })],
    ['invalid: invalid subnet 10.1.0.0/30: its size must be /8 to /29', ipam({ Subnet: '10.1.0.0/30' })],
    ['invalid: invalid subnet fd00::/64: the network is not IPv6-enabled', ipam({ Subnet: 'fd00::/64' })],
    [
      'invalid: invalid subnet 10.1.0.128/25: it overlaps with 10.1.0.0/24 of the same network',
      ipam({ Subnet: subnet }, { Subnet: '10.1.0.128/25' }),
    ],
    [
      "invalid: invalid gateway 10.2.0.1: parent subnet 10.1.0.0/24 doesn't contain this address",
      ipam({ Subnet: subnet, Gateway: '10.2.0.1' }),
    ],
    [
      "invalid: invalid auxiliary address router: parent subnet 10.1.0.0/24 doesn't contain this address",
      ipam({ Subnet: subnet, AuxiliaryAddresses: { router: '10.2.0.1' } }),
    ],
    [
      'invalid: invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.0/24',
      ipam({ Subnet: subnet, IPRange: '10.0.0.0/16' }),
    ],
    [
      "invalid: invalid ip-range 10.2.0.0/25: parent subnet 10.1.0.0/24 doesn't contain ip-range",
      ipam({ Subnet: subnet, IPRange: '10.2.0.0/25' }),
    ],
    [
      'invalid: invalid ip-range 10.1.0.5/25: it should be 10.1.0.0/25',
      ipam({ Subnet: subnet, IPRange: '10.1.0.5/25' }),
    ],
    [
      'invalid: too many subnets: 17, at most 16',
      ipam(...Array.from({ length: 17 }, (_, at) => ({ Subnet: `10.${at}.0.0/16` }))),
    ],
    [
      "invalid: invalid pool request: Pool overlaps with other one on this address space: 172.28.3.0/24 overlaps with 172.28.0.0/14 of the cluster's pool for gateways",
      ipam({ Subnet: '172.28.3.0/24' }),
    ],
    [
      "invalid: invalid pool request: Pool overlaps with other one on this address space: 10.0.0.0/8 overlaps with 10.255.0.0/16 of the cluster's pool for published ports",
      ipam({ Subnet: '10.0.0.0/8' }),
    ],
  ])('%s', async (expected, given) => {
    const { network, view } = world();
    expect(await refusal(network(given))).toBe(expected);
    expect(view.count('network')).toBe(0);
  });

  test('whose subnet or VXLAN id another one has, given or only asked for', async () => {
    const { network, store } = world();
    const draft = (id: string): Omit<Network, 'meta'> => ({ id, spec: { Name: id, Labels: {}, Driver: 'overlay' } });
    await store.transact((tx) => {
      const subnets = [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }];
      tx.create('network', { ...draft('given'), allocation: { vni: 4097, subnets } });
    });
    await network({ Name: 'asking', ...ipam({ Subnet: '10.7.0.0/16' }) });
    const overlap = 'invalid: invalid pool request: Pool overlaps with other one on this address space:';
    expect(await refusal(network(ipam({ Subnet: '10.0.0.0/25' })))).toBe(
      `${overlap} 10.0.0.0/25 overlaps with 10.0.0.0/24 of network given`,
    );
    expect(await refusal(network(ipam({ Subnet: '10.7.8.0/24' })))).toBe(
      `${overlap} 10.7.8.0/24 overlaps with 10.7.0.0/16 of network asking`,
    );
    expect(await refusal(network(options({ 'com.docker.network.driver.overlay.vxlanid_list': '4097' })))).toBe(
      'invalid: VXLAN id 4097 is in use by network given',
    );
  });
});

test('a subnet may be shared by networks that say so, but no service can be on both', async () => {
  const { network, service } = world();
  const given = ipam({ Subnet: '10.7.0.0/24' });
  await network({ Name: 'one', ...given });
  await network({ Name: 'two', ...given, ...options({ 'tscluster.shared-subnet': 'true' }) });
  const on = (...names: string[]) =>
    service({ TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks: names.map((Target) => ({ Target })) } });
  await on('one');
  expect(await refusal(on('one', 'two'))).toBe(
    'invalid: networks one and two share addresses: a service cannot be on both',
  );
});

describe('a network is accepted', () => {
  test.each<[string, Partial<NetworkSpec>]>([
    ['with nothing but a name', {}],
    ['without a driver: it is an overlay', { Driver: '' }],
    ['internal and attachable', { Internal: true, Attachable: true, Scope: 'swarm' }],
    [
      'with several subnets, IPv6 among them',
      { EnableIPv6: true, ...ipam({ Subnet: subnet }, { Subnet: 'fd00::/64' }) },
    ],
    [
      'with every address named',
      ipam({
        Subnet: subnet,
        Gateway: '10.1.0.254',
        IPRange: '10.1.0.128/25',
        AuxiliaryAddresses: { a: '10.1.0.130' },
      }),
    ],
    [
      'with an MTU and a VXLAN id',
      options({
        'com.docker.network.driver.mtu': '1400',
        'com.docker.network.driver.overlay.vxlanid_list': '5000',
        encrypted: 'false',
      }),
    ],
    ['of driver macvlan', macvlan()],
    ['of driver ipvlan', macvlan({ Driver: 'ipvlan', Options: { parent: 'bond0', ipvlan_mode: 'l3' } })],
  ])('%s', async (_, given) => {
    const { network, view } = world();
    expect(await refusal(network(given))).toBe('accepted');
    expect(view.networkByName('net')?.spec.Driver).toBe(given.Driver || 'overlay');
  });
});

describe('attachments', () => {
  test('names become ids, pseudo networks stay, aliases are DNS names', async () => {
    const { network, service, view } = world();
    const { id } = await network({});
    const attach = (...Aliases: string[]) =>
      service({
        TaskTemplate: {
          ContainerSpec: { Image: 'nginx' },
          Networks: [{ Target: 'net', Aliases }, { Target: 'bridge' }],
        },
      });
    const made = await attach('db', 'api.example.com');
    expect(view.get('service', made.id)?.spec.TaskTemplate.Networks?.map(({ Target }) => Target)).toEqual([
      id,
      'bridge',
    ]);
    for (const bad of ['', 'a b', '-a', 'a..b', 'x'.repeat(64)]) {
      expect(await refusal(attach(bad))).toBe(`invalid: invalid network alias "${bad}": it must be a DNS name`);
    }
  });

  test('a network that is used by a service or a running task of one stays; of removed services it does not', async () => {
    const { network, service, store, control } = world();
    const { id } = await network({});
    const TaskTemplate = { ContainerSpec: { Image: 'nginx' }, Networks: [{ Target: id }] };
    const made = await service({ TaskTemplate });
    await store.transact((tx) =>
      tx.create('task', {
        id: 't',
        serviceId: made.id,
        slot: 1,
        nodeId: 'n1',
        spec: TaskTemplate,
        specVersion: 1,
        serviceName: 'web',
        serviceLabels: {},
        endpoint: {},
        desired: TaskState.running,
        status: { state: TaskState.running, timestamp: 0, message: '', err: '' },
        restarts: [],
      }),
    );
    const remove = () => refusal(control.call('network.remove', { id: 'net' }));
    expect(await remove()).toBe(`failed_precondition: network ${id} is in use by service ${made.id}`);
    const without = { ...TaskTemplate, Networks: [] };
    const version = store.view.get('service', made.id)?.meta.version ?? 0;
    const spec = { ...(store.view.get('service', made.id)?.spec as ServiceSpec), TaskTemplate: without };
    await control.call('service.update', { id: made.id, version, spec });
    expect(await remove()).toBe(`failed_precondition: network ${id} is in use by task t`);
    await control.call('service.remove', { id: made.id });
    expect(await remove()).toBe('accepted');
  });
});

describe('published ports', () => {
  const publish = (...Ports: PortConfig[]): { EndpointSpec: EndpointSpec } => ({ EndpointSpec: { Ports } });
  const ingress: PortConfig = { TargetPort: 80, PublishedPort: 8080 };
  const host: PortConfig = { ...ingress, PublishMode: 'host' };

  test('one of the mesh is one service’s, one of hosts may be several services’', async () => {
    const { service, view, control } = world();
    const web = await service({ Name: 'web', ...publish(ingress) });
    const taken = `invalid: port '8080' is already in use by service 'web' (${web.id}) as an ingress port`;
    expect(await refusal(service(publish(ingress)))).toBe(taken);
    expect(await refusal(service(publish(host)))).toBe(taken);
    expect(await refusal(service(publish({ ...ingress, Protocol: 'udp' })))).toBe('accepted');
    const first = await service({ Name: 'first', ...publish({ ...host, PublishedPort: 9000 }) });
    expect(await refusal(service(publish({ ...host, PublishedPort: 9000 })))).toBe('accepted');
    expect(await refusal(service(publish({ ...ingress, PublishedPort: 9000 })))).toBe(
      `invalid: port '9000' is already in use by service 'first' (${first.id}) as a host-published port`,
    );
    const spec = { ...(view.get('service', web.id)?.spec as ServiceSpec), Labels: { a: 'b' } };
    const version = view.get('service', web.id)?.meta.version ?? 0;
    expect(await refusal(control.call('service.update', { id: web.id, version, spec }))).toBe('accepted');
  });

  test('one that was chosen automatically is taken, too', async () => {
    const { service, store } = world();
    const web = await service({ Name: 'web', ...publish({ TargetPort: 80 }) });
    await store.transact((tx) => {
      const { meta: _, ...draft } = tx.get('service', web.id) ?? ({} as never);
      const ports = [{ TargetPort: 80, PublishedPort: 30_000 }];
      tx.update('service', { ...draft, endpoint: { specVersion: 1, vips: [], ports } });
    });
    expect(await refusal(service(publish({ ...ingress, PublishedPort: 30_000 })))).toBe(
      `invalid: port '30000' is already in use by service 'web' (${web.id}) as an ingress port`,
    );
  });

  test('on different addresses of the hosts they do not meet', async () => {
    const { service } = world();
    await service(publish({ ...ingress, HostIP: '10.0.0.1' }, { ...ingress, HostIP: '10.0.0.2' }));
    expect(await refusal(service(publish({ ...ingress, HostIP: '10.0.0.3' })))).toBe('accepted');
    expect(await refusal(service(publish({ ...ingress, HostIP: '10.0.0.2' })))).toContain("port '8080' is already");
    expect(await refusal(service(publish({ ...ingress, HostIP: '0.0.0.0' })))).toContain("port '8080' is already");
  });

  test('a plan is checked for all of it', async () => {
    const { control, service } = world();
    await service({ Name: 'old', ...publish(ingress) });
    const spec = (Name: string, more: Partial<ServiceSpec>): ServiceSpec => ({
      Name,
      Labels: {},
      TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks: [{ Target: 's_net' }] },
      Mode: {},
      ...more,
    });
    const networks: NetworkSpec[] = [{ Name: 's_net', Labels: {}, Driver: 'overlay' }];
    const check = (...services: ServiceSpec[]) =>
      refusal(control.call('plan.check', { networks, services: services.map((one) => ({ spec: one })) }));
    const port = { ...ingress, PublishedPort: 8081 };
    expect(await check(spec('a', publish(port)), spec('b', {}))).toBe('accepted');
    expect(await check(spec('a', publish(port)), spec('b', publish(port)))).toMatch(
      /^invalid: failed to create service b: port '8081' is already in use by service 'a' \(\w+\) as an ingress port$/,
    );
    expect(await check(spec('a', publish(ingress)))).toContain("port '8080' is already in use by service 'old'");
  });
});

describe('pools added by a label of the cluster', () => {
  test.each<[string, string]>([
    ['accepted', '192.168.0.0/16, 100.64.0.0/10'],
    ['accepted', ''],
    ['invalid: label tscluster.addr-pools: "fd00::/8" is no IPv4 block such as 10.0.0.0/8', 'fd00::/8'],
    ['invalid: label tscluster.addr-pools: "192.168.1.0/16" should be 192.168.0.0/16', '192.168.1.0/16'],
    ['invalid: label tscluster.addr-pools: "192.168.0.0/25" is smaller than one subnet (/24)', '192.168.0.0/25'],
    ['invalid: label tscluster.addr-pools: "10.9.0.0/16" overlaps with 10.0.0.0/8', '10.9.0.0/16'],
    [
      'invalid: label tscluster.addr-pools: "192.168.8.0/24" overlaps with 192.168.0.0/16',
      '192.168.0.0/16,192.168.8.0/24',
    ],
  ])('%s: %s', async (expected, label) => {
    const { store, control } = world();
    const rootCa = { certPem: '', keyPem: '', joinTokens: { worker: '', manager: '' } };
    await store.transact((tx) =>
      tx.create('cluster', { id: 'c', spec: defaultClusterSpec, rootCa, removedNodes: {}, nextRaftId: 1 }),
    );
    const spec = { ...defaultClusterSpec, Labels: { 'tscluster.addr-pools': label } };
    const version = store.view.cluster()?.meta.version ?? 0;
    const call = control.call('cluster.update', { version, spec, rotateWorkerToken: false, rotateManagerToken: false });
    expect(await refusal(call)).toBe(expected);
  });
});
