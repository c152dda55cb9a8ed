/** What the kernel holds of an overlay network, read with the tools' JSON output. */

import type { Kernel } from '../host/kernel.ts';
import { bridge, isPortName } from './names.ts';
import type { NetworkPlan, Underlay } from './plan.ts';
import { canonical } from './plan.ts';

export interface ObservedPort {
  readonly alias: string;
  readonly mtu: number;
  /** On the bridge, up, with the flags that it should have. */
  readonly ready: boolean;
}

export interface Observed {
  readonly lo: boolean;
  readonly bridgeExists: boolean;
  /** Its hardware address and MTU; undefined: there is none, or it is down. */
  readonly bridge: string | undefined;
  /** Everything about the VXLAN device that can not be changed; undefined: there is none. */
  readonly vxlan: string | undefined;
  /** On the bridge, up, right MTU and flags. */
  readonly vxlanReady: string | undefined;
  readonly ports: ReadonlyMap<string, ObservedPort>;
  readonly bridgeAddresses: ReadonlySet<string>;
  /** Hardware address → node, of the VXLAN device. */
  readonly remotes: ReadonlyMap<string, string>;
  /** `vx4097 02:42:…`: static entries of the bridge. */
  readonly statics: ReadonlySet<string>;
  readonly neighbours: ReadonlyMap<string, string>;
  readonly markers: ReadonlySet<string>;
  /** Families in which we have a table. */
  readonly tables: ReadonlySet<string>;
  /** By family, what this process has put into the tables; unknown of what was read from the kernel. */
  readonly entries: ReadonlyMap<string, { readonly body: string; readonly keys: ReadonlySet<string> }>;
  readonly settings: ReadonlyMap<string, string>;
}

interface LinkJson {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly address?: string;
  readonly master?: string;
  readonly ifalias?: string;
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: Readonly<Record<string, unknown>>;
    readonly info_slave_data?: Readonly<Record<string, unknown>>;
  };
}

interface AddressJson {
  readonly ifname?: string;
  readonly mtu?: number;
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number; readonly scope?: string }[];
}

interface FdbJson {
  readonly mac: string;
  readonly ifname: string;
  readonly dst?: string;
  readonly flags?: readonly string[];
  readonly state?: string;
}

interface NeighbourJson {
  readonly dst: string;
  readonly dev: string;
  readonly lladdr?: string;
}

/** Settings that virtual addresses rely on. A new namespace copies some of the host's and has others at the kernel's defaults. */
export function settingsOf(ipv6: boolean, bridgeNetfilter: boolean): ReadonlyMap<string, string> {
  const six = ipv6 ? '1' : '0';
  return new Map([
    ['ipv4/ip_forward', '1'],
    ['ipv4/conf/all/rp_filter', '0'],
    ['ipv4/conf/default/rp_filter', '0'],
    ['ipv4/conf/all/send_redirects', '0'],
    ['ipv4/conf/default/send_redirects', '0'],
    ['ipv6/conf/all/forwarding', six],
    ['ipv6/conf/default/accept_ra', '0'],
    // Without a link-local address that counts, the bridge asks for no neighbour: two seconds of lost packets after it came up.
    ['ipv6/conf/default/accept_dad', '0'],
    ['ipv6/conf/all/disable_ipv6', ipv6 ? '0' : '1'],
    ['ipv6/conf/default/disable_ipv6', ipv6 ? '0' : '1'],
    ...(bridgeNetfilter
      ? ([
          ['bridge/bridge-nf-call-iptables', '1'],
          ['bridge/bridge-nf-call-ip6tables', six],
          ['bridge/bridge-nf-call-arptables', '0'],
        ] as const)
      : []),
  ]);
}

const settingNames = [...settingsOf(true, true).keys()];
const settingsScript = `cd /proc/sys/net && grep -s '' ${settingNames.join(' ')}; nft -j list chains`;

