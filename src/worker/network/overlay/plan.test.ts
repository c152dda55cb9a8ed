import { describe, expect, test } from 'vitest';
import { type EndpointRecord, emptyNetworkState, type NetworkState } from '../../../model/network.ts';
import type { Desired, SandboxRecord } from '../planes.ts';
import { changesOf, isEmpty } from './changes.ts';
import { portName } from './names.ts';
import { asObserved, settingsOf } from './observe.ts';
import { networksInUse, planNetwork } from './plan.ts';

const network = {
  id: 'n1aaaaaaaaaaaaaaaaaaaaaaa',
  name: 'app',
  driver: 'overlay' as const,
  vni: 4097,
  subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }],
  internal: false,
  options: {},
};
const self = {
  nodeId: 'here',
  underlay: '192.168.0.1',
  gatewaySubnet: '172.28.1.0/24',
  ingressAddress: '10.255.0.1',
  dataPathPort: 4789,
  gatewayPools: ['172.28.0.0/14'],
  ingressPool: '10.255.0.0/16',
};
const there = {
  nodeId: 'there',
  underlay: '192.168.0.2',
  gatewaySubnet: '172.28.2.0/24',
  ingressAddress: '10.255.0.2',
};

const on = (address: string) => [{ networkId: network.id, addresses: [address] }];
const endpoint = (taskId: string, nodeId: string, address: string, active = true): EndpointRecord => ({
  taskId,
  nodeId,
  serviceId: 'web',
  names: [],
  attachments: on(address),
  active,
});
const sandbox = (taskId: string, address: string): SandboxRecord => ({
  taskId,
  mode: 'own',
  netns: `tsc-${taskId}`,
  gateway: '172.28.1.2',
  attachments: on(address),
  hostPorts: [],
  nameservers: [],
});
const web = {
  id: 'web',
  name: 'web',
  mode: 'vip' as const,
  networks: [{ networkId: network.id, addresses: ['10.0.1.2/24'], aliases: [] }],
  ports: [],
};

function desired(sandboxes: readonly SandboxRecord[], endpoints: readonly EndpointRecord[]): Desired {
  const state: NetworkState = {
    ...emptyNetworkState,
    self,
    peers: new Map([['there', there]]),
    networks: new Map([[network.id, network]]),
    endpoints: new Map(endpoints.map((one) => [one.taskId, one])),
    services: new Map([['web', web]]),
  };
  return { sandboxes: new Map(sandboxes.map((one) => [one.taskId, one])), state };
}

const context = { prefix: 'tsc', underlay: { mtu: 1500, local: true } };
const planOf = (wanted: Desired, more: Partial<typeof network> = {}) =>
  planNetwork({ ...network, ...more }, self, { ...context, desired: wanted });
const settings = settingsOf(false, true);

const local = sandbox('t1', '10.0.1.11/24');
const both = desired(
  [local],
  [
    endpoint('t1', 'here', '10.0.1.11/24'),
    endpoint('t2', 'there', '10.0.1.12/24'),
    endpoint('t3', 'there', '10.0.1.13/24', false),
  ],
);

describe('the plan of a network', () => {
  test('knows endpoints elsewhere, active or not, and never virtual addresses or gateways', () => {
    const plan = planOf(both);
    expect([...plan.remotes]).toEqual([
      ['02:42:0a:00:01:0c', '192.168.0.2'],
      ['02:42:0a:00:01:0d', '192.168.0.2'],
    ]);
    expect([...plan.neighbours.keys()]).toEqual(['10.0.1.12', '10.0.1.13']);
    expect(plan.bridgeAddresses).toEqual(['10.0.1.1/24', '10.0.1.2/32']);
  });

  test('names nodes as the kernel does', () => {
    const { state, sandboxes } = both;
    const peers = new Map([['there', { ...there, underlay: 'FD00:0:0::2' }]]);
    const plan = planOf({ sandboxes, state: { ...state, peers } });
    expect(new Set(plan.remotes.values())).toEqual(new Set(['fd00::2']));
  });

  test('puts active endpoints only behind a virtual address', () => {
    const text = planOf(both)
      .tables.map((table) => table.text)
      .join('');
    expect(text).toMatch(/dnat to numgen inc mod 2 map \{ 0 : 10\.0\.1\.1[12], 1 : 10\.0\.1\.1[12] \}/);
    expect(text).not.toContain('10.0.1.13');
  });

  test('leaves out one that should be here and is not, and refuses connections when none is left', () => {
    const text = planOf(desired([sandbox('other', '10.0.1.40/24')], [endpoint('t1', 'here', '10.0.1.11/24')]))
      .tables.map((table) => table.text)
      .join('');
    expect(text).toContain('set nobk { type ipv4_addr; elements = { 10.0.1.2 }; }');
    expect(text).not.toContain('dnat');
  });

  test('takes the MTU from the option, else what the underlay leaves', () => {
    expect(planOf(both).mtu).toBe(1450);
    expect(planOf(both, { options: { 'com.docker.network.driver.mtu': '1300' } }).mtu).toBe(1300);
    expect(planOf(both, { options: { 'com.docker.network.driver.mtu': 'x' } }).mtu).toBe(1450);
    expect(planNetwork(network, { ...self, underlay: 'fd00::1' }, { ...context, desired: both }).mtu).toBe(1430);
  });

  test('is wanted only where a container is on the network', () => {
    expect(networksInUse(both).map(({ id }) => id)).toEqual([network.id]);
    expect(networksInUse(desired([], [endpoint('t2', 'there', '10.0.1.12/24')]))).toEqual([]);
  });
});

