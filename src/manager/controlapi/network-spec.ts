/** Everything about a network that can be judged without looking at the rest of the cluster; in Docker's words where it has some. */
import { type Block, contains, formatBlock, overlaps, parseBlock } from '../../model/ip.ts';
import { ingressVni } from '../../model/network.ts';
import {
  ipvlanModeOption,
  ipvlanModes,
  macvlanModeOption,
  macvlanModes,
  mtuMax,
  mtuMin,
  mtuOption,
  parentOption,
  sharedSubnetOption,
  vxlanIdMax,
  vxlanIdOption,
} from '../../model/network-options.ts';
import type { IpamConfig, NetworkSpec } from '../../model/spec.ts';
import { invalid, unsupported } from './context.ts';
import { checkName } from './names.ts';

const ipamConfigsMax = 16;
/** Prefix lengths of subnets: room for a few tasks at least, and no more than can be counted. */
const prefixes = { 4: { min: 8, max: 29 }, 6: { min: 16, max: 124 } } as const;
const mtuMinIpv6 = 1280;
/** Drivers of Docker whose networks are one host's. */
const localDrivers = new Set(['bridge', 'host', 'null', 'none']);

export function checkNetworkSpec(spec: NetworkSpec): void {
  checkName(spec.Name);
  checkDriver(spec.Driver);
  checkKind(spec);
  checkOptions(spec);
  checkIpam(spec);
}

function checkDriver(driver: string): void {
  if (localDrivers.has(driver)) {
    throw invalid(
      `network driver "${driver}" is for networks of one host: networks of a cluster have driver overlay, macvlan or ipvlan`,
    );
  }
  if (!['overlay', 'macvlan', 'ipvlan'].includes(driver)) {
    throw unsupported(`network driver "${driver}" is`, ' (known: overlay, macvlan, ipvlan)');
  }
}

function checkKind(spec: NetworkSpec): void {
  if (spec.Ingress) throw unsupported('ingress networks are', ': published ports need no network here');
  if (spec.ConfigOnly || spec.ConfigFrom?.Network) {
    throw unsupported(
      'networks of configurations (config-only, config-from) are',
      ': give the network its settings itself',
    );
  }
  if (spec.EnableIPv4 === false) throw unsupported('networks without IPv4 are');
  if (spec.Scope && spec.Scope !== 'swarm') {
    throw unsupported(`networks of scope "${spec.Scope}" are`, ': those of a cluster have scope swarm');
  }
  if (spec.Internal === true && spec.Driver !== 'overlay') {
    throw unsupported(
      `internal networks of driver ${spec.Driver} are`,
      ': what they reach is up to the network of the hosts',
    );
  }
}

type Check = (value: string, spec: NetworkSpec) => void;

const optionsOf: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  overlay: {
    [mtuOption]: checkMtu,
    [vxlanIdOption]: checkVxlanId,
    [sharedSubnetOption]: checkFlag,
    encrypted: checkEncrypted,
  },
  macvlan: {
    [mtuOption]: checkMtu,
    [parentOption]: checkParent,
    [macvlanModeOption]: oneOf(macvlanModeOption, macvlanModes),
  },
  ipvlan: {
    [mtuOption]: checkMtu,
    [parentOption]: checkParent,
    [ipvlanModeOption]: oneOf(ipvlanModeOption, ipvlanModes),
  },
};

function checkOptions(spec: NetworkSpec): void {
  const known = optionsOf[spec.Driver] ?? {};
  for (const [name, value] of Object.entries(spec.Options ?? {})) {
    const check = Object.hasOwn(known, name) ? known[name] : undefined;
    if (check === undefined) throw unsupported(`network option "${name}" of driver ${spec.Driver} is`);
    check(value, spec);
  }
  if (spec.Driver !== 'overlay' && !spec.Options?.[parentOption]) {
    throw invalid(
      `network option "${parentOption}" is missing: the hosts' interface that the ${spec.Driver} network is on`,
    );
  }
}

function checkMtu(value: string, spec: NetworkSpec): void {
  const mtu = /^\d{1,6}$/.test(value) ? Number(value) : 0;
  const min = spec.EnableIPv6 === true ? mtuMinIpv6 : mtuMin;
  if (mtu < min || mtu > mtuMax) {
    throw invalid(`invalid MTU "${value}": it must be ${min} to ${mtuMax}${min === mtuMinIpv6 ? ' with IPv6' : ''}`);
  }
}

function checkVxlanId(value: string): void {
  const id = /^\d{1,8}$/.test(value) ? Number(value) : 0;
  if (id === ingressVni) throw invalid(`VXLAN id ${id} belongs to the link for published ports`);
  if (id < 1 || id > vxlanIdMax)
    throw invalid(`invalid VXLAN id "${value}": it must be one number, 1 to ${vxlanIdMax}`);
}

