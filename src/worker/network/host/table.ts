/** The host's tables: what they must hold, from the records. Pure. */
import { contains, parseAddress, parseBlock } from '../../../model/ip.ts';
import type { EndpointRecord, IngressPort, PeerRecord, SelfRecord } from '../../../model/network.ts';
import type { Desired } from '../planes.ts';
import type { GatewayLink } from './link.ts';
import {
  canonical,
  dnsPort,
  entryMark,
  entryMarkMask,
  gatewayAddress,
  ingressLink,
  linkPrefix,
  masqueradeMark,
  tableName,
} from './names.ts';
import { branchName, type TablePlan, type TableView } from './nft.ts';
import { claimKey, hostIpOf, type PortKey, serviceOwner, taskOwner } from './port-key.ts';

export interface TableInput {
  readonly self: SelfRecord;
  readonly desired: Desired;
  readonly links: readonly GatewayLink[];
  readonly marks: ReadonlyMap<string, number>;
  readonly macs: ReadonlyMap<string, string>;
  /** Claims (`claimKey`) of published ports that are not this node's to take. */
  readonly refused: ReadonlySet<string>;
  /** What is in the kernel now. */
  readonly view: TableView | undefined;
}

const links = `"${linkPrefix}*"`;
const ours = `{ ${links}, "${ingressLink}" }`;
const dns = `meta l4proto { tcp, udp } th dport`;
const proto = 'meta l4proto . th dport';
const keyType = 'inet_proto . inet_service';
const hex = (value: number) => `0x${value.toString(16)}`;

const sets: TablePlan['sets'] = new Map([
  ['ports', { kind: 'map', type: `type ${keyType} : verdict;` }],
  ['ports_ip', { kind: 'map', type: `type ipv4_addr . ${keyType} : verdict;` }],
  ['hports', { kind: 'map', type: `type ${keyType} : ipv4_addr . inet_service;` }],
  ['hports_ip', { kind: 'map', type: `type ipv4_addr . ${keyType} : ipv4_addr . inet_service;` }],
  ['closed', { kind: 'set', type: `type ${keyType};` }],
  ['closed_ip', { kind: 'set', type: `type ipv4_addr . ${keyType};` }],
  ['admitted', { kind: 'set', type: `type ipv4_addr . ${keyType};` }],
  ['internal', { kind: 'set', type: 'type ipv4_addr;' }],
  ['loops', { kind: 'set', type: 'type ipv4_addr . ipv4_addr;' }],
  ['nodes', { kind: 'set', type: 'type ipv4_addr;' }],
  ['entries', { kind: 'map', type: 'type ether_addr : mark;' }],
]);

export interface HostTable {
  readonly plan: TablePlan;
  /** Addresses of containers that it sends connections to. */
  readonly backends: ReadonlySet<string>;
}

export function hostTable(input: TableInput): HostTable {
  const { elements, branches, backends } = publishedPorts(input, backendsByService(input));
  const { self, desired } = input;
  elements.set('nodes', keys(underlays(desired, 4)));
  elements.set('internal', keys(input.links.filter(({ internal }) => internal).map(({ address }) => address)));
  elements.set('entries', entriesOf(input));
  elements.set('admitted', keys(admitted(input)));
  return { plan: { family: 'ip', name: tableName, sets, chains: chainsOf(self), branches, elements }, backends };
}

/** Over an IPv6 underlay the guard of the VXLAN port is in a table of that family; otherwise there is nothing for IPv6 here. */
export function hostTable6({ underlay, dataPathPort }: SelfRecord, desired: Desired): TablePlan | undefined {
  if (familyOf(underlay) === 4) return undefined;
  return {
    family: 'ip6',
    name: tableName,
    sets: new Map([['nodes', { kind: 'set', type: 'type ipv6_addr;' }]]),
    chains: new Map([['guard', ['type filter hook prerouting priority raw;', guardOfPort('ip6', dataPathPort)]]]),
    branches: new Map(),
    elements: new Map([['nodes', keys(underlays(desired, 6))]]),
  };
}

export function familyOf(address: string): 4 | 6 {
  return parseAddress(address)?.family ?? 4;
}

/** Whoever reaches the VXLAN port can put frames into every network, so only nodes may. */
function guardOfPort(family: 'ip' | 'ip6', port: number): string {
  return `iifname != "lo" udp dport ${port} ${family} saddr != @nodes drop`;
}

