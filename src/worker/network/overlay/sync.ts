/** Carries changes out: one run of each tool per namespace, in the order that lets a kill at any point be repaired. */
import { ClusterError, messageOf } from '../../../lib/errors.ts';
import type { Kernel } from '../host/kernel.ts';
import { netnsPath } from '../netns.ts';
import type { Changes } from './changes.ts';
import type { NetworkPlan, PortPlan } from './plan.ts';

export async function carryOut(kernel: Kernel, plan: NetworkPlan, changes: Changes): Promise<void> {
  const inside = (program: string, lines: readonly string[], ...flags: string[]) =>
    lines.length === 0
      ? Promise.resolve('')
      : kernel.change(program, ['-n', plan.netns, ...flags, '-batch', '-'], `${lines.join('\n')}\n`);
  // A pair's other end may go at the same time by itself.
  await inside('ip', changes.removals, '-force').catch(() => {});
  if (changes.vxlan !== undefined) await addVxlan(kernel, plan, changes.vxlan);
  if (changes.settings.size === 0) await inside('ip', changes.ip);
  else await applySettings(kernel, plan.netns, { settings: changes.settings, lines: changes.ip });
  const results = await Promise.allSettled([
    inside('bridge', changes.bridge),
    changes.nft.length === 0 ? undefined : nft(kernel, plan.netns, changes.nft),
    ...changes.wire.map((port) => wireContainer(kernel, port)),
    ...changes.resize.map(({ netns, device }) =>
      kernel.change('ip', ['-n', netns, 'link', 'set', device, 'mtu', `${plan.mtu}`]),
    ),
  ]);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  await inside('bridge', changes.seal);
}

/** The kernel takes a moment to let go of a namespace that was deleted, and other programs make such devices too. */
async function addVxlan(kernel: Kernel, { vxlan }: NetworkPlan, args: readonly string[]): Promise<void> {
  try {
    await kernel.change('ip', args);
  } catch (cause) {
    if (!/exists/.test(messageOf(cause))) throw cause;
    const message = `VXLAN id ${vxlan.vni} on port ${vxlan.port} is still in use on this node; if another program (such as Docker's swarm mode) has it, the cluster needs another data path port`;
    throw new ClusterError('unavailable', message, { cause });
  }
}

function nft(kernel: Kernel, netns: string, texts: readonly string[]): Promise<string> {
  return kernel.change('nsenter', [`--net=${netnsPath(netns)}`, 'nft', '-f', '-'], texts.join(''));
}

/** Settings of the namespace, then `lines` for `ip -batch`. */
async function applySettings(
  kernel: Kernel,
  netns: string,
  { settings, lines }: { readonly settings: ReadonlyMap<string, string>; readonly lines: readonly string[] },
): Promise<void> {
  const script = [
    'cd /proc/sys/net || exit 1',
    ...[...settings].map(([name, value]) => `if [ -e ${name} ]; then echo ${value} > ${name} || exit 1; fi`),
    'exec ip -batch -',
  ].join('\n');
  await kernel.change('nsenter', [`--net=${netnsPath(netns)}`, 'sh', '-c', script], `${lines.join('\n')}\n`);
}

/** The container's side of a link: its namespace may hold other interfaces, which are not touched. */
function wireContainer(kernel: Kernel, port: PortPlan): Promise<string> {
  return inContainer(kernel, port.netns, { device: port.device, ipv6: port.ipv6, lines: containerLines(port) });
}

function containerLines({ device, addresses, routes }: PortPlan): readonly string[] {
  return [
    ...addresses.map((address) => `addr replace ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`),
    `link set ${device} up`,
    ...routes.map((subnet) => `route replace ${subnet} dev ${device}`),
  ];
}

/** `ip -batch` in a container's namespace; before, IPv6 is switched on or off for the interface, while it is down. */
export function inContainer(
  kernel: Kernel,
  netns: string,
  work: { readonly device: string; readonly ipv6: boolean; readonly lines: readonly string[] },
): Promise<string> {
  const { device, ipv6, lines } = work;
  const script = [
    `cd /proc/sys/net/ipv6/conf/${device} 2>/dev/null && echo ${ipv6 ? 0 : 1} > disable_ipv6 && echo 0 > accept_ra`,
    'exec ip -batch -',
  ].join('\n');
  return kernel.change('nsenter', [`--net=${netnsPath(netns)}`, 'sh', '-c', script], `${lines.join('\n')}\n`);
}
