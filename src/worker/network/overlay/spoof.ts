/**
 * Containers may only speak as themselves: a bridge-family table that lets a frame in by its port, hardware address and IP address
 * together. What comes from other nodes and from the bridge itself is let in. Pure.
 */
import { parseAddress, withoutPrefix } from '../../../model/ip.ts';
import { bridge, hash8, table } from './names.ts';
import type { PortPlan } from './plan.ts';

/** One table; the name of an empty chain tells which text made it. */
export interface TablePlan {
  readonly family: 'bridge' | 'ip' | 'ip6';
  /** `ip v_1234abcd`. */
  readonly marker: string;
  /** For `nft -f -`: replaces the table as a whole in one transaction; connection tracking survives. */
  readonly text: string;
  /** What stays the same whatever the entries are. */
  readonly body: string;
  /** Elements and rules by what they are for: a table that lacks only whole entries can be completed, which is quicker. */
  readonly entries: ReadonlyMap<string, readonly string[]>;
}

export function tablePlan(
  family: TablePlan['family'],
  body: readonly string[],
  more: ReadonlyMap<string, readonly string[]>,
): TablePlan {
  const rest = [...more.values()].flat();
  const chain = `v_${hash8([family, ...body, ...rest].join('\n'))}`;
  const lines = [
    `table ${family} ${table} { }`,
    `delete table ${family} ${table}`,
    `table ${family} ${table} {`,
    ` chain ${chain} { }`,
    ...body,
    '}',
    ...rest,
    '',
  ];
  return { family, marker: `${family} ${chain}`, text: lines.join('\n'), body: body.join('\n'), entries: more };
}

/** Completes a table that has all entries but these. */
export function completion(plan: TablePlan, entries: Iterable<string>): string {
  const lines = [...entries].flatMap((key) => plan.entries.get(key) ?? []);
  return [...lines, `add chain ${plan.marker.replace(' ', ` ${table} `)}`, ''].join('\n');
}

export function spoofTable(ports: readonly PortPlan[], ipv6: boolean): TablePlan {
  const body = [
    ' set own4 { type ifname . ether_addr . ipv4_addr; }',
    ...(ipv6 ? sixSets : []),
    ' chain c_pre {',
    '  type filter hook prerouting priority -300; policy accept;',
    `  iifname "vx*" accept`,
    `  iifname "${bridge}" accept`,
    '  ether type ip iifname . ether saddr . ip saddr @own4 accept',
    '  ether type arp iifname . ether saddr . arp saddr ip @own4 accept',
    ...(ipv6 ? ['  ether type ip6 iifname . ether saddr @macs jump c_six'] : []),
    '  drop',
    ' }',
  ];
  return tablePlan('bridge', body, new Map(ports.map((port) => [port.alias, portLines(port, ipv6)])));
}

/** Neighbour advertisements may name one's own addresses only (link-local ones are checked by the hardware address alone). */
const sixSets = [
  ' set own6 { type ifname . ether_addr . ipv6_addr; }',
  ' set macs { type ifname . ether_addr; }',
  ' chain c_nd { }',
  ' chain c_six {',
  '  icmpv6 type { nd-router-advert, nd-redirect } drop',
  '  icmpv6 type nd-neighbor-advert goto c_nd',
  '  ip6 saddr fe80::/10 accept',
  '  ip6 saddr :: icmpv6 type nd-neighbor-solicit accept',
  '  iifname . ether saddr . ip6 saddr @own6 accept',
  '  drop',
  ' }',
];

function portLines({ name, mac, addresses }: PortPlan, ipv6: boolean): readonly string[] {
  const bare = addresses.map(withoutPrefix);
  const [four, six] = [
    bare.filter((address) => !address.includes(':')),
    bare.filter((address) => address.includes(':')),
  ];
  const element = (address: string) => `"${name}" . ${mac} . ${address}`;
  const targets = six.map((address) => `0x${(parseAddress(address)?.value ?? 0n).toString(16)}`);
  return [
    ...(four.length > 0 ? [`add element bridge ${table} own4 { ${four.map(element).join(', ')} }`] : []),
    ...(ipv6 ? [`add element bridge ${table} macs { "${name}" . ${mac} }`] : []),
    ...(six.length > 0 ? [`add element bridge ${table} own6 { ${six.map(element).join(', ')} }`] : []),
    ...targets.map((target) => `add rule bridge ${table} c_nd iifname "${name}" @th,64,128 ${target} accept`),
    ...(ipv6 ? [`add rule bridge ${table} c_nd iifname "${name}" @th,64,10 0x3fa accept`] : []),
  ];
}
