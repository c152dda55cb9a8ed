import { describe, expect, test } from 'vitest';
import type { EndpointRecord, IngressPort, NetworkState, PeerRecord, SelfRecord } from '../../../model/network.ts';
import type { HostPort } from '../../../model/ports.ts';
import type { SandboxRecord } from '../planes.ts';
import { changeOf, parseTable, type TableView, wholeTable } from './nft.ts';
import { overlapProblems, planHost } from './plan.ts';
import { claimKey, serviceOwner } from './port-key.ts';
import { hostTable, hostTable6 } from './table.ts';

const self: SelfRecord = {
  nodeId: 'n1',
  underlay: '10.0.0.1',
  gatewaySubnet: '172.28.1.0/24',
  ingressAddress: '10.255.0.1',
  dataPathPort: 4789,
  gatewayPools: ['172.28.0.0/14'],
  ingressPool: '10.255.0.0/16',
};
const peer = (number: number): PeerRecord => ({
  nodeId: `n${number}`,
  underlay: `10.0.0.${number}`,
  gatewaySubnet: `172.28.${number}.0/24`,
  ingressAddress: `10.255.0.${number}`,
});
const sandbox = (taskId: string, at: number, hostPorts: readonly HostPort[] = []): SandboxRecord => ({
  taskId,
  mode: 'own',
  netns: `ns-${taskId}`,
  gateway: `172.28.1.${at}`,
  attachments: [],
  hostPorts,
  nameservers: [],
});
const endpoint = (taskId: string, node: number, at: number, active = true): EndpointRecord => ({
  taskId,
  nodeId: `n${node}`,
  serviceId: 'web',
  names: [],
  attachments: [],
  gateway: `172.28.${node}.${at}`,
  active,
});
const port = (published: number, more: Partial<IngressPort> = {}): IngressPort => ({
  protocol: 'tcp',
  published,
  target: 80,
  source: 'preserve',
  ...more,
});

interface World {
  readonly sandboxes?: readonly SandboxRecord[];
  readonly endpoints?: readonly EndpointRecord[];
  readonly ports?: readonly IngressPort[];
  readonly self?: SelfRecord;
  readonly peers?: readonly PeerRecord[];
}

function desiredOf({ sandboxes = [], endpoints = [], ports = [], peers = [peer(2), peer(3)], self: me = self }: World) {
  const state: NetworkState = {
    version: 1,
    self: me,
    peers: new Map(peers.map((one) => [one.nodeId, one])),
    networks: new Map(),
    endpoints: new Map(endpoints.map((one) => [one.taskId, one])),
    services: new Map([['web', { id: 'web', name: 'web', mode: 'vip', networks: [], ports }]]),
  };
  return { sandboxes: new Map(sandboxes.map((one) => [one.taskId, one])), state };
}

function tableOf(
  world: World,
  more: { refused?: ReadonlySet<string>; internal?: readonly string[]; view?: TableView } = {},
) {
  const desired = desiredOf(world);
  const { links, marks, macs } = planHost(world.self ?? self, desired, new Set(more.internal));
  const { refused = new Set<string>(), view } = more;
  return hostTable({ self: world.self ?? self, desired, links, marks, macs, refused, view }).plan;
}

/** What a set holds, `key : value`. */
function elements(world: World, set: string, more: Parameters<typeof tableOf>[1] = {}): readonly string[] {
  return [...(tableOf(world, more).elements.get(set) ?? [])].map(([key, value]) =>
    value === '' ? key : `${key} : ${value}`,
  );
}

function rulesOf(world: World, published: string): readonly string[] {
  const plan = tableOf(world);
  const name = plan.elements.get('ports')?.get(published)?.replace('goto ', '') ?? '';
  return plan.branches.get(name) ?? [];
}