export async function observeNetwork(kernel: Kernel, plan: NetworkPlan): Promise<Observed> {
  const { netns, vxlan } = plan;
  const [links, addresses, fdb, neighbours, inside] = await Promise.all([
    json<LinkJson>(kernel, 'ip', ['-n', netns, '-j', '-d', 'link', 'show']),
    json<AddressJson>(kernel, 'ip', ['-n', netns, '-j', 'addr', 'show']),
    json<FdbJson>(kernel, 'bridge', ['-n', netns, '-j', 'fdb', 'show']),
    json<NeighbourJson>(kernel, 'ip', ['-n', netns, '-j', 'neigh', 'show', 'nud', 'permanent']),
    kernel.read('nsenter', [`--net=/run/netns/${netns}`, 'sh', '-c', settingsScript]),
  ]);
  const entries = fdb.filter(({ ifname }) => ifname === vxlan.name);
  const own = neighbours.filter(({ dev }) => dev === vxlan.name);
  return {
    ...observedLinks(links, vxlan.name),
    bridgeAddresses: new Set(addressesOf(addresses.find(({ ifname }) => ifname === bridge))),
    remotes: new Map(entries.flatMap(({ mac, dst }) => (dst === undefined ? [] : [[mac, dst] as const]))),
    statics: new Set(
      fdb
        .filter(({ state, dst }) => state === 'static' && dst === undefined)
        .map(({ ifname, mac }) => `${ifname} ${mac}`),
    ),
    neighbours: new Map(own.map(({ dst, lladdr }) => [canonical(dst), lladdr ?? ''])),
    ...observedInside(inside),
    entries: new Map(),
  };
}

function observedLinks(links: readonly LinkJson[], vxlanName: string) {
  const find = (name: string) => links.find(({ ifname }) => ifname === name);
  const [lo, br, vx] = [find('lo'), find(bridge), find(vxlanName)];
  const ports = links.filter(({ ifname }) => isPortName(ifname));
  const port = (link: LinkJson): ObservedPort => ({
    alias: link.ifalias ?? '',
    mtu: link.mtu,
    ready: attached(link) && flag(link, 'hairpin') && !flag(link, 'learning') && !flag(link, 'flood'),
  });
  const vxReady = vx !== undefined && attached(vx) && !flag(vx, 'learning') && !flag(vx, 'flood');
  return {
    lo: isUp(lo),
    bridgeExists: br !== undefined,
    bridge: br !== undefined && isUp(br) ? bridgeState(br.address ?? '', br.mtu) : undefined,
    vxlan: vx === undefined ? undefined : vxlanState(vx),
    vxlanReady: vxReady ? `${vx.mtu}` : undefined,
    ports: new Map(ports.map((link) => [link.ifname, port(link)])),
  };
}

function isUp(link: LinkJson | undefined): boolean {
  return link?.flags.includes('UP') ?? false;
}

function attached(link: LinkJson): boolean {
  return isUp(link) && link.master === bridge;
}

function flag(link: LinkJson, name: string): boolean {
  return link.linkinfo?.info_slave_data?.[name] === true;
}

export function bridgeState(mac: string, mtu: number): string {
  return `${mac} ${mtu}`;
}

function vxlanState(link: LinkJson): string {
  const data = link.linkinfo?.info_data ?? {};
  const flags = `${data['learning'] === true ? 'learning ' : ''}${data['proxy'] === true ? 'proxy' : ''}`;
  return `${String(data['id'])} ${String(data['port'])} ${String(data['local'] ?? data['local6'] ?? '')} ${flags}`;
}

export function wantedVxlan({ vxlan }: NetworkPlan): string {
  const local = vxlan.local === undefined ? '' : canonical(vxlan.local);
  return `${vxlan.vni} ${vxlan.port} ${local} proxy`;
}

function addressesOf(link: AddressJson | undefined): readonly string[] {
  return (link?.addr_info ?? [])
    .filter(({ scope }) => scope !== 'link')
    .map(({ local = '', prefixlen = 0 }) => `${local}/${prefixlen}`);
}

