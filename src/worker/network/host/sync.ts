/** Devices, addresses, routes, rules and settings of the host's namespace: the difference between plan and kernel, and its execution. */
import { messageOf } from '../../../lib/errors.ts';
import { ingressVni } from '../../../model/network.ts';
import type { NetworkProblem } from '../../../model/objects.ts';
import { isVacant, netnsPath } from '../netns.ts';
import type { Failures } from '../planes.ts';
import { isMissing, type Kernel } from './kernel.ts';
import { containerWiringScript, type GatewayLink, hostSettings, routeLine, wiringScript } from './link.ts';
import { containerLink, ingressLink, loopbackLabel, routeProtocol } from './names.ts';
import { gatewayLinks, type HostView, type LinkView, ourLoopbackAddresses } from './observe.ts';
import { type HostPlan, ingressLines, ingressSettings } from './plan.ts';

const none: ReadonlyMap<string, string> = new Map();

export interface HostResult {
  readonly problems: readonly NetworkProblem[];
  /** Links that are whole now. */
  readonly wired: readonly GatewayLink[];
}

/** Tables must be in place before. Answers with what could not be done. */
export async function syncHost(
  kernel: Kernel,
  plan: HostPlan,
  { view, mtu }: { readonly view: HostView; readonly mtu: number },
): Promise<HostResult> {
  await setAll(kernel, new Map([['ipv4/ip_forward', '1']]));
  await makeRoomForNeighbours(kernel);
  await batch(kernel, 'ip', loopbackLines(plan, view));
  const ingress = await syncIngress(kernel, plan, { view, mtu });
  const links = await syncLinks(kernel, plan, { view, mtu });
  const problems = [...ingress.problems, ...links.problems];
  const held = ingress.isNew ? withoutIngress(view) : view;
  const wanted = ingress.isThere ? plan : planWithoutIngress(plan);
  const attempts = await Promise.allSettled([
    batch(kernel, 'bridge', forwardingLines(wanted, held)),
    batch(kernel, 'ip', [...neighbourLines(wanted, held), ...routeLines(wanted, held), ...ruleLines(wanted, held)]),
  ]);
  for (const attempt of attempts) if (attempt.status === 'rejected') problems.push(problemOf('routes', attempt.reason));
  return { problems, wired: links.wired };
}

/**
 * Makes links, and their containers' namespaces where they are not there. One program is started for all: containers wait for it, and
 * each start costs a process of this size milliseconds. Where that fails each link is made alone.
 */
export async function wireNewLinks(kernel: Kernel, links: readonly GatewayLink[], mtu: number): Promise<Failures> {
  if (links.length > 1) {
    const isDone = await runWiring(kernel, links, { mtu, addsNetns: true }).then(
      () => true,
      () => false,
    );
    if (isDone) return new Map();
  }
  const failed = new Map<string, unknown>();
  for (const link of links) {
    await wireLink(kernel, link, { mtu, addsNetns: true }).catch((error: unknown) => failed.set(link.taskId, error));
  }
  return failed;
}

interface HowToWire {
  readonly mtu: number;
  /** Containers' namespaces are made where they are not there. */
  readonly addsNetns: boolean;
}

async function runWiring(kernel: Kernel, links: readonly GatewayLink[], { mtu, addsNetns }: HowToWire): Promise<void> {
  const wirings = await Promise.all(
    links.map(async (link) => ({ link, isNew: addsNetns && (await isVacant(link.netns)) })),
  );
  await runScript(kernel, wiringScript(wirings, mtu), links);
}

async function runScript(kernel: Kernel, text: string, links: readonly GatewayLink[]): Promise<void> {
  await kernel.change('sh', ['-c', text, 'sh', ...links.map(({ netns }) => netnsPath(netns))]);
}

/** A link for something else is made anew, of one that is there the container's side is completed. */
async function wireLink(kernel: Kernel, link: GatewayLink, how: HowToWire): Promise<void> {
  try {
    await runWiring(kernel, [link], how);
  } catch (error) {
    if (!/File exists/.test(messageOf(error))) throw error;
    const [held] = JSON.parse(await kernel.read('ip', ['-j', 'link', 'show', 'dev', link.name])) as {
      ifalias?: string;
    }[];
    if (held?.ifalias === link.alias) {
      await setAll(kernel, hostSettings(link));
      await runScript(kernel, containerWiringScript(link), [link]);
      return;
    }
    await kernel.change('ip', ['link', 'delete', link.name]);
    await runWiring(kernel, [link], how);
  }
}

/** Everything of ours but tables. */
export async function removeHost(kernel: Kernel, view: HostView): Promise<void> {
  const devices = [
    ...gatewayLinks(view).map(({ name }) => name),
    ...(isOurIngress(view.links.get(ingressLink)) ? [ingressLink] : []),
  ];
  const lines = [
    ...[...view.rules].map((rule) => `rule del ${rule}`),
    ...[...view.routes].filter((route) => !/ dev /.test(route)).map((route) => `route del ${route}`),
    ...devices.map((name) => `link delete ${name}`),
    ...ourLoopbackAddresses(view).map((address) => `addr del ${address}/32 dev lo`),
  ];
  await batch(kernel, 'ip', lines);
}

