/** The networks that a service asks for, and its published ports beside those of others. */
import { ClusterError } from '../../lib/errors.ts';
import { overlaps } from '../../model/ip.ts';
import { find } from '../../model/lookup.ts';
import { hasIngressPorts, isPseudoNetwork } from '../../model/network.ts';
import { collide, portInUse, portKey, publishMode } from '../../model/ports.ts';
import type { NetworkAttachmentConfig, PortConfig, ServiceSpec } from '../../model/spec.ts';
import type { ClusterView } from '../../model/view.ts';
import { invalid, unsupported } from './context.ts';
import { subnetsOf } from './network.ts';

const networksMax = 32;
const aliasesMax = 100;
const aliasLabel = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/** Clients send a network's id or, as `docker stack deploy` does, its name; ids are stored. */
export function resolveNetworks(view: ClusterView, spec: ServiceSpec): readonly NetworkAttachmentConfig[] | undefined {
  const wanted = spec.TaskTemplate.Networks;
  if (wanted === undefined) return undefined;
  if (wanted.length > networksMax) throw invalid(`too many networks: ${wanted.length}, at most ${networksMax}`);
  const networks = wanted.map((network) => resolve(view, network));
  const seen = new Set<string>();
  for (const [at, { Target }] of networks.entries()) {
    if (seen.has(Target))
      throw invalid(`service is attached to network ${wanted[at]?.Target ?? Target} more than once`);
    seen.add(Target);
  }
  checkApart(view, [...seen]);
  for (const exclusive of ['host', 'none']) {
    if (seen.has(exclusive)) checkExclusive(exclusive, seen.size, spec);
  }
  return networks;
}

/** A container on two networks with the same addresses could not tell them apart. */
function checkApart(view: ClusterView, networkIds: readonly string[]): void {
  const networks = networkIds.flatMap((id) => view.get('network', id) ?? []);
  for (const [at, one] of networks.entries()) {
    const other = networks
      .slice(at + 1)
      .find((next) => subnetsOf(next).some((block) => subnetsOf(one).some((mine) => overlaps(mine, block))));
    if (other === undefined) continue;
    throw invalid(`networks ${one.spec.Name} and ${other.spec.Name} share addresses: a service cannot be on both`);
  }
}

function resolve(view: ClusterView, wanted: NetworkAttachmentConfig): NetworkAttachmentConfig {
  const { Target, Aliases = [] } = wanted;
  if (Target === 'ingress') throw invalid('Service cannot be explicitly attached to the ingress network "ingress"');
  if (Object.keys(wanted.DriverOpts ?? {}).length > 0) throw unsupported('driver options of network attachments are');
  if (isPseudoNetwork(Target)) {
    if (Aliases.length === 0) return wanted;
    throw invalid('network-scoped alias is supported only for containers in user defined networks');
  }
  const network = find(view, 'network', Target);
  if (network === undefined) throw new ClusterError('not_found', `network ${Target} not found`);
  checkAliases(Aliases);
  return { ...wanted, Target: network.id };
}

function checkAliases(aliases: readonly string[]): void {
  if (aliases.length > aliasesMax) throw invalid(`too many network aliases: ${aliases.length}, at most ${aliasesMax}`);
  for (const alias of aliases) {
    if (alias.length > 253 || !alias.split('.').every((label) => aliasLabel.test(label))) {
      throw invalid(`invalid network alias "${alias}": it must be a DNS name`);
    }
  }
}

/** Containers in the host's namespace, or without any network, are on no other one. */
function checkExclusive(name: string, count: number, { EndpointSpec: endpoint }: ServiceSpec): void {
  if (count > 1) throw invalid(`network "${name}" cannot be combined with other networks`);
  if (hasIngressPorts(endpoint)) {
    const advice = name === 'host' ? 'publish them with mode=host, or ' : '';
    throw invalid(`ports cannot be published in ingress mode on network "${name}": ${advice}use another network`);
  }
  if (name === 'none' && (endpoint?.Ports ?? []).length > 0) {
    throw invalid('ports cannot be published on network "none": use another network');
  }
}

/** `serviceId`: the service that the spec is for, absent for a new one. */
export function checkPortsFree(view: ClusterView, spec: ServiceSpec, serviceId?: string): void {
  const wanted = published(spec.EndpointSpec?.Ports);
  if (wanted.length === 0) return;
  const byKey = grouped(wanted);
  for (const service of view.list('service')) {
    if (service.id === serviceId) continue;
    const theirs = [...published(service.spec.EndpointSpec?.Ports), ...published(service.endpoint?.ports)];
    for (const other of theirs) {
      const port = byKey.get(keyOf(other))?.find((one) => collide(one, other));
      if (port === undefined) continue;
      const owner = { name: service.spec.Name, id: service.id, mode: publishMode(other) };
      throw invalid(portInUse(port.PublishedPort ?? 0, owner));
    }
  }
}

function published(ports: readonly PortConfig[] | undefined): readonly PortConfig[] {
  return (ports ?? []).filter((port) => Boolean(port.PublishedPort));
}

function keyOf(port: PortConfig): string {
  return portKey(port, port.PublishedPort ?? 0);
}

function grouped(ports: readonly PortConfig[]): ReadonlyMap<string, readonly PortConfig[]> {
  const groups = new Map<string, PortConfig[]>();
  for (const port of ports) groups.set(keyOf(port), [...(groups.get(keyOf(port)) ?? []), port]);
  return groups;
}
