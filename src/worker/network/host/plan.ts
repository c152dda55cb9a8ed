/** What the host's namespace must hold besides tables: devices, addresses, routes, rules, settings. Pure. */
import { formatBlock, macOf, overlaps, parseBlock } from '../../../model/ip.ts';
import { ingressVni, type PeerRecord, type SelfRecord } from '../../../model/network.ts';
import type { NetworkProblem } from '../../../model/objects.ts';
import type { Desired } from '../planes.ts';
import { type GatewayLink, gatewayLink } from './link.ts';
import {
  canonical,
  entryMark,
  entryMarkMask,
  gatewayAddress,
  ingressLink,
  linkPrefix,
  markOf,
  routeProtocol,
  rulePreference,
} from './names.ts';
import { familyOf } from './table.ts';

export interface HostPlan {
  readonly self: SelfRecord;
  readonly gateway: string;
  readonly links: readonly GatewayLink[];
  readonly ingress: IngressDevice;
  /** By node: mark and routing table; peers beyond what marks can count have none and get masqueraded answers only. */
  readonly marks: ReadonlyMap<string, number>;
  /** By node. */
  readonly macs: ReadonlyMap<string, string>;
  /** As `ip route` writes them. */
  readonly routes: ReadonlySet<string>;
  /** As `ip rule add` takes them. */
  readonly rules: ReadonlySet<string>;
  /** Hardware address → underlay address. */
  readonly forwarding: ReadonlyMap<string, string>;
  /** Ingress address → hardware address. */
  readonly neighbours: ReadonlyMap<string, string>;
}

export interface IngressDevice {
  readonly mac: string;
  readonly address: string;
  readonly underlay: string;
  readonly port: number;
}

/** `internal`: ids of tasks that have no way out. */
export function planHost(self: SelfRecord, desired: Desired, internal: ReadonlySet<string>): HostPlan {
  const gateway = gatewayAddress(self.gatewaySubnet);
  const links = [...desired.sandboxes.values()].flatMap((sandbox) => gatewayLink(sandbox, gateway, internal) ?? []);
  const peers = [...desired.state.peers.values()].filter(({ nodeId }) => nodeId !== self.nodeId);
  const marks = new Map<string, number>();
  for (const { nodeId, ingressAddress } of peers) {
    const mark = markOf(ingressAddress, self.ingressPool);
    if (mark !== undefined) marks.set(nodeId, mark);
  }
  const mac = macOf(self.ingressAddress);
  return {
    self,
    gateway,
    links,
    ingress: { mac, address: self.ingressAddress, underlay: canonical(self.underlay), port: self.dataPathPort },
    marks,
    macs: new Map(peers.map(({ nodeId, ingressAddress }) => [nodeId, macOf(ingressAddress)])),
    routes: new Set([
      // Addresses of containers that are gone must not leave by the default route.
      `unreachable ${self.gatewaySubnet}`,
      ...links.map(({ address, name }) => `${address} dev ${name}`),
      ...peers.flatMap((peer) => peerRoutes(peer, marks.get(peer.nodeId))),
    ]),
    rules: new Set(routingRules([...marks.values()], self.gatewaySubnet)),
    forwarding: new Map(peers.map(({ ingressAddress, underlay }) => [macOf(ingressAddress), canonical(underlay)])),
    neighbours: new Map(peers.map(({ ingressAddress }) => [ingressAddress, macOf(ingressAddress)])),
  };
}

function peerRoutes({ gatewaySubnet, ingressAddress }: PeerRecord, mark: number | undefined): readonly string[] {
  const way = `via ${ingressAddress} dev ${ingressLink} onlink`;
  return [
    `${ingressAddress} dev ${ingressLink}`,
    `${gatewaySubnet} ${way}`,
    ...(mark === undefined ? [] : [`default ${way} table ${mark}`]),
  ];
}

function routingRules(marks: readonly number[], gatewaySubnet: string): readonly string[] {
  const hex = (value: number) => `0x${value.toString(16)}`;
  const { skip, own, peers, end } = rulePreference;
  if (marks.length === 0) return [];
  return [
    `pref ${skip} not fwmark ${hex(entryMark)}/${hex(entryMarkMask)} goto ${end}`,
    // Where the mark counts for the check of source addresses (`src_valid_mark`), containers are still behind their links.
    `pref ${own} to ${gatewaySubnet} lookup main`,
    ...marks.map((mark) => `pref ${peers} fwmark ${hex(mark)} lookup ${mark}`),
    `pref ${end} nop`,
  ];
}

export function ingressLines({ mac, address, underlay, port }: IngressDevice, mtu: number): readonly string[] {
  return [
    `link add ${ingressLink} address ${mac} mtu ${mtu} type vxlan id ${ingressVni} dstport ${port} local ${underlay} nolearning`,
    `addr add ${address}/32 dev ${ingressLink}`,
  ];
}

/** Written before the device is up. */
export const ingressSettings: ReadonlyMap<string, string> = new Map([
  // Clients' own addresses arrive here, whatever interface leads to them.
  [`ipv4/conf/${ingressLink}/rp_filter`, '2'],
  [`ipv4/conf/${ingressLink}/route_localnet`, '1'],
  [`ipv6/conf/${ingressLink}/disable_ipv6`, '1'],
]);

/** VXLAN's headers: the outer IP and UDP headers, its own, and the inner Ethernet header. */
export function innerMtu(underlayMtu: number, underlay: string): number {
  return underlayMtu - (familyOf(underlay) === 6 ? 70 : 50);
}

export interface HostRoute {
  readonly destination: string;
  readonly device: string;
  readonly protocol: string;
}

/** The host's own networks that the cluster's addresses would hide, or be hidden by. */
export function overlapProblems({ state }: Desired, routes: readonly HostRoute[]): readonly NetworkProblem[] {
  const { self } = state;
  if (self === undefined) return [];
  const foreign = routes.flatMap(({ destination, device, protocol }) => {
    const block = parseBlock(destination.includes('/') ? destination : `${destination}/32`);
    const isOurs = protocol === routeProtocol || device === ingressLink || device.startsWith(linkPrefix);
    return block === undefined || isOurs || device === 'lo' ? [] : [{ block, device }];
  });
  const problems: NetworkProblem[] = [];
  const check = (text: string, what: string, advice: string, networkId?: string) => {
    const block = parseBlock(text);
    const clash = block === undefined ? undefined : foreign.find((route) => overlaps(route.block, block));
    if (block === undefined || clash === undefined) return;
    const by = clash.device === '' ? '' : ` of ${clash.device}`;
    const message = `${what} ${formatBlock(block)} overlaps this host's route to ${formatBlock(clash.block)}${by}: hosts there may be out of reach; ${advice}`;
    problems.push({ ...(networkId === undefined ? {} : { networkId }), message });
  };
  for (const pool of self.gatewayPools) check(pool, 'the gateway pool', 'choose another with --gateway-pool at init');
  check(self.ingressPool, 'the ingress pool', 'choose another with --ingress-pool at init');
  for (const { id, name, subnets, driver } of state.networks.values()) {
    // The others are the host's own networks.
    if (driver !== 'overlay') continue;
    const advice = 'choose another with --subnet, or pools with --default-addr-pool at init';
    for (const { subnet } of subnets) check(subnet, `network ${name}: subnet`, advice, id);
  }
  return problems;
}
