/**
 * Virtual addresses of services: destination NAT in the network's namespace on bridged frames (br_netfilter), so that backends see
 * the client's own address. Round robin over the active endpoints; without one, connections are refused at once. Pure.
 */
import { contains, parseBlock, withoutPrefix } from '../../../model/ip.ts';
import type { NetworkRecord, NetworkState, SelfRecord } from '../../../model/network.ts';
import { hash8 } from './names.ts';
import type { PortPlan } from './plan.ts';
import { type TablePlan, tablePlan } from './spoof.ts';

export interface VipInput {
  readonly network: NetworkRecord;
  readonly self: SelfRecord;
  readonly state: NetworkState;
  /** Containers of the network here. */
  readonly ports: readonly PortPlan[];
}

interface VirtualAddress {
  readonly address: string;
  readonly backends: readonly string[];
}

export function vipTables(input: VipInput): {
  readonly addresses: readonly string[];
  readonly tables: readonly TablePlan[];
} {
  const all = virtualAddresses(input);
  const families = new Set(input.network.subnets.map(({ subnet }) => (subnet.includes(':') ? 'ip6' : 'ip')));
  return {
    addresses: all.map(({ address }) => address),
    tables: [...families].map((family) =>
      vipTable(
        family,
        all.filter(({ address }) => address.includes(':') === (family === 'ip6')),
        input.network,
      ),
    ),
  };
}

function virtualAddresses({ network, self, state, ports }: VipInput): readonly VirtualAddress[] {
  const backends = activeAddresses(network.id, self, state, ports);
  const found: VirtualAddress[] = [];
  for (const service of state.services.values()) {
    if (service.mode !== 'vip') continue;
    const addresses = service.networks.find(({ networkId }) => networkId === network.id)?.addresses ?? [];
    for (const address of addresses.map(withoutPrefix)) {
      const own = (backends.get(service.id) ?? []).filter((one) => one.includes(':') === address.includes(':'));
      // Every replacement of a table starts its rounds anew: not all nodes with the same backend.
      const start = own.length === 0 ? 0 : Number.parseInt(hash8(`${self.nodeId} ${service.id}`), 16) % own.length;
      found.push({ address, backends: [...own.slice(start), ...own.slice(0, start)] });
    }
  }
  return found.toSorted((a, b) => (a.address < b.address ? -1 : 1));
}

/** By service. An endpoint that should be here and is not would swallow what is sent to it. */
function activeAddresses(networkId: string, self: SelfRecord, state: NetworkState, ports: readonly PortPlan[]) {
  const here = new Set(ports.flatMap((port) => port.addresses.map(withoutPrefix)));
  const found = new Map<string, string[]>();
  for (const { serviceId, nodeId, active, attachments } of state.endpoints.values()) {
    const attachment = attachments.find((one) => one.networkId === networkId);
    if (!active || attachment === undefined) continue;
    const addresses = attachment.addresses.map(withoutPrefix);
    const reachable = nodeId === self.nodeId ? addresses.every((one) => here.has(one)) : state.peers.has(nodeId);
    if (!reachable) continue;
    const list = found.get(serviceId) ?? [];
    list.push(...addresses);
    found.set(serviceId, list);
  }
  for (const list of found.values()) list.sort();
  return found;
}

function vipTable(family: 'ip' | 'ip6', all: readonly VirtualAddress[], network: NetworkRecord): TablePlan {
  const type = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const served = all.filter(({ backends }) => backends.length > 0);
  const refused = all.filter(({ backends }) => backends.length === 0).map(({ address }) => address);
  const own = [...new Set(served.flatMap(({ backends }) => backends))].toSorted();
  const body = [
    ` map vips { type ${type} : verdict; }`,
    ` set nobk { type ${type}; ${elements(refused)} }`,
    ...served.map(({ backends }, at) => ` chain s_${at} { ${balance(backends)}; }`),
    ' chain c_pre {',
    '  type nat hook prerouting priority dstnat;',
    `  ${family} daddr vmap @vips`,
    ' }',
    ' chain c_in {',
    '  type filter hook input priority filter;',
    `  ${family} daddr @nobk meta l4proto tcp reject with tcp reset`,
    `  ${family} daddr @nobk reject`,
    ' }',
    ...hairpin(family, own, network),
  ];
  const map = served.map(({ address }, at) => `${address} : goto s_${at}`);
  const vips = `add element ${family} tsc vips { ${map.join(', ')} }`;
  return tablePlan(family, body, new Map(map.length === 0 ? [] : [[vips, [vips]]]));
}

function balance(backends: readonly string[]): string {
  const [only, ...others] = backends;
  if (only !== undefined && others.length === 0) return `dnat to ${only}`;
  const map = backends.map((address, at) => `${at} : ${address}`).join(', ');
  return `dnat to numgen inc mod ${backends.length} map { ${map} }`;
}

/** A client that is sent to itself would answer itself past the translation: it sees the gateway instead, once per subnet. */
function hairpin(family: 'ip' | 'ip6', backends: readonly string[], network: NetworkRecord): readonly string[] {
  const type = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const pairs = backends.map((address) => `${address} . ${address}`);
  const subnets = network.subnets.filter(({ subnet }) => subnet.includes(':') === (family === 'ip6'));
  const gateways = subnets.filter(({ subnet }) => {
    const block = parseBlock(subnet);
    return block !== undefined && backends.some((address) => contains(block, address));
  });
  return [
    ` set self { type ${type} . ${type}; ${elements(pairs)} }`,
    ' chain c_post {',
    '  type nat hook postrouting priority srcnat;',
    ...gateways.map(
      ({ subnet, gateway }) => `  ${family} saddr . ${family} daddr @self ${family} saddr ${subnet} snat to ${gateway}`,
    ),
    ' }',
  ];
}

function elements(list: readonly string[]): string {
  return list.length === 0 ? '' : `elements = { ${list.join(', ')} };`;
}