function checkEncrypted(value: string): void {
  if (value === 'false') return;
  throw unsupported(
    'encrypted overlay networks are',
    ': connect the hosts by an encrypted network (e.g. WireGuard) instead',
  );
}

function checkParent(value: string): void {
  if (!/^[A-Za-z0-9_.@-]{1,15}$/.test(value)) {
    throw invalid(`invalid network option "${parentOption}": "${value}" is no name of an interface`);
  }
}

function checkFlag(value: string): void {
  if (value !== 'true' && value !== 'false')
    throw invalid(`invalid network option "${sharedSubnetOption}": "${value}", it must be true or false`);
}

function oneOf(option: string, values: readonly string[]): Check {
  return (value) => {
    if (!values.includes(value)) {
      throw invalid(`invalid network option "${option}": "${value}", it must be one of ${values.join(', ')}`);
    }
  };
}

function checkIpam(spec: NetworkSpec): void {
  const { IPAM: ipam } = spec;
  if (ipam?.Driver && ipam.Driver !== 'default') throw unsupported(`IPAM driver "${ipam.Driver}" is`);
  const option = Object.keys(ipam?.Options ?? {})[0];
  if (option !== undefined) throw unsupported(`IPAM option "${option}" is`);
  const configs = ipam?.Config ?? [];
  if (configs.length > ipamConfigsMax) throw invalid(`too many subnets: ${configs.length}, at most ${ipamConfigsMax}`);
  const blocks: Block[] = [];
  for (const config of configs) {
    const block = checkConfig(config, spec);
    const other = blocks.find((one) => overlaps(one, block));
    if (other !== undefined)
      throw invalid(`invalid subnet ${config.Subnet}: it overlaps with ${formatBlock(other)} of the same network`);
    blocks.push(block);
  }
  if (spec.Driver !== 'overlay' && spec.EnableIPv6 === true && !blocks.some(({ family }) => family === 6)) {
    throw invalid(`a ${spec.Driver} network with IPv6 needs an IPv6 subnet: that of the hosts' network which it is on`);
  }
  if (spec.Driver !== 'overlay' && !blocks.some(({ family }) => family === 4)) {
    throw invalid(`a ${spec.Driver} network needs an IPv4 subnet: that of the hosts' network which it is on`);
  }
}

function checkConfig(config: IpamConfig, spec: NetworkSpec): Block {
  const { Subnet: text = '' } = config;
  const block = parseBlock(text);
  if (block === undefined) throw invalid(`invalid subnet ${text}: invalid CIDR block notation`);
  if (isCut(text)) throw invalid(`invalid subnet ${text}: it should be ${formatBlock(block)}`);
  if (block.family === 6 && spec.EnableIPv6 !== true)
    throw invalid(`invalid subnet ${text}: the network is not IPv6-enabled`);
  const { min, max } = prefixes[block.family];
  if (block.prefix < min || block.prefix > max)
    throw invalid(`invalid subnet ${text}: its size must be /${min} to /${max}`);
  checkRange(config.IPRange ?? '', block);
  if (config.Gateway) checkAddress(`gateway ${config.Gateway}`, config.Gateway, block);
  const reserved = Object.entries(config.AuxiliaryAddresses ?? {});
  if (reserved.length > 256) throw invalid(`too many auxiliary addresses: ${reserved.length}, at most 256`);
  for (const [name, address] of reserved) checkAddress(`auxiliary address ${name}`, address, block);
  return block;
}

function checkRange(text: string, subnet: Block): void {
  if (text === '') return;
  const range = parseBlock(text);
  if (range === undefined) throw invalid(`invalid ip-range ${text}: invalid CIDR block notation`);
  if (isCut(text)) throw invalid(`invalid ip-range ${text}: it should be ${formatBlock(range)}`);
  if (range.prefix < subnet.prefix && range.family === subnet.family) {
    throw invalid(`invalid ip-range ${text}: CIDR block is bigger than its parent subnet ${formatBlock(subnet)}`);
  }
  if (!overlaps(range, subnet))
    throw invalid(`invalid ip-range ${text}: parent subnet ${formatBlock(subnet)} doesn't contain ip-range`);
}

function checkAddress(what: string, address: string, subnet: Block): void {
  if (contains(subnet, address)) return;
  throw invalid(`invalid ${what}: parent subnet ${formatBlock(subnet)} doesn't contain this address`);
}

/** Host bits are set. */
function isCut(text: string): boolean {
  const block = parseBlock(text);
  const own = parseBlock(text.replace(/\/.*$/, block?.family === 6 ? '/128' : '/32'));
  return block !== undefined && own !== undefined && own.base !== block.base;
}