function chainsOf(self: SelfRecord): TablePlan['chains'] {
  const gateway = gatewayAddress(self.gatewaySubnet);
  const fromEntry = `ct mark and ${hex(entryMarkMask)} == ${hex(entryMark)}`;
  return new Map<string, readonly string[]>([
    [
      'guard',
      [
        'type filter hook prerouting priority raw;',
        `iifname ${links} ip daddr 127.0.0.11 ${dns} 53 accept`,
        // route_localnet is on for our links; without this rule it would open the host's loopback services to containers.
        'iifname != "lo" ip daddr 127.0.0.0/8 drop',
        ...(familyOf(self.underlay) === 4 ? [guardOfPort('ip', self.dataPathPort)] : []),
      ],
    ],
    ['refuse', ['meta l4proto tcp reject with tcp reset', 'reject']],
    [
      'published',
      [
        `ip daddr . ${proto} vmap @ports_ip`,
        `dnat ip to ip daddr . ${proto} map @hports_ip`,
        `${proto} vmap @ports`,
        `dnat ip to ${proto} map @hports`,
      ],
    ],
    [
      'prerouting',
      [
        'type nat hook prerouting priority dstnat;',
        `iifname ${links} ip daddr 127.0.0.11 ${dns} 53 dnat to ${gateway}:${dnsPort}`,
        `iifname != "${ingressLink}" fib daddr type local jump published`,
      ],
    ],
    ['output', ['type nat hook output priority -100;', 'fib daddr type local jump published']],
    ['input', inputChain(gateway)],
    ['forward', forwardChain()],
    ['postrouting', postroutingChain(self.gatewaySubnet)],
    [
      'entry',
      [
        'type filter hook prerouting priority mangle;',
        `iifname "${ingressLink}" ct state new ct mark set ether saddr map @entries`,
        `iifname ${links} ct direction reply ${fromEntry} meta mark set ct mark`,
      ],
    ],
    [
      'unmark',
      [
        // VXLAN routes its outer packet by the inner one's mark: marked packets would run in circles.
        'type filter hook postrouting priority mangle;',
        `oifname "${ingressLink}" meta mark and ${hex(entryMarkMask)} == ${hex(entryMark)} meta mark set 0`,
      ],
    ],
  ]);
}

function inputChain(gateway: string): readonly string[] {
  return [
    'type filter hook input priority filter;',
    'ct state established,related accept',
    `iifname "${ingressLink}" drop`,
    `iifname != { "lo", ${links} } ip daddr ${gateway} ${dns} ${dnsPort} drop`,
    `iifname ${links} ip saddr @internal ip daddr ${gateway} ${dns} ${dnsPort} accept`,
    `iifname ${links} ip saddr @internal reject with icmp type admin-prohibited`,
    // Ports held for services: what was not sent on to a container has nobody to answer it.
    `fib daddr type local ip daddr . ${proto} @closed_ip goto refuse`,
    `fib daddr type local ${proto} @closed goto refuse`,
  ];
}

function forwardChain(): readonly string[] {
  return [
    'type filter hook forward priority filter;',
    'ct state established,related accept',
    `iifname "${ingressLink}" ip daddr . ${proto} @admitted accept`,
    `iifname "${ingressLink}" drop`,
    `iifname ${links} ip saddr @internal reject with icmp type admin-prohibited`,
    'ct status dnat accept',
    `iifname ${links} oifname ${ours} reject with icmp type admin-prohibited`,
    `oifname ${ours} drop`,
  ];
}

function postroutingChain(gatewaySubnet: string): readonly string[] {
  return [
    'type nat hook postrouting priority srcnat;',
    `oifname ${ours} ip saddr 127.0.0.0/8 masquerade`,
    `oifname ${ours} ct status dnat ip saddr . ip daddr @loops masquerade`,
    // They have no route but to the host.
    `oifname ${links} ip daddr @internal masquerade`,
    `oifname "${ingressLink}" ct mark ${hex(masqueradeMark)} masquerade`,
    `ip saddr ${gatewaySubnet} oifname != ${ours} masquerade`,
  ];
}

interface Backend {
  readonly address: string;
  /** Absent: on this node. */
  readonly peer?: PeerRecord;
}

/** Where connections to a service's published ports may go, in a stable order. */
function backendsByService({ self, desired, links: local }: TableInput): ReadonlyMap<string, readonly Backend[]> {
  const here = new Map(local.map((link) => [link.taskId, link.address]));
  const found = new Map<string, Backend[]>();
  const endpoints = [...desired.state.endpoints.values()].filter(
    ({ active, gateway }) => active && gateway !== undefined,
  );
  for (const endpoint of endpoints.toSorted((a, b) => (a.taskId < b.taskId ? -1 : 1))) {
    const backend = backendOf(endpoint, here, { self, desired });
    if (backend === undefined) continue;
    const list = found.get(endpoint.serviceId);
    if (list === undefined) found.set(endpoint.serviceId, [backend]);
    else list.push(backend);
  }
  return found;
}

