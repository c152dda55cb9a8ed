/** What the kernel holds in the host's namespace, read with `ip`, `bridge` and `nft` in a handful of processes. */
import { isMissing, type Kernel } from './kernel.ts';
import { ingressLink, linkPrefix, loopbackLabel, routeProtocol, ruleComment, tableName } from './names.ts';
import { entries, field, parseTable, type TableView, text } from './nft.ts';
import type { HostRoute } from './plan.ts';

export interface LinkView {
  readonly name: string;
  readonly alias: string;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly mac: string;
  readonly addresses: readonly { readonly address: string; readonly prefix: number; readonly label: string }[];
  /** Of VXLAN devices. */
  readonly vxlan?: { readonly id: number; readonly port: number; readonly local: string; readonly learning: boolean };
}

export interface HostView {
  readonly links: ReadonlyMap<string, LinkView>;
  /** Our routes, as `ip route` writes them. */
  readonly routes: ReadonlySet<string>;
  /** Everybody's routes in the main table, without the default ones. */
  readonly allRoutes: readonly HostRoute[];
  readonly rules: ReadonlySet<string>;
  readonly forwarding: ReadonlyMap<string, string>;
  readonly neighbours: ReadonlyMap<string, string>;
  readonly chains: readonly ChainView[];
}

export interface ChainView {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: string;
  readonly policy: string;
}

type Fields = Readonly<Record<string, unknown>>;

export async function observeHost(kernel: Kernel): Promise<HostView> {
  const [links, routes, rules, forwarding, neighbours, chains] = await Promise.all([
    kernel.read('ip', ['-j', '-d', 'addr', 'show']),
    kernel.read('ip', ['-j', '-4', 'route', 'show', 'table', 'all']),
    kernel.read('ip', ['-j', '-4', 'rule', 'show']),
    orEmpty(kernel.read('bridge', ['-j', 'fdb', 'show', 'dev', ingressLink])),
    orEmpty(kernel.read('ip', ['-j', '-4', 'neigh', 'show', 'dev', ingressLink, 'nud', 'permanent'])),
    kernel.read('nft', ['-j', 'list', 'chains']),
  ]);
  const allRoutes = list(routes);
  return {
    links: new Map(list(links).map((item) => [text(item['ifname']), linkView(item)])),
    routes: new Set(allRoutes.filter(isOurs).map(routeText)),
    allRoutes: allRoutes.filter((item) => item['table'] === undefined && item['dst'] !== 'default').map(hostRoute),
    rules: new Set(
      list(rules)
        .filter((item) => text(item['protocol']) === routeProtocol)
        .map(ruleText),
    ),
    forwarding: pairs(list(forwarding), 'mac', 'dst'),
    neighbours: pairs(list(neighbours), 'dst', 'lladdr'),
    chains: entries(chains).flatMap((item) => chainView(field(item, 'chain'))),
  };
}

