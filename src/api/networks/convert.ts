import type { Network } from '../../model/objects.ts';
import { time } from '../common.ts';

export function convertNetwork(network: Network) {
  const { spec } = network;
  return {
    Name: spec.Name,
    Id: network.id,
    Created: time(network.meta.createdAt),
    Scope: 'swarm',
    Driver: spec.Driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: spec.Options ?? {},
    Labels: spec.Labels,
  };
}

export type NetworkDocument = ReturnType<typeof convertNetwork>;

const predefinedNames = ['bridge', 'host', 'none'];

export function isPredefined(network: NetworkDocument): boolean {
  return predefinedNames.includes(network.Id);
}

/** Networks that every node has. With swarm scope they are names that services could be attached to. */
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
