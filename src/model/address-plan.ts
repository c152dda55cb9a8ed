/**
 * Where a new cluster takes its addresses from: what was asked for at `init`, checked, and for the rest defaults that keep clear of
 * it, of the networks that the host is on already and, as far as possible, of those that it has routes to. Pure.
 */
import { ClusterError } from '../lib/errors.ts';
import { type Block, formatBlock, overlaps, parseBlock } from './ip.ts';
import { defaultClusterNetwork } from './network.ts';
import type { ClusterNetwork } from './objects.ts';

/** A network that this host is on, e.g. `{ name: 'eth0', cidr: '192.168.1.5/24' }`. */
export interface HostNetwork {
  readonly name: string;
  readonly cidr: string;
}

const dataPathPorts = { first: 1024, last: 49_151 } as const;
/** Below this a subnet has no room for a gateway, a virtual address and a task. */
const subnetSizeMax = 29;
const gatewaySubnetSize = 24;
const ingressSizeMax = 30;
const poolsMax = 64;

const addressPoolCandidates = [...defaultClusterNetwork.addressPools, '192.168.0.0/16', '172.16.0.0/13'];
const gatewayPoolCandidates = [...defaultClusterNetwork.gatewayPools, '172.24.0.0/14', '192.168.128.0/17'];
const ingressPoolCandidates = [defaultClusterNetwork.ingressPool, '172.27.0.0/16', '10.254.0.0/16', '192.168.127.0/24'];

type Flag = '--default-addr-pool' | '--gateway-pool' | '--ingress-pool';

interface Asked {
  readonly flag: Flag;
  readonly text: string;
  readonly block: Block;
}

/** What can be said about a wish without looking at the host. Errors: `invalid`, in Docker's words where it has some. */
export function checkAddressPlan(wish: Partial<ClusterNetwork>): void {
  askedBlocks(wish);
  const { dataPathPort: port = defaultClusterNetwork.dataPathPort } = wish;
  if (port < dataPathPorts.first || port > dataPathPorts.last) {
    throw invalid(
      `VXLAN UDP port number is not in valid range (${dataPathPorts.first}-${dataPathPorts.last}): ${port}`,
    );
  }
}

/**
 * The whole plan. `routes`: networks that the host reaches through another. Whoever asks for a part of such a one knows, and where
 * nothing else is left it is taken, too: many a host has routes to all private addresses, most of which nobody has.
 * Errors: `invalid`, naming the interface and the flag that helps.
 */
export function planAddresses(
  wish: Partial<ClusterNetwork>,
  host: readonly HostNetwork[],
  routes: readonly HostNetwork[] = [],
): ClusterNetwork {
  checkAddressPlan(wish);
  const asked = askedBlocks(wish);
  const taken = host.flatMap(({ name, cidr }) => {
    const block = parseBlock(cidr);
    return block === undefined ? [] : [{ name, block }];
  });
  for (const { flag, text, block } of asked) {
    const clash = taken.find((own) => overlaps(own.block, block));
    if (clash !== undefined) {
      throw invalid(
        `address pool ${text} overlaps ${formatBlock(clash.block)}, which interface ${clash.name} of this host is on: choose another with ${flag}`,
      );
    }
  }
  const subnetSize = wish.subnetSize ?? defaultClusterNetwork.subnetSize;
  const avoided = [...taken.map(({ block }) => block), ...asked.map(({ block }) => block)];
  const spared = blocksOf(routes.map(({ cidr }) => cidr));
  const gatewayPools =
    wish.gatewayPools?.map(canonical) ??
    freeParts('--gateway-pool', { candidates: gatewayPoolCandidates, avoided, spared, longest: gatewaySubnetSize });
  const gateways = blocksOf(gatewayPools);
  const ingressPool =
    wish.ingressPool === undefined ? freeWhole([...avoided, ...gateways], spared) : canonical(wish.ingressPool);
  const addressPools =
    wish.addressPools?.map(canonical) ??
    freeParts('--default-addr-pool', {
      candidates: addressPoolCandidates,
      avoided: [...avoided, ...gateways],
      spared,
      longest: subnetSize,
    });
  const dataPathPort = wish.dataPathPort ?? defaultClusterNetwork.dataPathPort;
  return { addressPools, subnetSize, dataPathPort, gatewayPools, ingressPool };
}

