import type { Command } from 'commander';
import type { CreateNetworkBody } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { collect, collectLabel, labelMap } from '../options.ts';
import { type IpamFlags, ipamConfigs } from './ipam.ts';

interface Flags extends IpamFlags {
  readonly attachable?: boolean;
  readonly configFrom?: string;
  readonly configOnly?: boolean;
  readonly driver: string;
  readonly ingress?: boolean;
  readonly internal?: boolean;
  readonly ipamDriver?: string;
  readonly ipamOpt?: readonly string[];
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  readonly label?: readonly string[];
  readonly opt?: readonly string[];
  readonly scope?: string;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] NETWORK')
    .argument('<name>')
    .option('--attachable', 'Enable manual container attachment')
    .option('--aux-address <name=address>', 'Addresses of the subnet that are never given out', collect)
    .option('--config-from <network>', 'The network from which to copy the configuration')
    .option('--config-only', 'Create a configuration only network')
    // Docker's own default is a bridge on one host, which is of no use to services.
    .option('-d, --driver <driver>', 'Driver to manage the network: overlay, macvlan or ipvlan', 'overlay')
    .option('--gateway <address>', "IPv4 or IPv6 gateway of the subnet: the nodes' own address on it", collect)
    .option('--ingress', 'Create the network of the routing mesh (not needed here: published ports work without one)')
    .option('--internal', 'Restrict external access to the network')
    .option('--ip-range <cidr>', 'Give addresses from a part of the subnet only', collect)
    .option('--ipam-driver <driver>', 'IP address management driver (default "default")')
    .option('--ipam-opt <option>', 'IPAM driver options', collectLabel)
    .option('--ipv4', 'Enable IPv4 address assignment (default true)')
    .option('--ipv6', 'Enable IPv6 address assignment')
    .option('--label <label>', 'Network labels', collectLabel)
    .option('-o, --opt <option>', 'Driver options, e.g. com.docker.network.driver.mtu=1400', collectLabel)
    .option('--scope <scope>', 'The network\'s scope ("swarm")')
    .option('--subnet <cidr>', 'Subnet in CIDR format', collect)
    .action(async (name: string, flags: Flags) => {
      const { Id, Warning = '' } = await (await ctx.client()).createNetwork(networkBody(name, flags));
      if (Warning !== '') ctx.stderr.write(`WARNING: ${Warning}\n`);
      ctx.stdout.write(`${Id}\n`);
    });
}

/** Key for key what Docker's client posts. */
export function networkBody(name: string, flags: Flags): CreateNetworkBody {
  return {
    Name: name,
    Driver: flags.driver,
    Scope: flags.scope ?? '',
    ...(flags.ipv4 === undefined ? {} : { EnableIPv4: flags.ipv4 }),
    ...(flags.ipv6 === undefined ? {} : { EnableIPv6: flags.ipv6 }),
    IPAM: { Driver: flags.ipamDriver ?? 'default', Options: labelMap(flags.ipamOpt), Config: ipamConfigs(flags) },
    Internal: flags.internal ?? false,
    Attachable: flags.attachable ?? false,
    Ingress: flags.ingress ?? false,
    ConfigOnly: flags.configOnly ?? false,
    ConfigFrom: flags.configFrom === undefined ? null : { Network: flags.configFrom },
    Options: labelMap(flags.opt),
    Labels: labelMap(flags.label),
  };
}