describe('changes', () => {
  test('of a network that is new make everything, and seal the links last', () => {
    const changes = changesOf(planOf(both), undefined, settings);
    const port = portName('t1', network.id);
    expect(changes.vxlan?.join(' ')).toBe(
      'link add vx4097 netns tsc-net-n1aaaaaaaaaa type vxlan id 4097 dstport 4789 local 192.168.0.1 nolearning proxy',
    );
    expect(changes.ip).toEqual([
      'link set lo up',
      'link add br0 type bridge forward_delay 0 mcast_snooping 0',
      'link set br0 address 02:42:0a:00:01:01 mtu 1450 up',
      'link set vx4097 mtu 1450 master br0 up',
      'link set vx4097 type bridge_slave learning off flood off',
      `link add ${port} mtu 1450 type veth peer name eth0 address 02:42:0a:00:01:0b mtu 1450 netns tsc-t1`,
      `link set ${port} master br0 up`,
      `link set ${port} type bridge_slave hairpin on learning off flood off`,
      expect.stringMatching(`^link set ${port} alias tsc:[0-9a-f]{8}$`),
      'addr add 10.0.1.1/24 dev br0',
      'addr add 10.0.1.2/32 dev br0',
      'neigh replace 10.0.1.12 lladdr 02:42:0a:00:01:0c dev vx4097 nud permanent',
      'neigh replace 10.0.1.13 lladdr 02:42:0a:00:01:0d dev vx4097 nud permanent',
    ]);
    expect(changes.seal).toEqual([`fdb replace 02:42:0a:00:01:0b dev ${port} master static`]);
  });

  test('of what is right already are none', () => {
    const plan = planOf(both);
    expect(isEmpty(changesOf(plan, asObserved(plan, undefined, settings), settings))).toBe(true);
  });

  test('for one more container complete the guard instead of replacing it, and touch nothing else', () => {
    const before = planOf(both);
    const more = desired([local, sandbox('t4', '10.0.1.14/24')], [...both.state.endpoints.values()]);
    const changes = changesOf(planOf(more), asObserved(before, undefined, settings), settings);
    expect(changes.wire.map(({ name }) => name)).toEqual([portName('t4', network.id)]);
    expect(changes.nft.join('')).not.toContain('delete table');
    expect(changes.nft.join('')).toContain('10.0.1.14');
    expect([...changes.removals, ...changes.resize]).toEqual([]);
    expect(changes.seal).toEqual([`fdb replace 02:42:0a:00:01:0e dev ${portName('t4', network.id)} master static`]);
  });

  test('for an endpoint that goes take its entries away, and replace the addresses table whole', () => {
    const before = asObserved(planOf(both), undefined, settings);
    const fewer = desired([local], [endpoint('t1', 'here', '10.0.1.11/24'), endpoint('t2', 'there', '10.0.1.12/24')]);
    const changes = changesOf(planOf(fewer), before, settings);
    expect(changes.bridge).toEqual([
      'fdb delete 02:42:0a:00:01:0d dev vx4097 self',
      'fdb delete 02:42:0a:00:01:0d dev vx4097 master',
    ]);
    expect(changes.ip).toEqual(['neigh delete 10.0.1.13 dev vx4097']);
    expect(changes.nft).toEqual([]);
  });

  test('for an endpoint that moves change one entry', () => {
    const elsewhere = { ...there, nodeId: 'third', underlay: '192.168.0.3' };
    const moved = desired(
      [local],
      [
        endpoint('t1', 'here', '10.0.1.11/24'),
        endpoint('t2', 'third', '10.0.1.12/24'),
        endpoint('t3', 'there', '10.0.1.13/24', false),
      ],
    );
    const state = { ...moved.state, peers: new Map([...moved.state.peers, ['third', elsewhere]]) };
    const changes = changesOf(planOf({ ...moved, state }), asObserved(planOf(both), undefined, settings), settings);
    expect(changes.bridge).toEqual(['fdb replace 02:42:0a:00:01:0c dev vx4097 dst 192.168.0.3 self permanent']);
    expect([...changes.ip, ...changes.nft]).toEqual([]);
  });

  test('for a link without its seal wire it again from scratch', () => {
    const plan = planOf(both);
    const before = asObserved(plan, undefined, settings);
    const port = portName('t1', network.id);
    const statics = new Set([...before.statics].filter((entry) => !entry.startsWith(port)));
    for (const found of [
      { ...before, statics },
      { ...before, ports: new Map([[port, { alias: '', mtu: 1450, ready: true }]]) },
    ]) {
      const changes = changesOf(plan, found, settings);
      expect(changes.removals).toEqual([`link delete ${port}`]);
      expect(changes.wire.map(({ name }) => name)).toEqual([port]);
      expect(changes.seal).toEqual([`fdb replace 02:42:0a:00:01:0b dev ${port} master static`]);
    }
  });

  test('of the VXLAN id or port make the device again, with all entries', () => {
    const plan = planOf(both);
    const before = asObserved(plan, undefined, settings);
    const changes = changesOf(plan, { ...before, vxlan: '4097 8472 192.168.0.1 proxy' }, settings);
    expect(changes.removals).toEqual(['link delete vx4097']);
    expect(changes.vxlan).toBeDefined();
    expect(changes.ip.filter((line) => line.startsWith('neigh replace'))).toHaveLength(2);
  });
});
