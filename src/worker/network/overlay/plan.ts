/** What an overlay network should look like on this node. Pure: records in, a plan out; `changes.ts` turns it into lines. */
import { contains, macOf, parseAddress, parseBlock, withoutPrefix } from '../../../model/ip.ts';
import type { NetworkRecord, NetworkState, SelfRecord } from '../../../model/network.ts';
import type { Desired, SandboxRecord } from '../planes.ts';
import { hash8, networkNetns, portName, vxlanName } from './names.ts';
import { spoofTable, type TablePlan } from './spoof.ts';
import { vipTables } from './vip.ts';

/** What the host's own network tells. */
export interface Underlay {
  readonly mtu: number;
  /** The underlay address is on an interface here; else packets leave with whatever address their route gives. */
  readonly local: boolean;
}

export interface VxlanPlan {
  readonly name: string;
  readonly vni: number;
  readonly port: number;
  readonly local: string | undefined;
}

/** One container's link to the network. */
export interface PortPlan {
  readonly name: string;
  /** The container's namespace, and the interface's name there. */
  readonly netns: string;
  readonly device: string;
  readonly mac: string;
  /** With prefix. */
  readonly addresses: readonly string[];
  /** The network's other subnets: on the same link. */
  readonly routes: readonly string[];
  readonly ipv6: boolean;
  /** Says what it was wired for: a link with another one is wired again from scratch. */
  readonly alias: string;
}

export interface NetworkPlan {
  readonly id: string;
  readonly netns: string;
  readonly vxlan: VxlanPlan;
  readonly mtu: number;
  readonly bridgeMac: string;
  /** Gateways with their subnets' prefix and virtual addresses alone. */
  readonly bridgeAddresses: readonly string[];
  readonly ipv6: boolean;
  readonly ports: readonly PortPlan[];
  /** Hardware address of an endpoint elsewhere → its node. */
  readonly remotes: ReadonlyMap<string, string>;
  /** IP address of an endpoint elsewhere → its hardware address. */
  readonly neighbours: ReadonlyMap<string, string>;
  readonly tables: readonly TablePlan[];
}

const mtuOption = 'com.docker.network.driver.mtu';
const mtuMin = 68;
/** Outer Ethernet, IP, UDP and VXLAN headers. */
const overheadBytes = { 4: 50, 6: 70 } as const;

export function planNetwork(
  network: NetworkRecord,
  self: SelfRecord,
  context: { readonly desired: Desired; readonly prefix: string; readonly underlay: Underlay },
): NetworkPlan {
  const { desired, prefix, underlay } = context;
  const ports = [...desired.sandboxes.values()].flatMap((sandbox) => portsOf(sandbox, network));
  const { remotes, neighbours } = elsewhere(network.id, self, desired.state);
  const vips = vipTables({ network, self, state: desired.state, ports });
  const gateways = network.subnets.map(({ subnet, gateway }) => `${gateway}/${subnet.split('/')[1] ?? ''}`);
  const ipv6 = network.subnets.some(({ subnet }) => subnet.includes(':'));
  return {
    id: network.id,
    netns: networkNetns(prefix, network.id),
    vxlan: {
      name: vxlanName(network.vni),
      vni: network.vni,
      port: self.dataPathPort,
      local: underlay.local ? self.underlay : undefined,
    },
    mtu: mtuOf(network, self, underlay),
    bridgeMac: macOf(network.subnets[0]?.gateway ?? ''),
    bridgeAddresses: [...gateways, ...vips.addresses.map(alone)],
    ipv6,
    ports,
    remotes,
    neighbours,
    tables: [spoofTable(ports, ipv6), ...vips.tables],
  };
}

/** Networks that have a container here. */
export function networksInUse(desired: Desired): readonly NetworkRecord[] {
  const ids = new Set(
    [...desired.sandboxes.values()].flatMap(({ attachments }) => attachments.map((a) => a.networkId)),
  );
  return [...ids].flatMap((id) => {
    const network = desired.state.networks.get(id);
    return network === undefined ? [] : [network];
  });
}

function portsOf(sandbox: SandboxRecord, network: NetworkRecord): readonly PortPlan[] {
  const index = sandbox.attachments.findIndex(({ networkId }) => networkId === network.id);
  const attachment = sandbox.attachments[index];
  const [first] = attachment?.addresses ?? [];
  if (attachment === undefined || first === undefined) return [];
  const port = {
    name: portName(sandbox.taskId, network.id),
    netns: sandbox.netns,
    device: `eth${index}`,
    mac: macOf(withoutPrefix(first)),
    addresses: attachment.addresses,
    routes: otherSubnets(network, attachment.addresses),
    ipv6: attachment.addresses.some((address) => address.includes(':')),
  };
  return [{ ...port, alias: `tsc:${hash8(JSON.stringify(port))}` }];
}

function otherSubnets(network: NetworkRecord, addresses: readonly string[]): readonly string[] {
  const families = new Set(addresses.map((address) => address.includes(':')));
  return network.subnets
    .map(({ subnet }) => subnet)
    .filter((subnet) => {
      const block = parseBlock(subnet);
      if (block === undefined || !families.has(subnet.includes(':'))) return false;
      return !addresses.some((address) => contains(block, withoutPrefix(address)));
    });
}

interface Elsewhere {
  readonly remotes: ReadonlyMap<string, string>;
  readonly neighbours: ReadonlyMap<string, string>;
}

/** Containers are wired one after the other under one state: of a large network this part is most of the work. */
const elsewhereOf = new WeakMap<NetworkState, Map<string, Elsewhere>>();

function elsewhere(networkId: string, self: SelfRecord, state: NetworkState): Elsewhere {
  const known = elsewhereOf.get(state) ?? new Map<string, Elsewhere>();
  elsewhereOf.set(state, known);
  const found = known.get(networkId) ?? findElsewhere(networkId, self, state);
  known.set(networkId, found);
  return found;
}

/** Only endpoints on other nodes: never virtual addresses or gateways, which every node has itself. */
function findElsewhere(networkId: string, self: SelfRecord, state: NetworkState): Elsewhere {
  const remotes = new Map<string, string>();
  const neighbours = new Map<string, string>();
  for (const endpoint of state.endpoints.values()) {
    const node = endpoint.nodeId === self.nodeId ? undefined : state.peers.get(endpoint.nodeId);
    const addresses = endpoint.attachments.find((attachment) => attachment.networkId === networkId)?.addresses ?? [];
    const [first] = addresses;
    if (node === undefined || first === undefined) continue;
    const mac = macOf(withoutPrefix(first));
    remotes.set(mac, canonical(node.underlay));
    for (const address of addresses) neighbours.set(canonical(withoutPrefix(address)), mac);
  }
  return { remotes, neighbours };
}

/** As `ip` prints it, for comparing. */
export function canonical(address: string): string {
  return address.includes(':') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}

function alone(address: string): string {
  const bare = withoutPrefix(address);
  return `${bare}/${parseAddress(bare)?.family === 6 ? 128 : 32}`;
}

function mtuOf(network: NetworkRecord, self: SelfRecord, underlay: Underlay): number {
  const option = Number(network.options[mtuOption] ?? 0);
  if (Number.isInteger(option) && option >= mtuMin) return option;
  return underlay.mtu - overheadBytes[self.underlay.includes(':') ? 6 : 4];
}
