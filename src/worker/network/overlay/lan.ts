/**
 * macvlan and ipvlan: the container's interface is a child of one of the host's, and its addresses are the local network's own.
 * Answers leave the way questions came, through that network's router; the default route stays with the node.
 */
import { ClusterError, messageOf } from '../../../lib/errors.ts';
import { contains, macOf, parseBlock, withoutPrefix } from '../../../model/ip.ts';
import type { NetworkRecord } from '../../../model/network.ts';
import type { Kernel } from '../host/kernel.ts';
import type { SandboxRecord } from '../planes.ts';
import { hash8 } from './names.ts';
import { inContainer } from './sync.ts';

export interface LanLink {
  readonly network: NetworkRecord;
  readonly netns: string;
  readonly device: string;
  readonly index: number;
  readonly mode: string;
  readonly addresses: readonly string[];
  readonly alias: string;
}

const modes = {
  macvlan: { option: 'macvlan_mode', fallback: 'bridge', known: ['bridge', 'private', 'vepa', 'passthru'] },
  ipvlan: { option: 'ipvlan_mode', fallback: 'l2', known: ['l2', 'l3', 'l3s'] },
} as const;

/** Routing tables of such interfaces in containers, and the preference of their rules. */
const firstTable = 100;
const firstPreference = 5_460;

export function linkOf(sandbox: SandboxRecord, network: NetworkRecord, index: number): LanLink {
  const { option, fallback } = modes[network.driver === 'ipvlan' ? 'ipvlan' : 'macvlan'];
  const addresses = sandbox.attachments[index]?.addresses ?? [];
  const mode = network.options[option] ?? fallback;
  const made = { netns: sandbox.netns, device: `eth${index}`, index, mode, addresses };
  const parent = network.options['parent'] ?? '';
  const gateways = network.subnets.map(({ gateway }) => gateway);
  return { network, ...made, alias: `tsc:${hash8(JSON.stringify([made, parent, gateways, network.internal]))}` };
}

/** Errors: `failed_precondition` when the parent interface is not here; `invalid` for a mode nobody knows. */
export async function wireLink(kernel: Kernel, link: LanLink): Promise<void> {
  const { network, netns, device, mode, addresses, index } = link;
  const parent = network.options['parent'] ?? '';
  checkOptions(network, parent, mode);
  const [first = ''] = addresses;
  const preference = firstPreference + index;
  const rules = addresses.map((address) => `rule delete from ${withoutPrefix(address)} pref ${preference}`);
  const remove = [`link delete ${device}`, ...rules];
  await kernel.change('ip', ['-n', netns, '-force', '-batch', '-'], `${remove.join('\n')}\n`).catch(() => {});
  // An ipvlan interface has its parent's hardware address.
  const mac = network.driver === 'macvlan' ? ['address', macOf(withoutPrefix(first))] : [];
  const add = [
    'link',
    'add',
    'link',
    parent,
    'name',
    device,
    ...mac,
    'netns',
    netns,
    'type',
    network.driver,
    'mode',
    mode,
  ];
  await kernel.change('ip', add).catch((error: unknown) => {
    throw parentError(network, parent, error);
  });
  const ipv6 = addresses.some((address) => address.includes(':'));
  await inContainer(kernel, netns, { device, ipv6, lines: lanLines(link) });
}

function lanLines({ network, device, index, addresses, alias }: LanLink): readonly string[] {
  const lines = [...addresses.map((address) => `addr add ${address} dev ${device}`), `link set ${device} up`];
  for (const address of network.internal ? [] : addresses) {
    const bare = withoutPrefix(address);
    const own = network.subnets.find(({ subnet }) => {
      const block = parseBlock(subnet);
      return block !== undefined && contains(block, bare);
    });
    if (own === undefined || own.gateway === '') continue;
    const { subnet, gateway } = own;
    lines.push(
      `route replace ${subnet} dev ${device} table ${firstTable + index}`,
      `route replace default via ${gateway} dev ${device} table ${firstTable + index}`,
      `rule add from ${bare} lookup ${firstTable + index} pref ${firstPreference + index}`,
    );
  }
  return [...lines, `link set ${device} alias ${alias}`];
}

function checkOptions(network: NetworkRecord, parent: string, mode: string): void {
  if (parent === '') {
    throw new ClusterError(
      'failed_precondition',
      `network ${network.name}: a ${network.driver} network needs the driver option parent=<interface of the host>`,
    );
  }
  const { option, known } = modes[network.driver === 'ipvlan' ? 'ipvlan' : 'macvlan'];
  if ((known as readonly string[]).includes(mode)) return;
  throw new ClusterError('invalid', `network ${network.name}: invalid ${option} "${mode}": one of ${known.join(', ')}`);
}

function parentError(network: NetworkRecord, parent: string, cause: unknown): ClusterError {
  const said = messageOf(cause);
  const reason = /Cannot find device|does not exist/.test(said)
    ? 'this node has no such interface'
    : /Unknown device type/.test(said)
      ? `the kernel of this node has no ${network.driver}`
      : said;
  return new ClusterError(
    'failed_precondition',
    `network ${network.name}: no ${network.driver} interface on parent "${parent}": ${reason}`,
    { cause },
  );
}