async function syncLinks(
  kernel: Kernel,
  { links, gateway }: HostPlan,
  { view, mtu }: { readonly view: HostView; readonly mtu: number },
): Promise<HostResult> {
  const wanted = new Set(links.map(({ name }) => name));
  const garbage = gatewayLinks(view).filter(({ name }) => !wanted.has(name));
  await batch(
    kernel,
    'ip',
    garbage.map(({ name }) => `link delete ${name}`),
  );
  const problems: NetworkProblem[] = [];
  const wired: GatewayLink[] = [];
  for (const link of links) {
    const held = view.links.get(link.name);
    try {
      if (held?.alias === link.alias) await repairLink(kernel, link, { held, gateway, mtu });
      else await wireLink(kernel, link, { mtu, addsNetns: false });
      wired.push(link);
    } catch (error) {
      problems.push(problemOf(`gateway of task ${link.taskId}`, error));
    }
  }
  return { problems, wired };
}

async function repairLink(
  kernel: Kernel,
  link: GatewayLink,
  { held, gateway, mtu }: { readonly held: LinkView; readonly gateway: string; readonly mtu: number },
): Promise<void> {
  await setAll(kernel, hostSettings(link));
  const lines = [
    ...(held.addresses.some(({ address }) => address === gateway)
      ? []
      : [`addr replace ${gateway}/32 dev ${link.name}`]),
    ...(held.isUp ? [] : [`link set ${link.name} up`, routeLine(link)]),
  ];
  await batch(kernel, 'ip', lines);
  if (held.mtu === mtu) return;
  // The container's end first: this one's is what is looked at.
  await kernel.change('ip', ['-netns', link.netns, 'link', 'set', containerLink, 'mtu', String(mtu)]);
  await kernel.change('ip', ['link', 'set', link.name, 'mtu', String(mtu)]);
}

interface IngressResult {
  readonly isThere: boolean;
  /** What was seen of it before is not true any more. */
  readonly isNew: boolean;
  readonly problems: NetworkProblem[];
}

async function syncIngress(
  kernel: Kernel,
  { ingress }: HostPlan,
  { view, mtu }: { readonly view: HostView; readonly mtu: number },
): Promise<IngressResult> {
  const held = view.links.get(ingressLink);
  const refuse = (message: string) => ({ isThere: false, isNew: false, problems: [{ message }] });
  if (held !== undefined && !isOurIngress(held)) {
    return refuse(`published ports: this host has a device ${ingressLink} that is not of the cluster: rename it`);
  }
  const isLocal = [...view.links.values()].some(({ addresses }) =>
    addresses.some(({ address }) => address === ingress.underlay),
  );
  if (!isLocal) {
    return refuse(
      `published ports: ${ingress.underlay}, where other nodes reach this one, is not an address of this host: join with --data-path-addr`,
    );
  }
  try {
    if (held !== undefined && isSame(held, ingress))
      return { ...(await repairIngress(kernel, ingress.address, { held, mtu })), problems: [] };
    if (held !== undefined) await kernel.change('ip', ['link', 'delete', ingressLink]);
    await kernel.change('ip', ['-batch', '-'], text(ingressLines(ingress, mtu)));
    await setAll(kernel, ingressSettings);
    await kernel.change('ip', ['link', 'set', ingressLink, 'up']);
    return { isThere: true, isNew: true, problems: [] };
  } catch (error) {
    const isTaken = /already exists|File exists/.test(messageOf(error));
    const why = isTaken
      ? `another program uses VXLAN ${ingressVni} on UDP port ${ingress.port}: choose another --data-path-port at init`
      : messageOf(error);
    return refuse(`published ports: the link to other nodes can not be made: ${why}`);
  }
}

async function repairIngress(
  kernel: Kernel,
  address: string,
  { held, mtu }: { readonly held: LinkView; readonly mtu: number },
): Promise<Omit<IngressResult, 'problems'>> {
  await setAll(kernel, ingressSettings);
  const lines = [
    ...(held.addresses.some((one) => one.address === address) ? [] : [`addr replace ${address}/32 dev ${ingressLink}`]),
    ...(held.mtu === mtu ? [] : [`link set ${ingressLink} mtu ${mtu}`]),
    ...(held.isUp ? [] : [`link set ${ingressLink} up`]),
  ];
  await batch(kernel, 'ip', lines);
  return { isThere: true, isNew: !held.isUp };
}

function isOurIngress(held: LinkView | undefined): boolean {
  return held?.vxlan?.id === ingressVni;
}

function isSame(held: LinkView, { mac, underlay, port }: HostPlan['ingress']): boolean {
  const { vxlan } = held;
  return held.mac === mac && vxlan?.local === underlay && vxlan.port === port && !vxlan.learning;
}