/** The kernel after it was given this table. */
function kernelWith(plan: ReturnType<typeof tableOf>): TableView {
  const chains = [...plan.chains].map(
    ([name, rules]) => [name, rules.filter((rule) => !rule.startsWith('type ')).length] as const,
  );
  const marker = /chain (v_\w+)/.exec(wholeTable(plan))?.[1] ?? '';
  return {
    sets: new Map([...plan.sets.keys()].map((set) => [set, plan.elements.get(set) ?? new Map<string, string>()])),
    rules: new Map([
      ...chains,
      [marker, 1],
      ...[...plan.branches].map(([name, rules]) => [name, rules.length] as const),
    ]),
    targets: new Map(),
  };
}

const both = [endpoint('a', 1, 5), endpoint('b', 2, 6)];

describe('a published port leads', () => {
  test('to active endpoints here and on nodes that are known, in turn', () => {
    const world = {
      sandboxes: [sandbox('a', 5)],
      endpoints: [...both, endpoint('c', 3, 7, false), endpoint('d', 9, 8)],
      ports: [port(8080)],
    };
    expect(rulesOf(world, 'tcp . 8080')).toEqual([
      'meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 172.28.1.5 . 80, 1 : 172.28.2.6 . 80 }',
    ]);
  });

  test('to no task of this node whose container is not here', () => {
    expect(rulesOf({ endpoints: both, ports: [port(8080)] }, 'tcp . 8080')).toEqual([
      'meta l4proto tcp dnat to 172.28.2.6:80',
    ]);
  });

  test('to no address outside the subnet of its node: it would leave by the default route', () => {
    const odd = { ...endpoint('b', 2, 6), gateway: '8.8.8.8' };
    expect(elements({ endpoints: [odd], ports: [port(8080)] }, 'ports')).toEqual([]);
  });

  test('with `local` to tasks of this node only, with `masquerade` through a mark', () => {
    const world = {
      sandboxes: [sandbox('a', 5)],
      endpoints: both,
      ports: [port(1, { source: 'local' }), port(2, { source: 'masquerade' })],
    };
    expect(rulesOf(world, 'tcp . 1')).toEqual(['meta l4proto tcp dnat to 172.28.1.5:80']);
    expect(rulesOf(world, 'tcp . 2')[0]).toBe('meta l4proto tcp ct mark set 0x54600000');
  });

  test('nowhere without endpoints, and is refused then', () => {
    expect(elements({ ports: [port(8080)] }, 'ports')).toEqual([]);
    expect(elements({ ports: [port(8080)] }, 'closed')).toEqual(['tcp . 8080']);
  });

  test('nowhere and is not refused either when another program has it', () => {
    const refused = new Set([claimKey(serviceOwner('web'), { protocol: 'tcp', port: 8080 })]);
    const world = { endpoints: both, ports: [port(8080), port(8081)] };
    expect(elements(world, 'closed', { refused })).toEqual(['tcp . 8081']);
    expect(elements(world, 'ports', { refused })).toHaveLength(1);
  });

  test('on one address of the host only when it names one', () => {
    const world = { endpoints: both, ports: [port(8080, { hostIp: '10.0.0.1' }), port(8081, { hostIp: '0.0.0.0' })] };
    expect(elements(world, 'closed_ip')).toEqual(['10.0.0.1 . tcp . 8080']);
    expect(elements(world, 'closed')).toEqual(['tcp . 8081']);
  });
});

test('host-mode ports lead to their container', () => {
  const ports = [
    { port: 53, protocol: 'udp', target: 5353 },
    { port: 80, protocol: 'tcp', target: 8080, hostIp: '127.0.0.1' },
  ];
  const world = { sandboxes: [sandbox('a', 5, ports)] };
  expect(elements(world, 'hports')).toEqual(['udp . 53 : 172.28.1.5 . 5353']);
  expect(elements(world, 'hports_ip')).toEqual(['127.0.0.1 . tcp . 80 : 172.28.1.5 . 8080']);
});

test('connections that come back to where they began are masqueraded', () => {
  const world = { sandboxes: [sandbox('a', 5)], endpoints: both, ports: [port(8080)] };
  expect(elements(world, 'loops')).toEqual(['172.28.1.5 . 172.28.1.5', '10.0.0.2 . 172.28.2.6']);
});

