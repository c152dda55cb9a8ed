/** What a network is given: its subnets and its VXLAN id. Pure; the books say what is in use. */
import { addressAt, type Block, formatBlock, parseBlock } from '../../model/ip.ts';
import { sharedSubnetOption, vxlanIdOption } from '../../model/network-options.ts';
import type { ClusterNetwork, NetworkAllocation, NetworkSubnet } from '../../model/objects.ts';
import type { IpamConfig, NetworkSpec } from '../../model/spec.ts';
import type { SubnetBook } from './subnets.ts';

export interface NetworkBooks {
  readonly subnets: SubnetBook;
  /** VXLAN ids. */
  isVniTaken(vni: number): boolean;
  /** The smallest free one; undefined: all are taken. */
  nextVni(): number | undefined;
  nameOf(networkId: string): string;
}

export interface NetworkWish {
  readonly id: string;
  readonly spec: NetworkSpec;
}

/** The allocation, or why there is none. */
export function decideNetwork(
  wish: NetworkWish,
  pools: ClusterNetwork,
  books: NetworkBooks,
): NetworkAllocation | string {
  const vni = decideVni(wish.spec, books);
  if (typeof vni === 'string') return vni;
  const chosen = chosenSubnets(wish.spec, books);
  if (typeof chosen === 'string') return chosen;
  const subnets = [...chosen];
  if (!subnets.some(({ subnet }) => isFamily(subnet, 4))) {
    const block = cut(pools, books);
    if (block === undefined) {
      const sizes = `/${pools.subnetSize} of ${pools.addressPools.join(', ')}`;
      return `address pools are exhausted (every ${sizes} is in use): remove networks, give the network a subnet of its own, or add a pool`;
    }
    subnets.unshift(plain(block));
  }
  if (wish.spec.EnableIPv6 === true && !subnets.some(({ subnet }) => isFamily(subnet, 6))) {
    subnets.push(plain(uniqueLocal(wish.id, books)));
  }
  return { vni, subnets: sorted(subnets) };
}

function decideVni({ Driver, Options }: NetworkSpec, books: NetworkBooks): number | string {
  if (Driver !== 'overlay') return 0;
  const wanted = Number(Options?.[vxlanIdOption] ?? 0);
  if (wanted !== 0) return books.isVniTaken(wanted) ? `VXLAN id ${wanted} is in use by another network` : wanted;
  return books.nextVni() ?? 'all VXLAN ids are in use: remove networks';
}

function chosenSubnets(spec: NetworkSpec, books: NetworkBooks): readonly NetworkSubnet[] | string {
  const subnets: NetworkSubnet[] = [];
  const isShared = spec.Options?.[sharedSubnetOption] === 'true';
  for (const config of spec.IPAM?.Config ?? []) {
    const block = parseBlock(config.Subnet ?? '');
    if (block === undefined) return `invalid subnet "${config.Subnet ?? ''}"`;
    const other = isShared ? undefined : books.subnets.overlapping(block);
    if (other !== undefined) return `subnet ${formatBlock(block)} overlaps with one of network ${books.nameOf(other)}`;
    subnets.push(asked(block, config));
  }
  return subnets;
}

function asked(block: Block, { Gateway, IPRange, AuxiliaryAddresses }: IpamConfig): NetworkSubnet {
  const reserved = Object.values(AuxiliaryAddresses ?? {});
  return {
    ...plain(block),
    ...(Gateway ? { gateway: Gateway } : {}),
    ...(IPRange ? { range: IPRange } : {}),
    ...(reserved.length === 0 ? {} : { reserved }),
  };
}

function plain(block: Block): NetworkSubnet {
  return { subnet: formatBlock(block), gateway: addressAt(block, 1n) };
}

function cut(pools: ClusterNetwork, { subnets }: NetworkBooks): Block | undefined {
  const reserved = reservedBlocks(pools);
  for (const text of pools.addressPools) {
    const pool = parseBlock(text);
    const size = Math.max(pools.subnetSize, pool?.prefix ?? 0);
    const block = pool === undefined ? undefined : subnets.firstFree(pool, size, reserved);
    if (block !== undefined) return block;
  }
  return undefined;
}

/** Blocks that are the cluster's own. */
export function reservedBlocks({ gatewayPools, ingressPool }: ClusterNetwork): readonly Block[] {
  return [...gatewayPools, ingressPool].map(parseBlock).filter((block) => block !== undefined);
}

/** A /64 of the addresses that are nobody's (RFC 4193), from the network's id: the next one should it be in use. */
function uniqueLocal(id: string, { subnets }: NetworkBooks): Block {
  const size = 1n << 64n;
  let hash = 0xcbf29ce484222325n;
  for (const character of id) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(character.codePointAt(0) ?? 0)) * 0x100000001b3n);
  }
  for (let step = 0n; ; step++) {
    const bits = BigInt.asUintN(56, (hash >> 4n) + step);
    const block: Block = { family: 6, base: ((0xfdn << 56n) | bits) << 64n, prefix: 64, size };
    if (subnets.overlapping(block) === undefined) return block;
  }
}

function sorted(subnets: readonly NetworkSubnet[]): readonly NetworkSubnet[] {
  return [
    ...subnets.filter(({ subnet }) => isFamily(subnet, 4)),
    ...subnets.filter(({ subnet }) => isFamily(subnet, 6)),
  ];
}

function isFamily(subnet: string, family: 4 | 6): boolean {
  return parseBlock(subnet)?.family === family;
}