function loopbackLines({ gateway }: HostPlan, view: HostView): readonly string[] {
  const held = ourLoopbackAddresses(view);
  return [
    ...(held.includes(gateway) ? [] : [`addr add ${gateway}/32 dev lo label ${loopbackLabel}`]),
    ...held.filter((address) => address !== gateway).map((address) => `addr del ${address}/32 dev lo`),
  ];
}

function forwardingLines({ forwarding }: HostPlan, view: HostView): readonly string[] {
  const missing = [...forwarding].filter(([mac, underlay]) => view.forwarding.get(mac) !== underlay);
  const stale = [...view.forwarding].filter(([mac]) => !forwarding.has(mac));
  return [
    ...stale.map(([mac, underlay]) => `fdb del ${mac} dev ${ingressLink} dst ${underlay} self`),
    ...missing.map(([mac, underlay]) => `fdb replace ${mac} dev ${ingressLink} dst ${underlay} self permanent`),
  ];
}

function neighbourLines({ neighbours }: HostPlan, view: HostView): readonly string[] {
  const missing = [...neighbours].filter(([address, mac]) => view.neighbours.get(address) !== mac);
  const stale = [...view.neighbours.keys()].filter((address) => !neighbours.has(address));
  return [
    ...stale.map((address) => `neigh del ${address} dev ${ingressLink}`),
    ...missing.map(([address, mac]) => `neigh replace ${address} lladdr ${mac} dev ${ingressLink} nud permanent`),
  ];
}

/** Links that were wired a moment ago have their routes: writing them again does no harm. */
function routeLines({ routes }: HostPlan, view: HostView): readonly string[] {
  const places = new Set([...routes].map(placeOf));
  const stale = [...view.routes].filter((route) => !routes.has(route) && !places.has(placeOf(route)));
  const missing = [...routes].filter((route) => !view.routes.has(route));
  return [
    // Of a device that is gone meanwhile there is none left, which `-force` forgives.
    ...stale.map((route) => `route del ${route}`),
    ...missing.map((route) => `route replace ${route} proto ${routeProtocol}`),
  ];
}

/** Destination and table: a route takes the place of another one there. */
function placeOf(route: string): string {
  const [destination = '', next = ''] = route.split(' ');
  const table = / table (\S+)/.exec(route)?.[1] ?? 'main';
  return `${/^[a-z]+$/.test(destination) && destination !== 'default' ? next : destination} ${table}`;
}

function ruleLines({ rules }: HostPlan, view: HostView): readonly string[] {
  return [
    ...[...view.rules].filter((rule) => !rules.has(rule)).map((rule) => `rule del ${rule}`),
    ...[...rules].filter((rule) => !view.rules.has(rule)).map((rule) => `rule add ${rule} protocol ${routeProtocol}`),
  ];
}

function withoutIngress(view: HostView): HostView {
  const routes = new Set([...view.routes].filter((route) => !isOverIngress(route)));
  return { ...view, routes, forwarding: none, neighbours: none };
}

function planWithoutIngress(plan: HostPlan): HostPlan {
  const routes = new Set([...plan.routes].filter((route) => !isOverIngress(route)));
  return { ...plan, routes, rules: new Set(), forwarding: none, neighbours: none };
}

function isOverIngress(route: string): boolean {
  return route.split(' dev ')[1]?.split(' ')[0] === ingressLink;
}

/** Every line is tried; the first complaint is thrown, unless it was about something that is gone already. */
async function batch(kernel: Kernel, program: 'ip' | 'bridge', lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  try {
    await kernel.change(program, ['-force', '-batch', '-'], text(lines));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** A setting that this kernel does not have (IPv6 switched off) needs no value. */
async function setAll(kernel: Kernel, settings: ReadonlyMap<string, string>): Promise<void> {
  await Promise.all(
    [...settings].map(async ([path, value]) => {
      const held = await kernel.setting(path);
      if (held !== undefined && held !== value) await kernel.set(path, value);
    }),
  );
}

/**
 * One table of neighbours serves all containers of the host, and by default it is full with a thousand: fifty containers that speak
 * with twenty others each. Docker's overlay driver sets the same. Only the host's own namespace has these settings; never lowered.
 */
const neighbourRoom = { gc_thresh3: 65_536, gc_thresh2: 49_152, gc_thresh1: 8_192 } as const;

export async function makeRoomForNeighbours(kernel: Kernel): Promise<void> {
  for (const family of ['ipv4', 'ipv6']) {
    for (const [name, room] of Object.entries(neighbourRoom)) {
      const path = `${family}/neigh/default/${name}`;
      const held = await kernel.setting(path);
      // Where it may not be changed, a small table is no reason to do without networks.
      if (held !== undefined && Number(held) < room) await kernel.set(path, `${room}`).catch(() => {});
    }
  }
}

function problemOf(what: string, error: unknown): NetworkProblem {
  return { message: `${what}: ${messageOf(error)}` };
}

function text(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`;
}