function backendOf(
  endpoint: EndpointRecord,
  here: ReadonlyMap<string, string>,
  { self, desired }: Pick<TableInput, 'self' | 'desired'>,
): Backend | undefined {
  const { gateway: address = '', nodeId, taskId } = endpoint;
  if (nodeId === self.nodeId) return here.get(taskId) === address ? { address } : undefined;
  const peer = desired.state.peers.get(nodeId);
  const block = peer === undefined ? undefined : parseBlock(peer.gatewaySubnet);
  // An address that no link leads to would leave by the default route.
  return peer !== undefined && block !== undefined && contains(block, address) ? { address, peer } : undefined;
}

interface Published {
  readonly elements: Map<string, Map<string, string>>;
  readonly branches: Map<string, readonly string[]>;
  readonly backends: Set<string>;
}

function publishedPorts(input: TableInput, endpoints: ReadonlyMap<string, readonly Backend[]>): Published {
  const elements = new Map([...sets.keys()].map((set) => [set, new Map<string, string>()]));
  const branches = new Map<string, readonly string[]>();
  const backends = new Set<string>();
  const put = (set: string, { protocol, port, hostIp }: PortKey, value: string) => {
    const key = `${protocol} . ${port}`;
    const target = elements.get(hostIp === undefined ? set : `${set}_ip`);
    const full = hostIp === undefined ? key : `${hostIp} . ${key}`;
    if (target !== undefined && !target.has(full)) target.set(full, value);
  };
  // A connection that comes back to where it began must not carry its own address there.
  const lead = (to: string, from = to) => {
    backends.add(to);
    if (familyOf(from) === 4) elements.get('loops')?.set(`${from} . ${to}`, '');
  };
  for (const service of input.desired.state.services.values()) {
    for (const port of service.ports) {
      const key = { protocol: port.protocol, port: port.published, ...hostIpOf(port.hostIp) };
      if (input.refused.has(claimKey(serviceOwner(service.id), key))) continue;
      put('closed', key, '');
      const chosen = (endpoints.get(service.id) ?? []).filter(
        ({ peer }) => port.source !== 'local' || peer === undefined,
      );
      if (chosen.length === 0) continue;
      const rules = branchRules(port, chosen);
      branches.set(branchName(rules), rules);
      put('ports', key, `goto ${branchName(rules)}`);
      for (const { address, peer } of chosen) lead(address, peer?.underlay);
    }
  }
  for (const link of input.links) {
    for (const port of input.desired.sandboxes.get(link.taskId)?.hostPorts ?? []) {
      const key = { protocol: port.protocol, port: port.port, ...hostIpOf(port.hostIp) };
      if (input.refused.has(claimKey(taskOwner(link.taskId), key))) continue;
      put('closed', key, '');
      put('hports', key, `${link.address} . ${port.target}`);
      lead(link.address);
    }
  }
  return { elements, branches, backends };
}

function branchRules(port: IngressPort, backends: readonly Backend[]): readonly string[] {
  const match = `meta l4proto ${port.protocol}`;
  const [first] = backends;
  const targets = backends.map(({ address }, at) => `${at} : ${address} . ${port.target}`);
  const choice =
    backends.length === 1 && first !== undefined
      ? `dnat to ${first.address}:${port.target}`
      : `dnat ip to numgen inc mod ${backends.length} map { ${targets.join(', ')} }`;
  const mark = port.source === 'masquerade' ? [`${match} ct mark set ${hex(masqueradeMark)}`] : [];
  return [...mark, `${match} ${choice}`];
}

/**
 * What other nodes may send to containers here. A peer may still have a task in its maps that is to stop and is in no record
 * any more; turning it away would lose a request, so what was admitted stays so until the container is gone or its record says
 * otherwise.
 */
function admitted({ self, desired, links: local, view }: TableInput): readonly string[] {
  const held = [...(view?.sets.get('admitted')?.keys() ?? [])];
  return local.flatMap(({ taskId, address }) => {
    const endpoint = desired.state.endpoints.get(taskId);
    const service = endpoint === undefined ? undefined : desired.state.services.get(endpoint.serviceId);
    if (service === undefined || endpoint?.nodeId !== self.nodeId) {
      return held.filter((key) => key.startsWith(`${address} . `));
    }
    return service.ports
      .filter(({ source }) => source !== 'local')
      .map(({ protocol, target }) => `${address} . ${protocol} . ${target}`);
  });
}

function entriesOf({ desired, marks, macs }: TableInput): Map<string, string> {
  const found = new Map<string, string>();
  for (const peer of desired.state.peers.values()) {
    const [mark, mac] = [marks.get(peer.nodeId), macs.get(peer.nodeId)];
    if (mark !== undefined && mac !== undefined) found.set(mac, String(mark));
  }
  return found;
}

function underlays(desired: Desired, family: 4 | 6): readonly string[] {
  return [...desired.state.peers.values()]
    .map(({ underlay }) => canonical(underlay))
    .filter((one) => familyOf(one) === family);
}

function keys(list: readonly string[]): Map<string, string> {
  return new Map(list.map((key) => [key, '']));
}
