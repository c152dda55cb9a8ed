/** `network create` flags about addresses → one entry per subnet, matched as Docker's client does. */
import { ClusterError } from '../../lib/errors.ts';
import { type Block, contains, overlaps, parseBlock } from '../../model/ip.ts';
import type { IpamConfig } from '../../model/spec.ts';

export interface IpamFlags {
  readonly auxAddress?: readonly string[];
  readonly gateway?: readonly string[];
  readonly ipRange?: readonly string[];
  readonly subnet?: readonly string[];
}

interface Entry {
  readonly block: Block;
  readonly subnet: string;
  range?: string;
  gateway?: string;
  readonly reserved: Record<string, string>;
}

/** Subnets are posted as they were written: the daemon checks them once more. */
export function ipamConfigs(flags: IpamFlags): readonly IpamConfig[] {
  const { subnet = [], ipRange = [], gateway = [], auxAddress = [] } = flags;
  if (subnet.length < ipRange.length || subnet.length < gateway.length) {
    throw invalid('every ip-range or gateway must have a corresponding subnet');
  }
  const entries = subnet.map(entryOf);
  for (const [at, entry] of entries.entries()) {
    if (entries.slice(0, at).some((other) => overlaps(other.block, entry.block))) {
      throw invalid('multiple overlapping subnet configuration is not supported');
    }
  }
  for (const range of ipRange) addRange(entries, range);
  for (const address of gateway) addGateway(entries, address);
  for (const pair of auxAddress) reserve(entries, pair);
  return entries.map((entry) => ({
    Subnet: entry.subnet,
    ...(entry.range === undefined ? {} : { IPRange: entry.range }),
    ...(entry.gateway === undefined ? {} : { Gateway: entry.gateway }),
    ...(Object.keys(entry.reserved).length === 0 ? {} : { AuxiliaryAddresses: entry.reserved }),
  }));
}

function entryOf(subnet: string): Entry {
  const block = parseBlock(subnet);
  if (block === undefined) throw invalid(`invalid subnet "${subnet}": invalid CIDR address: ${subnet}`);
  return { block, subnet, reserved: {} };
}

function addRange(entries: readonly Entry[], range: string): void {
  const block = parseBlock(range);
  if (block === undefined) throw invalid(`invalid ip-range "${range}": invalid CIDR address: ${range}`);
  const entry = entries.find((candidate) => overlaps(candidate.block, block) && candidate.block.size >= block.size);
  if (entry === undefined) throw invalid(`no matching subnet for range ${range}`);
  if (entry.range !== undefined) {
    throw invalid(`cannot configure multiple ranges (${range}, ${entry.range}) on the same subnet (${entry.subnet})`);
  }
  entry.range = range;
}

function addGateway(entries: readonly Entry[], gateway: string): void {
  const entry = entries.find((candidate) => contains(candidate.block, gateway));
  if (entry === undefined) throw invalid(`no matching subnet for gateway ${gateway}`);
  if (entry.gateway !== undefined) {
    throw invalid(
      `cannot configure multiple gateways (${gateway}, ${entry.gateway}) for the same subnet (${entry.subnet})`,
    );
  }
  entry.gateway = gateway;
}

/** `name=address`. */
function reserve(entries: readonly Entry[], pair: string): void {
  const at = pair.indexOf('=');
  if (at < 1) throw invalid(`invalid aux-address "${pair}": use NAME=ADDRESS`);
  const address = pair.slice(at + 1);
  const entry = entries.find((candidate) => contains(candidate.block, address));
  if (entry === undefined) throw invalid(`no matching subnet for aux-address ${address}`);
  entry.reserved[pair.slice(0, at)] = address;
}

function invalid(message: string): ClusterError {
  return new ClusterError('invalid', message);
}