describe('other nodes may send', () => {
  const world = {
    sandboxes: [sandbox('a', 5)],
    endpoints: [endpoint('a', 1, 5, false)],
    ports: [port(8080), port(9, { source: 'local' })],
  };
  test('to published ports of containers here, also while these leave the maps', () => {
    expect(elements(world, 'admitted')).toEqual(['172.28.1.5 . tcp . 80']);
  });

  test('to what they could before while a container without a record is here, and no longer', () => {
    const view = kernelWith(tableOf(world));
    expect(elements({ sandboxes: [sandbox('a', 5)] }, 'admitted', { view })).toEqual(['172.28.1.5 . tcp . 80']);
    expect(elements({ sandboxes: [sandbox('b', 6)] }, 'admitted', { view })).toEqual([]);
    expect(elements({ ...world, ports: [] }, 'admitted', { view })).toEqual([]);
  });
});

test('the VXLAN port is guarded in the family of the underlay, with every node in it', () => {
  expect(elements({}, 'nodes')).toEqual(['10.0.0.2', '10.0.0.3']);
  expect(hostTable6(self, desiredOf({}))).toBeUndefined();
  const over6 = { ...self, underlay: 'fd00::1' };
  const six = { self: over6, peers: [{ ...peer(2), underlay: 'FD00:0::2' }] };
  expect(elements(six, 'nodes')).toEqual([]);
  expect(tableOf(six).chains.get('guard')?.join('\n')).not.toContain('4789');
  const table6 = hostTable6(over6, desiredOf(six));
  expect([...(table6?.elements.get('nodes')?.keys() ?? [])]).toEqual(['fd00::2']);
});

describe('the difference to the kernel', () => {
  const world = { endpoints: both, ports: [port(8080)] };
  const plan = tableOf(world);

  test('is nothing when it agrees, and the whole table when it has none or other rules', () => {
    expect(changeOf(plan, kernelWith(plan))).toBeUndefined();
    expect(changeOf(plan, undefined)).toBe(wholeTable(plan));
    const flushed = { ...kernelWith(plan), rules: new Map([...kernelWith(plan).rules].map(([name]) => [name, 0])) };
    expect(changeOf(plan, flushed)).toBe(wholeTable(plan));
    const other = tableOf({ ...world, self: { ...self, dataPathPort: 4790 } });
    expect(changeOf(other, kernelWith(plan))).toBe(wholeTable(other));
    const holed = kernelWith(plan);
    expect(changeOf(plan, { ...holed, sets: new Map([...holed.sets].slice(1)) })).toBe(wholeTable(plan));
  });

  test('of one service is its own chain and element, in one transaction', () => {
    const more = tableOf({ ...world, endpoints: [...both, endpoint('c', 3, 7)] });
    const [before = '', after = ''] = [plan, more].map((one) => [...one.branches.keys()][0] ?? '');
    expect(changeOf(more, kernelWith(plan))?.trim().split('\n')).toEqual([
      `add chain ip tsc ${after}`,
      `add rule ip tsc ${after} meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 172.28.2.6 . 80, 1 : 172.28.3.7 . 80 }`,
      'delete element ip tsc ports { tcp . 8080 }',
      `add element ip tsc ports { tcp . 8080 : goto ${after} }`,
      'add element ip tsc loops { 10.0.0.3 . 172.28.3.7 }',
      `flush chain ip tsc ${before}`,
      `delete chain ip tsc ${before}`,
    ]);
  });
});