/** Undefined when there is no such table. */
export async function observeTable(kernel: Kernel, family: 'ip' | 'ip6'): Promise<TableView | undefined> {
  try {
    return parseTable(await kernel.read('nft', ['-j', 'list', 'table', family, tableName]));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Rules of ours in somebody else's chain: their handles by what they say. */
export async function observeForeignRules(kernel: Kernel, chain: ChainView): Promise<ReadonlyMap<string, number>> {
  const json = await kernel.read('nft', ['-j', 'list', 'chain', chain.family, chain.table, chain.name]);
  const found = new Map<string, number>();
  for (const item of entries(json)) {
    const rule = field(item, 'rule');
    if (rule === undefined || !text(rule['comment']).startsWith(`${ruleComment}: `)) continue;
    found.set(text(rule['comment']).slice(ruleComment.length + 2), Number(rule['handle']));
  }
  return found;
}

export function foreignRuleText(kernel: Kernel, chain: ChainView): Promise<string> {
  return kernel.read('nft', ['list', 'chain', chain.family, chain.table, chain.name]);
}

async function orEmpty(answer: Promise<string>): Promise<string> {
  try {
    return await answer;
  } catch (error) {
    if (isMissing(error)) return '[]';
    throw error;
  }
}

function list(json: string): readonly Fields[] {
  const parsed: unknown = json.trim() === '' ? [] : JSON.parse(json);
  return Array.isArray(parsed) ? (parsed as Fields[]) : [];
}

function linkView(item: Fields): LinkView {
  const info = field(item, 'linkinfo');
  const data = info?.['info_kind'] === 'vxlan' ? field(info, 'info_data') : undefined;
  const flags = Array.isArray(item['flags']) ? item['flags'] : [];
  return {
    name: text(item['ifname']),
    alias: text(item['ifalias']),
    mtu: Number(item['mtu']),
    isUp: flags.includes('UP'),
    mac: text(item['address']),
    addresses: (Array.isArray(item['addr_info']) ? (item['addr_info'] as Fields[]) : []).map((address) => ({
      address: text(address['local']),
      prefix: Number(address['prefixlen']),
      label: text(address['label']),
    })),
    ...(data === undefined ? {} : { vxlan: vxlanView(data) }),
  };
}

function vxlanView(data: Fields): NonNullable<LinkView['vxlan']> {
  return {
    id: Number(data['id']),
    port: Number(data['port']),
    local: text(data['local'] ?? data['local6']),
    learning: data['learning'] === true,
  };
}

function isOurs(item: Fields): boolean {
  return text(item['protocol']) === routeProtocol;
}

function routeText(item: Fields): string {
  const part = (name: string, field: string) => (item[field] === undefined ? [] : [`${name} ${text(item[field])}`]);
  const flags = Array.isArray(item['flags']) ? item['flags'] : [];
  return [
    ...(item['type'] === undefined ? [] : [text(item['type'])]),
    text(item['dst']),
    ...part('via', 'gateway'),
    ...part('dev', 'dev'),
    ...(flags.includes('onlink') ? ['onlink'] : []),
    ...part('table', 'table'),
  ].join(' ');
}

function hostRoute(item: Fields): HostRoute {
  return { destination: text(item['dst']), device: text(item['dev']), protocol: text(item['protocol']) };
}

function ruleText(item: Fields): string {
  const mask = item['fwmask'] === undefined ? '' : `/${text(item['fwmask'])}`;
  return [
    `pref ${text(item['priority'])}`,
    ...('not' in item ? ['not'] : []),
    ...(item['dst'] === undefined ? [] : [`to ${text(item['dst'])}/${text(item['dstlen'] ?? 32)}`]),
    ...(item['fwmark'] === undefined ? [] : [`fwmark ${text(item['fwmark'])}${mask}`]),
    ...(item['goto'] === undefined ? [] : [`goto ${text(item['goto'])}`]),
    ...('nop' in item ? ['nop'] : []),
    ...(item['table'] === undefined ? [] : [`lookup ${text(item['table'])}`]),
  ].join(' ');
}

function pairs(items: readonly Fields[], key: string, value: string): ReadonlyMap<string, string> {
  return new Map(items.filter((item) => item[value] !== undefined).map((item) => [text(item[key]), text(item[value])]));
}

function chainView(chain: Fields | undefined): readonly ChainView[] {
  if (chain === undefined) return [];
  return [
    {
      family: text(chain['family']),
      table: text(chain['table']),
      name: text(chain['name']),
      hook: text(chain['hook']),
      policy: text(chain['policy']),
    },
  ];
}

/** Addresses on the loopback device that we put there. */
export function ourLoopbackAddresses(view: HostView): readonly string[] {
  return (view.links.get('lo')?.addresses ?? [])
    .filter(({ label }) => label === loopbackLabel)
    .map(({ address }) => address);
}

/** Host's ends of gateway links. */
export function gatewayLinks(view: HostView): readonly LinkView[] {
  return [...view.links.values()].filter(({ name }) => new RegExp(`^${linkPrefix}[0-9a-f]{8}$`).test(name));
}
