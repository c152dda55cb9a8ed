/** What networks mean to the other commands. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeDaemon, fail } from '../testing/fake-daemon.ts';

const at = '2026-01-01T00:00:00Z';
const head = (id: string) => ({ ID: id, Version: { Index: 7 }, CreatedAt: at, UpdatedAt: at });
const message = 'published port 8080/tcp is taken by another program';

const service = (extra: object = {}) => ({
  ...head('s1'),
  Spec: {
    Name: 'web',
    Labels: {},
    TaskTemplate: { ContainerSpec: { Image: 'nginx' }, Networks: [{ Target: 'n1' }] },
    Mode: { Replicated: { Replicas: 1 } },
    EndpointSpec: { Mode: 'vip' },
  },
  Endpoint: {
    Spec: { Mode: 'vip' },
    Ports: [
      { TargetPort: 80, PublishedPort: 8080, Protocol: 'tcp', PublishMode: 'ingress' },
      { TargetPort: 81, PublishedPort: 8081, Protocol: 'tcp', PublishMode: 'ingress' },
      {
        TargetPort: 90,
        PublishedPort: 90,
        Protocol: 'tcp',
        PublishMode: 'ingress',
        HostIP: '192.0.2.1',
        Source: 'local',
      },
    ],
    VirtualIPs: [{ NetworkID: 'n1', Addr: '10.0.1.2/24' }],
  },
  ...extra,
});

let daemon: FakeDaemon;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  daemon
    .on('GET', '/services', () => [service()])
    .on('GET', '/services/web', () => service())
    .on('GET', '/services/s1', () => service())
    .on('GET', '/networks/n1', () => ({ Id: 'n1', Name: 'front' }))
    .on('GET', '/nodes', () => [
      {
        ...head('node2'),
        Spec: {},
        Description: { Hostname: 'h2' },
        Status: {},
        TsCluster: { NetworkProblems: [{ ServiceID: 's1', Message: message }, { Message: 'of no service' }] },
      },
    ]);
});

afterEach(() => daemon.stop());

describe('what is shown', () => {
  test('service ls joins neighbouring ports and names the address of those on one', async () => {
    const { stdout } = await daemon.run(['service', 'ls', '--format', '{{.Ports}}']);
    expect(stdout).toBe('*:8080-8081->80-81/tcp, 192.0.2.1:90->90/tcp\n');
  });

  test('service inspect --pretty names networks and says how ports are published', async () => {
    const { stdout } = await daemon.run(['service', 'inspect', '--pretty', 'web']);
    expect(stdout).toContain('Networks:               front (10.0.1.2/24)\n');
    expect(stdout).toContain('  8080->80/tcp (ingress)\n');
    expect(stdout).toContain('  192.0.2.1:90->90/tcp (ingress, source local)\n');
  });

  test('service ps warns of what a node could not do for the service', async () => {
    daemon.on('GET', '/tasks', () => []);
    const shown = await daemon.run(['service', 'ps', 'web']);
    expect([shown.code, shown.stderr]).toEqual([0, `WARNING: node h2: ${message}\n`]);
    daemon.on('GET', '/services', () => [service({ TsCluster: { EndpointError: 'no port is free' } })]);
    expect((await daemon.run(['service', 'ps', 'web'])).stderr).toContain('WARNING: service web: no port is free\n');
    expect((await daemon.run(['service', 'ps', '-q', 'web'])).stderr).toBe('');
  });

  test('node inspect --pretty lists them', async () => {
    daemon.on('GET', '/nodes/node2', () => ({
      ...head('node2'),
      Spec: { Labels: {}, Availability: 'active' },
      Description: { Hostname: 'h2' },
      Status: { State: 'ready' },
      TsCluster: {
        GatewaySubnet: '172.28.2.0/24',
        IngressAddress: '10.255.0.2',
        NetworkProblems: [{ Message: message }],
      },
    }));
    const { stdout } = await daemon.run(['node', 'inspect', '--pretty', 'node2']);
    expect(stdout).toContain('Gateway Subnet:        172.28.2.0/24\n');
    expect(stdout).toContain(`Network Problems:\n - ${message}\n`);
  });
});

describe('service update', () => {
  const body = async (...line: string[]) => {
    daemon.on('POST', '/services/s1/update', () => ({ Warnings: null }));
    const result = await daemon.run(['service', 'update', '-d', ...line, 'web']);
    expect([result.code, result.stderr]).toEqual([0, '']);
    return daemon.posts().at(-1)?.body as { TaskTemplate: { Networks: object[] }; EndpointSpec: { Ports: object[] } };
  };

  test('adds and removes networks by name', async () => {
    daemon.on('GET', '/networks/back', () => ({ Id: 'n0', Name: 'back' }));
    daemon.on('GET', '/networks/front', () => ({ Id: 'n1', Name: 'front' }));
    const { TaskTemplate } = await body('--network-add', 'name=back,alias=b', '--network-rm', 'front');
    expect(TaskTemplate.Networks).toEqual([{ Target: 'n0', Aliases: ['b'] }]);
    expect((await body('--network-add', 'back')).TaskTemplate.Networks).toEqual([{ Target: 'n0' }, { Target: 'n1' }]);
    const twice = await daemon.run(['service', 'update', '-d', '--network-add', 'front', 'web']);
    expect(twice.stderr).toBe('Error: service is already attached to network front\n');
    const both = await daemon.run(['service', 'update', '-d', '--network-add', 'back', '--network-add', 'back', 'web']);
    expect(both.stderr).toBe('Error: service is already attached to network back\n');
  });

  test('publishes on one address, and says what the container sees of the client', async () => {
    const flag = 'published=8080,target=80,mode=ingress,host_ip=192.0.2.1,source=masquerade';
    const { EndpointSpec } = await body('--publish-add', flag, '--publish-add', '127.0.0.1:53:53/udp');
    expect(EndpointSpec.Ports).toEqual([
      { TargetPort: 53, PublishedPort: 53, Protocol: 'udp', PublishMode: 'ingress', HostIP: '127.0.0.1' },
      {
        TargetPort: 80,
        PublishedPort: 8080,
        Protocol: 'tcp',
        PublishMode: 'ingress',
        HostIP: '192.0.2.1',
        Source: 'masquerade',
      },
    ]);
  });
});

describe('address pools', () => {
  const swarm = (Labels: object) => ({ ...head('c'), Spec: { Name: 'default', Labels }, JoinTokens: {} });

  test('init sends those that are asked for, several by commas', async () => {
    daemon
      .on('GET', '/_ping', () => 'OK')
      .on('GET', '/swarm', () => swarm({}))
      .on('GET', '/nodes/self', () => ({ ...head('self'), Spec: {}, Description: {}, Status: {} }))
      .on('POST', '/swarm/init', () => 'self');
    const line = ['--default-addr-pool', '10.20.0.0/16,10.21.0.0/16', '--default-addr-pool-mask-length', '26'];
    const own = ['--gateway-pool', '172.20.0.0/16', '--ingress-pool', '10.30.0.0/16', '--data-path-port', '7777'];
    const result = await daemon.run(['init', ...line, ...own]);
    expect([result.code, result.stderr]).toEqual([0, '']);
    expect(daemon.posts().at(-1)?.body).toMatchObject({
      DefaultAddrPool: ['10.20.0.0/16', '10.21.0.0/16'],
      SubnetSize: 26,
      DataPathPort: 7777,
      TsCluster: { GatewayPools: ['172.20.0.0/16'], IngressPool: '10.30.0.0/16' },
    });
  });

  test('update adds to those that were added before, and leaves other labels', async () => {
    const labels = { 'tscluster.addr-pools': '10.40.0.0/16', 'tscluster.node-grace': '5s', own: 'x' };
    daemon.on('GET', '/swarm', () => swarm(labels)).on('POST', '/swarm/update', () => ({}));
    const result = await daemon.run(['update', '--addr-pool-add', '10.41.0.0/16', '--addr-pool-add', '10.40.0.0/16']);
    expect([result.code, result.stderr]).toEqual([0, '']);
    expect(daemon.posts().at(-1)?.body).toMatchObject({
      Labels: { ...labels, 'tscluster.addr-pools': '10.40.0.0/16,10.41.0.0/16' },
    });
  });
});

test('stack rm tries a network again while tasks still hold addresses of it', async () => {
  let tries = 0;
  daemon
    .on('GET', /^\/(services|secrets|configs)$/, () => [])
    .on('GET', '/networks', () => [{ Id: 'n1', Name: 'app_default' }])
    .on('DELETE', '/networks/n1', () => (++tries < 3 ? fail(400, 'network n1 is in use by task t1') : {}));
  expect(await daemon.run(['stack', 'rm', 'app'])).toEqual({
    code: 0,
    stdout: 'Removing network app_default\n',
    stderr: '',
  });
  expect(tries).toBe(3);
});

test('stack rm does not wait for a network that another service uses', async () => {
  daemon
    .on('GET', /^\/(services|secrets|configs)$/, () => [])
    .on('GET', '/networks', () => [{ Id: 'n1', Name: 'app_default' }])
    .on('DELETE', '/networks/n1', () => fail(400, 'network n1 is in use by service s9'));
  const result = await daemon.run(['stack', 'rm', 'app']);
  expect([result.code, daemon.posts().length]).toEqual([1, 1]);
});
