/**
 * A container's gateway link: a routed pair of veth devices with single addresses on both ends, no bridge, so that addresses cannot be
 * forged and nothing is reached but through the host's rules. Text only; `sync.ts` runs it.
 */
import type { NetworkState } from '../../../model/network.ts';
import type { SandboxRecord } from '../planes.ts';
import { containerLink, hash8, linkName, routeProtocol } from './names.ts';

export interface GatewayLink {
  readonly taskId: string;
  readonly name: string;
  readonly netns: string;
  readonly address: string;
  readonly gateway: string;
  /** No way out: all networks it is on are internal. */
  readonly internal: boolean;
  /** Written on the link when the host's side is complete; another one means: wire again. Nothing in it changes while the task lives. */
  readonly alias: string;
}

/** Undefined for a sandbox without a gateway. */
export function gatewayLink(
  sandbox: SandboxRecord,
  gateway: string,
  internal: ReadonlySet<string>,
): GatewayLink | undefined {
  const { taskId, netns, gateway: address } = sandbox;
  if (sandbox.mode !== 'own' || address === undefined) return undefined;
  const alias = `tsc:${hash8([netns, address, gateway].join(' '))}`;
  return { taskId, name: linkName(taskId), netns, address, gateway, internal: internal.has(taskId), alias };
}

/** Whether all networks it is on are internal; undefined when one of them is not known. */
export function isInternal({ attachments }: SandboxRecord, { networks }: NetworkState): boolean | undefined {
  const known = attachments.map(({ networkId }) => networks.get(networkId));
  if (known.includes(undefined)) return undefined;
  return known.length > 0 && known.every((network) => network?.internal);
}

export function routeLine({ name, address }: GatewayLink): string {
  return `route replace ${address}/32 dev ${name} proto ${routeProtocol}`;
}

/** Lines for `ip -batch -` on the host. */
function hostLines({ link, isNew }: Wiring, mtu: number): readonly string[] {
  const { name, netns, gateway, alias } = link;
  return [
    ...(isNew ? [`netns add ${netns}`] : []),
    `link add ${name} mtu ${mtu} type veth peer name ${containerLink} mtu ${mtu} netns ${netns}`,
    `addr add ${gateway}/32 dev ${name}`,
    `link set ${name} up`,
    routeLine(link),
    `link set ${name} alias ${alias}`,
  ];
}

/** Settings of the host's end, written before the other one is up: until then nothing comes through. */
export function hostSettings({ name }: GatewayLink): ReadonlyMap<string, string> {
  return new Map([
    [`ipv4/conf/${name}/rp_filter`, '1'],
    [`ipv4/conf/${name}/route_localnet`, '1'],
    // The addresses are IPv4; without this the two ends would meet over link-local ones, past every rule.
    [`ipv6/conf/${name}/disable_ipv6`, '1'],
  ]);
}

/** For `sh -c` in the container's namespace; the lines follow on standard input. */
const containerScript = [
  'cd /proc/sys/net || exit 1',
  `echo 1 > ipv4/conf/${containerLink}/route_localnet || exit 1`,
  `if [ -e ipv6/conf/${containerLink}/disable_ipv6 ]; then echo 1 > ipv6/conf/${containerLink}/disable_ipv6; fi`,
  'exec ip -batch -',
].join('\n');

/** Lines for `ip -batch -` in the container's namespace. 127.0.0.11 leaves by a route: no nftables in containers. */
function containerLines({ address, gateway, internal }: GatewayLink): readonly string[] {
  return [
    'link set lo up',
    `addr replace ${address}/32 dev ${containerLink}`,
    `link set ${containerLink} up`,
    `route replace ${gateway} dev ${containerLink} scope link`,
    ...(internal ? [] : [`route replace default via ${gateway} dev ${containerLink}`]),
    `route replace table local 127.0.0.11/32 via ${gateway} dev ${containerLink} src ${address}`,
  ];
}

export interface Wiring {
  readonly link: GatewayLink;
  /** The container's namespace is not there yet. */
  readonly isNew: boolean;
}

/** For `sh -c`, with the paths of the containers' namespaces as `$1` and so on: the host's side of all links, then each container's. */
export function wiringScript(wirings: readonly Wiring[], mtu: number): string {
  const settings = wirings.flatMap(({ link }) => [...hostSettings(link)]);
  return [
    ...fed(
      'ip -batch -',
      wirings.flatMap((wiring) => hostLines(wiring, mtu)),
    ),
    ...settings.map(([path, value]) => {
      const file = `/proc/sys/net/${path}`;
      return `if [ -e ${file} ]; then echo ${value} > ${file} || exit 1; fi`;
    }),
    ...wirings.flatMap(({ link }, at) => containerSide(link, at + 1)),
  ].join('\n');
}

/** The container's side alone; doing it again changes nothing. */
export function containerWiringScript(link: GatewayLink): string {
  return containerSide(link, 1).join('\n');
}

function containerSide(link: GatewayLink, argument: number): readonly string[] {
  return fed(`nsenter --net="\${${argument}}" sh -c '${containerScript}'`, containerLines(link));
}

/** A command with lines on its standard input; the script ends when it fails. */
function fed(command: string, lines: readonly string[]): readonly string[] {
  return [`${command} <<'END' || exit 1`, ...lines, 'END'];
}
