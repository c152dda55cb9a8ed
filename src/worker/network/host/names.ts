/**
 * What the host's part of the network is called in the kernel. Names are functions of ids, so that what is ours and not wanted can be
 * told from what is somebody else's, and a daemon that was killed finds everything again.
 */
import { createHash } from 'node:crypto';
import { addressAt, formatAddress, parseAddress, parseBlock } from '../../../model/ip.ts';

/** Where the node's names answer, UDP and TCP, on the node's gateway address; port 53 of 127.0.0.11 in containers leads there. */
export const dnsPort = 10_053;
/** The host's end of a container's gateway link is this and 8 hex digits: 12 characters of the kernel's 15. */
export const linkPrefix = 'tscg';
/** The container's end. */
export const containerLink = 'gw0';
/** The link between nodes that carries published ports. */
export const ingressLink = 'ing0';
/** In families `ip` and, over an IPv6 underlay, `ip6`. */
export const tableName = 'tsc';
/** Marks the node's gateway address on the loopback device as ours. */
export const loopbackLabel = 'lo:tsc';
/** Marks our routes and rules (rtnetlink's `protocol`; free in iproute2's list). */
export const routeProtocol = '84';
/** In rules that we add to other programs' chains. */
export const ruleComment = 'tscluster';

/**
 * Marks, 12 bits of ours and 20 that count the peer's place in the ingress pool. On a task's node the connection and its answers carry
 * the peer that let it in, and the routing table of the same number leads there.
 */
export const entryMark = 0x545_00000;
export const entryMarkMask = 0xfff_00000;
const entryIndexMax = 0xf_ffff;
/** On the entry node: the connection's source is to be replaced. */
export const masqueradeMark = 0x546_00000;

/** Routing rules: most packets carry no mark and jump over the peers' rules in one step. */
export const rulePreference = { skip: 5450, own: 5451, peers: 5452, end: 5453 } as const;

export function linkName(taskId: string): string {
  return linkPrefix + hash8(taskId);
}

export function hash8(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}

/** The node's own address on its gateway subnet: the first one. */
export function gatewayAddress(gatewaySubnet: string): string {
  const block = parseBlock(gatewaySubnet);
  if (block === undefined) throw new RangeError(`invalid gateway subnet "${gatewaySubnet}"`);
  return addressAt(block, 1n);
}

/** The way the kernel writes an address: IPv6 has many. */
export function canonical(address: string): string {
  const parsed = parseAddress(address);
  return parsed === undefined ? address : formatAddress(parsed.family, parsed.value);
}

/** Mark and routing table of a peer; undefined when its address is not in the pool or the pool is larger than marks can count. */
export function markOf(ingressAddress: string, ingressPool: string): number | undefined {
  const block = parseBlock(ingressPool);
  const address = parseAddress(ingressAddress);
  if (block === undefined || address === undefined || block.family !== address.family) return undefined;
  const index = address.value - block.base;
  return index > 0n && index < block.size && index <= BigInt(entryIndexMax) ? entryMark + Number(index) : undefined;
}
