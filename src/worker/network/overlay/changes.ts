/** The difference between what the kernel holds and what it should hold, as lines for the tools. Pure. */
import { bridge, isPortName } from './names.ts';
import { bridgeState, canonicalBlock, type Observed, wantedVxlan } from './observe.ts';
import type { NetworkPlan, PortPlan } from './plan.ts';
import { completion, type TablePlan } from './spoof.ts';

export interface Changes {
  readonly settings: ReadonlyMap<string, string>;
  /** For `ip -force -batch` in the network's namespace, before all else. */
  readonly removals: readonly string[];
  /** For `ip` in the host's namespace: the device's packets travel there. */
  readonly vxlan: readonly string[] | undefined;
  /** For `ip -batch` in the network's namespace. */
  readonly ip: readonly string[];
  /** For `bridge -batch` there. */
  readonly bridge: readonly string[];
  /** For `nft -f -` there. */
  readonly nft: readonly string[];
  /** Links whose container's side is to be made. */
  readonly wire: readonly PortPlan[];
  /** Links whose container's side has another MTU. */
  readonly resize: readonly PortPlan[];
  /** For `bridge -batch` in the network's namespace, when all else is done: a link without its entry is wired again. */
  readonly seal: readonly string[];
}

export function isEmpty(changes: Changes): boolean {
  const { settings, removals, vxlan, ip, bridge: fdb, nft, wire, resize, seal } = changes;
  const lists = [removals, ip, fdb, nft, wire, resize, seal];
  return settings.size === 0 && vxlan === undefined && lists.every((list) => list.length === 0);
}

/** `observed` is undefined when the namespace is new. */
export function changesOf(
  plan: NetworkPlan,
  observed: Observed | undefined,
  wanted: ReadonlyMap<string, string>,
): Changes {
  const { vxlan, mtu } = plan;
  const keepVxlan = observed?.vxlan === wantedVxlan(plan);
  const names = new Map(plan.ports.map((port) => [port.name, port]));
  const have = [...(observed?.ports ?? [])];
  const isWhole = (name: string, alias: string) => {
    const port = names.get(name);
    return port?.alias === alias && observed?.statics.has(`${name} ${port.mac}`) === true;
  };
  const stale = have.filter(([name, { alias }]) => !isWhole(name, alias)).map(([name]) => name);
  const gone = new Set(stale);
  const wire = plan.ports.filter(({ name }) => gone.has(name) || observed?.ports.has(name) !== true);
  const wired = new Set(wire.map(({ name }) => name));
  const kept = plan.ports.filter(({ name }) => !wired.has(name));
  const resize = kept.filter(({ name }) => observed?.ports.get(name)?.mtu !== mtu);
  return {
    settings: new Map([...wanted].filter(([name, value]) => observed?.settings.get(name) !== value)),
    removals: [
      ...stale.map((name) => `link delete ${name}`),
      ...(observed?.vxlan !== undefined && !keepVxlan ? [`link delete ${vxlan.name}`] : []),
    ],
    vxlan: keepVxlan ? undefined : vxlanLine(plan),
    ip: [
      ...baseLines(plan, observed, keepVxlan),
      ...wire.flatMap((port) => portLines(port, mtu)),
      ...resize.map(({ name }) => `link set ${name} mtu ${mtu}`),
      ...kept.filter(({ name }) => observed?.ports.get(name)?.ready !== true).flatMap(({ name }) => attachLines(name)),
      ...addressLines(plan, observed),
      ...neighbourLines(plan, keepVxlan ? observed : undefined),
    ],
    bridge: [
      ...remoteLines(plan, keepVxlan ? observed : undefined),
      ...strayLines(plan, observed, keepVxlan ? gone : new Set([...gone, vxlan.name])),
    ],
    nft: tableLines(plan, observed, stale.length > 0),
    wire,
    resize,
    seal: wire.map(({ name, mac }) => `fdb replace ${mac} dev ${name} master static`),
  };
}

function vxlanLine({ vxlan, netns }: NetworkPlan): readonly string[] {
  const local = vxlan.local === undefined ? [] : ['local', vxlan.local];
  const ids = ['id', `${vxlan.vni}`, 'dstport', `${vxlan.port}`];
  return ['link', 'add', vxlan.name, 'netns', netns, 'type', 'vxlan', ...ids, ...local, 'nolearning', 'proxy'];
}

function baseLines(plan: NetworkPlan, observed: Observed | undefined, keepVxlan: boolean): readonly string[] {
  const { mtu, bridgeMac, vxlan } = plan;
  const lines: string[] = [];
  if (observed?.lo !== true) lines.push('link set lo up');
  if (observed?.bridgeExists !== true) {
    lines.push(`link add ${bridge} type bridge forward_delay 0 mcast_snooping 0`);
  }
  if (observed?.bridge !== bridgeState(bridgeMac, mtu)) {
    lines.push(`link set ${bridge} address ${bridgeMac} mtu ${mtu} up`);
  }
  if (!keepVxlan || observed?.vxlanReady !== `${mtu}`) {
    lines.push(`link set ${vxlan.name} mtu ${mtu} master ${bridge} up`);
    lines.push(`link set ${vxlan.name} type bridge_slave learning off flood off`);
  }
  return lines;
}