test('a listing of the kernel is read back as it was written', () => {
  const listing = {
    nftables: [
      { map: { name: 'ports', elem: [[{ concat: ['tcp', 8080] }, { goto: { target: 'p_1' } }]] } },
      { map: { name: 'hports_ip', elem: [[{ concat: ['10.0.0.1', 'udp', 53] }, { concat: ['172.28.1.5', 53] }]] } },
      { map: { name: 'entries', elem: [['02:42:0a:ff:00:02', 1414529026]] } },
      { set: { name: 'nodes', elem: ['10.0.0.2'] } },
      { set: { name: 'internal' } },
      { chain: { name: 'p_1' } },
      {
        rule: {
          chain: 'p_1',
          expr: [{ dnat: { addr: { map: { data: { set: [[0, { concat: ['172.28.1.5', 80] }]] } } } } }],
        },
      },
      { chain: { name: 'p_2' } },
      { rule: { chain: 'p_2', expr: [{ dnat: { addr: '172.28.1.6', port: 80 } }] } },
    ],
  };
  const view = parseTable(JSON.stringify(listing));
  expect(Object.fromEntries([...view.sets].map(([name, held]) => [name, [...held].flat()]))).toEqual({
    ports: ['tcp . 8080', 'goto p_1'],
    hports_ip: ['10.0.0.1 . udp . 53', '172.28.1.5 . 53'],
    entries: ['02:42:0a:ff:00:02', '1414529026'],
    nodes: ['10.0.0.2', ''],
    internal: [],
  });
  expect([...view.targets]).toEqual([
    ['p_1', ['172.28.1.5 . 80']],
    ['p_2', ['172.28.1.6 . 80']],
  ]);
});

describe('the plan of the namespace', () => {
  test('gives each peer a route, a table and a rule of the number of its place in the ingress pool', () => {
    const plan = planHost(self, desiredOf({ sandboxes: [sandbox('a', 5)], peers: [peer(2)] }), new Set());
    expect([...plan.routes]).toEqual([
      'unreachable 172.28.1.0/24',
      expect.stringMatching(/^172\.28\.1\.5 dev tscg[0-9a-f]{8}$/),
      '10.255.0.2 dev ing0',
      '172.28.2.0/24 via 10.255.0.2 dev ing0 onlink',
      'default via 10.255.0.2 dev ing0 onlink table 1414529026',
    ]);
    expect([...plan.rules]).toEqual([
      'pref 5450 not fwmark 0x54500000/0xfff00000 goto 5453',
      'pref 5451 to 172.28.1.0/24 lookup main',
      'pref 5452 fwmark 0x54500002 lookup 1414529026',
      'pref 5453 nop',
    ]);
  });

  test('gives a peer beyond what marks can count a route, but no mark', () => {
    const far = { ...peer(2), ingressAddress: '10.250.0.2' };
    const wide = { ...self, ingressPool: '10.0.0.0/8' };
    expect([...planHost(wide, desiredOf({ self: wide, peers: [far] }), new Set()).marks]).toEqual([]);
  });
});

test('a network of the host itself (macvlan, ipvlan) is meant to be where the host is', () => {
  const networkOf = (driver: 'overlay' | 'macvlan' | 'ipvlan') => {
    const subnets = [{ subnet: '192.168.1.0/24', gateway: '192.168.1.1' }];
    return { id: driver, name: driver, driver, vni: 0, subnets, internal: false, options: {} };
  };
  const { sandboxes, state } = desiredOf({});
  const networks = new Map((['overlay', 'macvlan', 'ipvlan'] as const).map((driver) => [driver, networkOf(driver)]));
  const routes = [{ destination: '192.168.1.0/24', device: 'eth0', protocol: 'kernel' }];
  const problems = overlapProblems({ sandboxes, state: { ...state, networks } }, routes);
  expect(problems.map(({ networkId }) => networkId)).toEqual(['overlay']);
});

test("the host's own routes are found in the way, ours are not", () => {
  const route = (destination: string, device: string, protocol = 'static') => ({ destination, device, protocol });
  const check = (...routes: ReturnType<typeof route>[]) =>
    overlapProblems(desiredOf({}), routes).map(({ message }) => message);
  expect(
    check(route('172.28.2.0/24', 'ing0', '84'), route('172.28.1.5', 'tscg12345678'), route('192.168.0.0/16', 'eth0')),
  ).toEqual([]);
  expect(check(route('172.16.0.0/12', 'vpn0'))).toEqual([
    "the gateway pool 172.28.0.0/14 overlaps this host's route to 172.16.0.0/12 of vpn0: hosts there may be out of reach; choose another with --gateway-pool at init",
  ]);
});