/** Lines `name:value` of the settings, then the chains as JSON. */
function observedInside(text: string) {
  const start = text.indexOf('{');
  const listing = JSON.parse(start < 0 ? '{}' : text.slice(start)) as {
    readonly nftables?: readonly {
      readonly chain?: { readonly family: string; readonly table: string; readonly name: string };
    }[];
  };
  const chains = (listing.nftables ?? []).flatMap(({ chain }) => (chain?.table === 'tsc' ? [chain] : []));
  const lines = text.slice(0, Math.max(0, start)).split('\n');
  const settings = new Map(
    lines.flatMap((line) => {
      const colon = line.indexOf(':');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
    }),
  );
  return {
    markers: new Set(chains.filter(({ name }) => name.startsWith('v_')).map(({ family, name }) => `${family} ${name}`)),
    tables: new Set(chains.map(({ family }) => family)),
    settings,
  };
}

/** What the kernel holds after the plan has been carried out: spares reading it back. */
export function asObserved(
  plan: NetworkPlan,
  before: Observed | undefined,
  settings: ReadonlyMap<string, string>,
): Observed {
  const { vxlan, mtu, ports, remotes, neighbours } = plan;
  return {
    lo: true,
    bridgeExists: true,
    bridge: bridgeState(plan.bridgeMac, mtu),
    vxlan: wantedVxlan(plan),
    vxlanReady: `${mtu}`,
    ports: new Map(ports.map(({ name, alias }) => [name, { alias, mtu, ready: true }])),
    bridgeAddresses: new Set(plan.bridgeAddresses.map(canonicalBlock)),
    remotes,
    statics: new Set([
      ...ports.map(({ name, mac }) => `${name} ${mac}`),
      ...[...remotes.keys()].map((mac) => `${vxlan.name} ${mac}`),
    ]),
    neighbours,
    markers: new Set(plan.tables.map(({ marker }) => marker)),
    tables: new Set(plan.tables.map(({ family }) => family)),
    entries: new Map(
      plan.tables.map(({ family, body, entries }) => [family, { body, keys: new Set(entries.keys()) }] as const),
    ),
    settings: new Map([...(before?.settings ?? []), ...settings]),
  };
}

export function canonicalBlock(block: string): string {
  const [address = '', prefix = ''] = block.split('/');
  return `${canonical(address)}/${prefix}`;
}

/** The host's own network: how large a packet may be, and whether the underlay address is on it. */
export async function observeUnderlay(kernel: Kernel, address: string): Promise<Underlay> {
  const [links, routes] = await Promise.all([
    json<AddressJson>(kernel, 'ip', ['-j', 'addr', 'show']),
    json<{ readonly dev?: string }>(kernel, 'ip', ['-j', 'route', 'show', 'default']),
  ]);
  const wanted = canonical(address);
  const own = links.find(({ addr_info = [] }) => addr_info.some(({ local }) => local === wanted));
  const way = links.find(({ ifname }) => ifname === routes[0]?.dev);
  return { local: own !== undefined, mtu: own?.mtu ?? way?.mtu ?? 1500 };
}

/** Interfaces of a container's namespace and their alias. */
export async function observeAliases(kernel: Kernel, netns: string): Promise<ReadonlyMap<string, string>> {
  const links = await json<LinkJson>(kernel, 'ip', ['-n', netns, '-j', 'link', 'show']);
  return new Map(links.map(({ ifname, ifalias }) => [ifname, ifalias ?? '']));
}

export async function linkNames(kernel: Kernel, netns: string): Promise<readonly string[]> {
  const links = await json<LinkJson>(kernel, 'ip', ['-n', netns, '-j', 'link', 'show']);
  return links.map(({ ifname }) => ifname);
}

/** `ip` and `bridge` print nothing at all for an empty list. */
async function json<T>(kernel: Kernel, program: string, args: readonly string[]): Promise<readonly T[]> {
  const text = (await kernel.read(program, args)).trim();
  return text === '' ? [] : (JSON.parse(text) as readonly T[]);
}
