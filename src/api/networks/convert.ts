/** Networks as Docker shows them: what was asked for, completed with what the allocator gave. */
import { formatBlock, parseBlock } from '../../model/ip.ts';
import { vxlanIdOption } from '../../model/network-options.ts';
import type { Network, NetworkSubnet } from '../../model/objects.ts';
import type { IpamConfig, NetworkSpec } from '../../model/spec.ts';
import { head, time } from '../common.ts';

export function convertNetwork(network: Network) {
  const { spec } = network;
  return {
    Name: spec.Name,
    Id: network.id,
    Created: time(network.meta.createdAt),
    Scope: 'swarm',
    Driver: spec.Driver,
    EnableIPv4: true,
    EnableIPv6: spec.EnableIPv6 ?? false,
    IPAM: { Driver: ipamDriver(spec), Options: spec.IPAM?.Options ?? null, Config: ipamConfigs(network) },
    Internal: spec.Internal ?? false,
    Attachable: spec.Attachable ?? false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: optionsOf(network),
    Labels: spec.Labels,
    ...(network.allocationError === undefined ? {} : { TsCluster: { AllocationError: network.allocationError } }),
  };
}

export type NetworkDocument = ReturnType<typeof convertNetwork>;

/** The network inside a task, as the orchestrator's own object rather than as the engine's. */
export function convertAttachedNetwork(network: Network) {
  const { spec } = network;
  const { Name, Labels, Driver, EnableIPv6, Internal, Attachable, IPAM } = spec;
  return {
    ...head(network),
    Spec: {
      Name,
      Labels,
      DriverConfiguration: { Name: Driver, ...(spec.Options === undefined ? {} : { Options: spec.Options }) },
      ...(EnableIPv6 === true ? { IPv6Enabled: true } : {}),
      ...(Internal === true ? { Internal: true } : {}),
      ...(Attachable === true ? { Attachable: true } : {}),
      IPAMOptions: {
        Driver: { Name: ipamDriver(spec) },
        ...(IPAM?.Config === undefined ? {} : { Configs: IPAM.Config.map(attachedConfig) }),
      },
      Scope: 'swarm',
    },
    DriverState: { Name: Driver, Options: optionsOf(network) },
    IPAMOptions: { Driver: { Name: ipamDriver(spec) }, Configs: ipamConfigs(network).map(attachedConfig) },
  };
}

/** The same facts have other names there. */
function attachedConfig({ Subnet, IPRange, Gateway }: IpamConfig) {
  return {
    ...(Subnet === undefined ? {} : { Subnet }),
    ...(IPRange === undefined ? {} : { Range: IPRange }),
    ...(Gateway === undefined ? {} : { Gateway }),
  };
}

function ipamDriver({ IPAM }: NetworkSpec): string {
  return IPAM?.Driver || 'default';
}

/** What was given, with the names of the addresses that are kept aside; before anything was given, what was asked for. */
function ipamConfigs({ spec, allocation }: Network): readonly IpamConfig[] {
  const asked = spec.IPAM?.Config ?? [];
  return allocation === undefined ? asked : allocation.subnets.map((given) => ipamConfig(given, asked));
}

function ipamConfig({ subnet, gateway, range }: NetworkSubnet, asked: readonly IpamConfig[]): IpamConfig {
  const own = asked.find((config) => canonical(config.Subnet) === canonical(subnet));
  return {
    Subnet: subnet,
    ...(range === undefined ? {} : { IPRange: range }),
    Gateway: gateway,
    ...(own?.AuxiliaryAddresses === undefined ? {} : { AuxiliaryAddresses: own.AuxiliaryAddresses }),
  };
}

function canonical(subnet = ''): string {
  const block = parseBlock(subnet);
  return block === undefined ? subnet : formatBlock(block);
}

function optionsOf({ spec, allocation }: Network): Readonly<Record<string, string>> {
  const vni = allocation?.vni ?? 0;
  return { ...(vni === 0 ? {} : { [vxlanIdOption]: String(vni) }), ...spec.Options };
}

const predefinedNames = ['bridge', 'host', 'none'];

export function isPredefined(network: NetworkDocument): boolean {
  return predefinedNames.includes(network.Id);
}

/** Networks that every node has. With swarm scope they are names that services can be attached to. */
export function predefinedNetworks(scope: 'local' | 'swarm'): readonly NetworkDocument[] {
  return predefinedNames.map((name) => ({
    Name: name,
    Id: name,
    Created: time(0),
    Scope: scope,
    Driver: name === 'none' ? 'null' : name,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: {},
    Labels: scope === 'swarm' ? { 'com.docker.swarm.predefined': 'true' } : {},
  }));
}
