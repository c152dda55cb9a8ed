/**
 * What the kernel should hold, as text for `ip -batch` and `nft -f`. Pure.
 *
 * Each task has a network namespace joined to the host by one routed veth pair: /32 addresses on both ends, no bridge, so
 * that addresses cannot be forged and one task's published port is reachable from another's. Everything carries names
 * made from ids, so that what is not wanted can be told from what is somebody else's.
 */
import { createHash } from 'node:crypto';

export interface Endpoint {
  readonly taskId: string;
  readonly address: string;
  readonly hostPorts: readonly HostPort[];
}

export interface HostPort {
  readonly port: number;
  readonly protocol: string;
  readonly target: number;
}

export const linkPrefix = 'tg';

/** The host's end of a task's veth pair: 10 characters, within the kernel's 15. */
export function linkName(taskId: string): string {
  return linkPrefix + createHash('sha256').update(taskId).digest('hex').slice(0, 8);
}

/** `172.30.0.0/16` → first address and number of addresses. Throws RangeError for anything but a private-size IPv4 block. */
export function parseSubnet(text: string): { readonly base: number; readonly size: number; readonly gateway: string } {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text);
  const [a, b, c, d, bits] = (match ?? []).slice(1).map(Number);
  if (a === undefined || b === undefined || c === undefined || d === undefined || bits === undefined) {
    throw new RangeError(`invalid subnet "${text}": expected a.b.c.d/bits`);
  }
  if ([a, b, c, d].some((byte) => byte > 255) || bits < 8 || bits > 28) {
    throw new RangeError(`invalid subnet "${text}": bytes up to 255, bits from 8 to 28`);
  }
  const size = 2 ** (32 - bits);
  const address = ((a * 256 + b) * 256 + c) * 256 + d;
  const base = address - (address % size);
  return { base, size, gateway: formatAddress(base + 1) };
}

export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

/**
 * The next free address behind `last` (so that a freed one rests as long as possible: remote caches may still hold it), or
 * undefined when the subnet is full. Network, gateway and broadcast are never given out.
 */
export function nextAddress(subnet: string, taken: ReadonlySet<string>, last: string | undefined): string | undefined {
  const { base, size } = parseSubnet(subnet);
  const usable = size - 3;
  const start = last === undefined ? 0 : offsetOf(last) - base - 1;
  for (let step = 0; step < usable; step++) {
    const address = formatAddress(base + 2 + ((start + step) % usable));
    if (!taken.has(address)) return address;
  }
  return undefined;
}

function offsetOf(address: string): number {
  return address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
}

/** Lines for `ip -batch -` in the host's namespace. */
export function hostWiring(endpoint: Endpoint, namespace: string, gateway: string): readonly string[] {
  const link = linkName(endpoint.taskId);
  return [
    `link add ${link} type veth peer name eth0 netns ${namespace}`,
    `addr add ${gateway}/32 dev ${link}`,
    `link set ${link} up`,
    `route replace ${endpoint.address}/32 dev ${link}`,
  ];
}

/** Lines for `ip -netns NAMESPACE -batch -`. */
export function taskWiring(endpoint: Endpoint, gateway: string): readonly string[] {
  return [
    'link set lo up',
    `addr add ${endpoint.address}/32 dev eth0`,
    'link set eth0 up',
    `route add ${gateway} dev eth0 scope link`,
    `route add default via ${gateway} dev eth0`,
  ];
}

/** The whole table in one transaction: what was there before of ours is replaced, connection tracking survives. */
export function nftTable(table: string, subnet: string, endpoints: Iterable<Endpoint>): string {
  const elements = [...endpoints].flatMap(portElements);
  return [
    `table ip ${table} { }`,
    `delete table ip ${table}`,
    `table ip ${table} {`,
    '  map hports {',
    '    type inet_proto . inet_service : ipv4_addr . inet_service',
    ...(elements.length > 0 ? [`    elements = { ${elements.join(', ')} }`] : []),
    '  }',
    // Published ports answer on 127.0.0.1 too, which needs route_localnet; without this rule that would open the host's
    // loopback services to containers.
    '  chain guard {',
    '    type filter hook prerouting priority raw;',
    '    iifname != "lo" ip daddr 127.0.0.0/8 drop',
    '  }',
    '  chain prerouting {',
    '    type nat hook prerouting priority dstnat;',
    '    fib daddr type local dnat ip to meta l4proto . th dport map @hports',
    '  }',
    '  chain output {',
    '    type nat hook output priority -100;',
    '    fib daddr type local dnat ip to meta l4proto . th dport map @hports',
    '  }',
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat;',
    `    oifname "${linkPrefix}*" fib saddr type local masquerade`,
    `    iifname "${linkPrefix}*" oifname "${linkPrefix}*" ct status dnat masquerade`,
    `    ip saddr ${subnet} oifname != "${linkPrefix}*" masquerade`,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Elements of the port map, `tcp . 8080 : 172.30.0.2 . 80`. */
export function portElements(endpoint: Endpoint): readonly string[] {
  return endpoint.hostPorts.map(
    ({ port, protocol, target }) => `${protocol} . ${port} : ${endpoint.address} . ${target}`,
  );
}

export function addElements(table: string, endpoint: Endpoint): string {
  return `add element ip ${table} hports { ${portElements(endpoint).join(', ')} }\n`;
}

export function deleteElements(table: string, endpoint: Endpoint): string {
  const keys = endpoint.hostPorts.map(({ port, protocol }) => `${protocol} . ${port}`);
  return `delete element ip ${table} hports { ${keys.join(', ')} }\n`;
}

/** `/etc/hosts` of a task. `extra` lines are `IP host [alias…]`. */
export function hostsFile(address: string, hostname: string, extra: readonly string[]): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...extra.map((line) => line.trim().replace(/\s+/, '\t')),
    `${address}\t${hostname}`,
    '',
  ].join('\n');
}

export interface DnsSettings {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** A task's `/etc/resolv.conf`: its own settings, else the host's, without resolvers that only the host can reach. */
export function resolvConf(hostFile: string, dns: DnsSettings): string {
  const lines = hostFile.split('\n').map((line) => line.trim().split(/\s+/));
  const ofHost = (keyword: string) => lines.filter(([word]) => word === keyword).flatMap(([, ...values]) => values);
  const nameservers =
    dns.nameservers.length > 0
      ? dns.nameservers
      : ofHost('nameserver').filter((server) => !/^(127\.|::1$)/.test(server));
  const search = dns.search.length > 0 ? dns.search : ofHost('search');
  const options = dns.options.length > 0 ? dns.options : ofHost('options');
  return [
    ...nameservers.map((server) => `nameserver ${server}`),
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');
}