function portLines(port: PortPlan, mtu: number): readonly string[] {
  const { name, netns, device, mac, alias } = port;
  return [
    `link add ${name} mtu ${mtu} type veth peer name ${device} address ${mac} mtu ${mtu} netns ${netns}`,
    ...attachLines(name),
    `link set ${name} alias ${alias}`,
  ];
}

/** Hairpin: a container may be sent to itself by its own service's address. */
function attachLines(name: string): readonly string[] {
  return [
    `link set ${name} master ${bridge} up`,
    `link set ${name} type bridge_slave hairpin on learning off flood off`,
  ];
}

function addressLines({ bridgeAddresses }: NetworkPlan, observed: Observed | undefined): readonly string[] {
  const wanted = bridgeAddresses.map(canonicalBlock);
  const have = observed?.bridgeAddresses ?? new Set();
  const keep = new Set(wanted);
  const nodad = (address: string) => (address.includes(':') ? ' nodad' : '');
  return [
    ...wanted.filter((address) => !have.has(address)).map((one) => `addr add ${one} dev ${bridge}${nodad(one)}`),
    ...[...(observed?.bridgeAddresses ?? [])]
      .filter((address) => !keep.has(address))
      .map((address) => `addr delete ${address} dev ${bridge}`),
  ];
}

function neighbourLines({ neighbours, vxlan }: NetworkPlan, observed: Observed | undefined): readonly string[] {
  const have = observed?.neighbours;
  return [
    ...[...neighbours]
      .filter(([address, mac]) => have?.get(address) !== mac)
      .map(([address, mac]) => `neigh replace ${address} lladdr ${mac} dev ${vxlan.name} nud permanent`),
    ...[...(have?.keys() ?? [])]
      .filter((address) => !neighbours.has(address))
      .map((address) => `neigh delete ${address} dev ${vxlan.name}`),
  ];
}

function remoteLines({ remotes, vxlan }: NetworkPlan, observed: Observed | undefined): readonly string[] {
  const { name } = vxlan;
  return [
    ...[...remotes].flatMap(([mac, node]) => [
      ...(observed?.remotes.get(mac) === node ? [] : [`fdb replace ${mac} dev ${name} dst ${node} self permanent`]),
      ...(observed?.statics.has(`${name} ${mac}`) === true ? [] : [`fdb replace ${mac} dev ${name} master static`]),
    ]),
    ...[...(observed?.remotes.keys() ?? [])]
      .filter((mac) => !remotes.has(mac))
      .map((mac) => `fdb delete ${mac} dev ${name} self`),
  ];
}

/** Static entries that nobody wants; those of links that go, go with them. An address that moved has one on another device. */
function strayLines(plan: NetworkPlan, observed: Observed | undefined, gone: ReadonlySet<string>): readonly string[] {
  const { vxlan, remotes, ports } = plan;
  const wanted = new Map([
    ...[...remotes.keys()].map((mac) => [mac, vxlan.name] as const),
    ...ports.map(({ mac, name }) => [mac, name] as const),
  ]);
  return [...(observed?.statics ?? [])].flatMap((entry) => {
    const [device = '', mac = ''] = entry.split(' ');
    const ours = (isPortName(device) || device === vxlan.name) && !gone.has(device);
    // `fdb replace` has already moved one that is wanted elsewhere.
    return ours && !wanted.has(mac) ? [`fdb delete ${mac} dev ${device} master`] : [];
  });
}

function tableLines(plan: NetworkPlan, observed: Observed | undefined, removed: boolean): readonly string[] {
  const families = new Set<string>(plan.tables.map(({ family }) => family));
  const extra = [...(observed?.tables ?? [])].filter((family) => !families.has(family));
  return [
    ...plan.tables
      .filter(({ marker }) => observed?.markers.has(marker) !== true)
      .map((table) => (removed ? table.text : (completed(table, observed) ?? table.text))),
    ...extra.map((family) => `delete table ${family} tsc\n`),
  ];
}

/** Adding entries takes a quarter of the time of replacing the table, and a container waits for it. */
function completed(table: TablePlan, observed: Observed | undefined): string | undefined {
  const known = observed?.entries.get(table.family);
  if (known === undefined || known.body !== table.body) return undefined;
  if ([...known.keys].some((key) => !table.entries.has(key))) return undefined;
  return completion(
    table,
    [...table.entries.keys()].filter((key) => !known.keys.has(key)),
  );
}