function askedBlocks(wish: Partial<ClusterNetwork>): readonly Asked[] {
  const subnetSize = wish.subnetSize ?? defaultClusterNetwork.subnetSize;
  if (subnetSize > subnetSizeMax || subnetSize < 1) throw invalid(`subnet size is out of range: ${subnetSize}`);
  const { addressPools = [], gatewayPools = [], ingressPool } = wish;
  if (addressPools.length + gatewayPools.length > poolsMax) throw invalid(`more than ${poolsMax} address pools`);
  const asked = [
    ...addressPools.map((text) => read('--default-addr-pool', text, subnetSize)),
    ...gatewayPools.map((text) => read('--gateway-pool', text, gatewaySubnetSize)),
    ...(ingressPool === undefined ? [] : [read('--ingress-pool', ingressPool, ingressSizeMax)]),
  ];
  for (const [at, one] of asked.entries()) {
    const other = asked.slice(0, at).find((earlier) => overlaps(earlier.block, one.block));
    if (other !== undefined) {
      throw invalid(`address pools overlap: ${other.flag} ${other.text} and ${one.flag} ${one.text}`);
    }
  }
  return asked;
}

/** `longest`: the prefix of what will be cut out of the pool. */
function read(flag: Flag, text: string, longest: number): Asked {
  const block = parseBlock(text);
  if (block === undefined) throw invalid(`invalid base pool ${JSON.stringify(text)}: invalid CIDR address: ${text}`);
  if (block.family !== 4) throw invalid(`invalid base pool ${JSON.stringify(text)}: IPv4 is needed for ${flag}`);
  if (block.prefix > longest) throw invalid(`invalid CIDR: "${text}". Subnet size is too small: ${longest}`);
  return { flag, text, block };
}

interface Search {
  readonly candidates: readonly string[];
  readonly avoided: readonly Block[];
  /** Avoided unless nothing else is left. */
  readonly spared: readonly Block[];
  /** Parts with a longer prefix than this are of no use. */
  readonly longest: number;
}

/** What is left of the first candidate of which something is left. */
function freeParts(flag: Flag, { candidates, avoided, spared, longest }: Search): readonly string[] {
  for (const blocks of [[...avoided, ...spared], avoided]) {
    for (const candidate of blocksOf(candidates)) {
      const parts = without(candidate, blocks, longest).slice(0, poolsMax);
      if (parts.length > 0) return parts.map(formatBlock);
    }
  }
  throw invalid(`this host is on all networks that addresses could be taken from: name a free one with ${flag}`);
}

function freeWhole(avoided: readonly Block[], spared: readonly Block[]): string {
  const candidates = blocksOf(ingressPoolCandidates);
  const isClear = (of: readonly Block[]) => (block: Block) => !of.some((other) => overlaps(block, other));
  const free = candidates.find(isClear([...avoided, ...spared])) ?? candidates.find(isClear(avoided));
  if (free !== undefined) return formatBlock(free);
  throw invalid('this host is on all networks that addresses could be taken from: name a free one with --ingress-pool');
}

/** `block` less `avoided`, as blocks in order of address. */
function without(block: Block, avoided: readonly Block[], longest: number): readonly Block[] {
  const inside = avoided.filter((other) => overlaps(block, other));
  if (inside.length === 0) return [block];
  if (block.prefix >= longest || inside.some((other) => other.prefix <= block.prefix)) return [];
  const half = { ...block, prefix: block.prefix + 1, size: block.size / 2n };
  const upper = { ...half, base: half.base + half.size };
  return [...without(half, inside, longest), ...without(upper, inside, longest)];
}

/** With the host bits cut off. */
function canonical(text: string): string {
  const block = parseBlock(text);
  return block === undefined ? text : formatBlock(block);
}

function blocksOf(texts: readonly string[]): readonly Block[] {
  return texts.flatMap((text) => parseBlock(text) ?? []);
}

function invalid(message: string): ClusterError {
  return new ClusterError('invalid', message);
}
