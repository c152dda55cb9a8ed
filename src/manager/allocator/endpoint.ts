/** What a service is given: virtual addresses and published ports. All or nothing: half an endpoint is none. */
import { sameSpec } from '../../model/equal.ts';
import { dynamicPorts, hasIngressPorts, networksOf } from '../../model/network.ts';
import type { Network, NetworkAddresses, Service, ServiceEndpoint } from '../../model/objects.ts';
import { portInUse, portKey, publishMode } from '../../model/ports.ts';
import type { PortConfig, ServiceSpec } from '../../model/spec.ts';
import type { AddressBook } from './book.ts';
import type { PortBook } from './ports.ts';

export interface EndpointBooks {
  readonly addresses: AddressBook;
  readonly ports: PortBook;
  network(id: string): Network | undefined;
  service(id: string): Service | undefined;
}

/** Why there is none, and the network that has to change first, if it is one's fault. */
export interface Lack {
  readonly err: string;
  readonly networkId?: string;
}

type LookUp = (id: string) => Network | undefined;

export function needsEndpoint({ spec }: Pick<Service, 'spec'>, network: LookUp): boolean {
  return hasIngressPorts(spec.EndpointSpec) || vipNetworks(spec, network).length > 0;
}

/** The networks on which a service has a virtual address. Hosts' own networks (macvlan, ipvlan) have nobody who would answer for one. */
export function vipNetworks(spec: ServiceSpec, network: LookUp): readonly string[] {
  if (spec.EndpointSpec?.Mode === 'dnsrr') return [];
  return networksOf(spec.TaskTemplate).filter((id) => (network(id)?.spec.Driver ?? 'overlay') === 'overlay');
}

/** True when the service has exactly what its spec asks for. */
export function isServed(service: Service, network: LookUp): boolean {
  if (!needsEndpoint(service, network)) return service.endpoint === undefined && service.endpointError === undefined;
  const { endpoint } = service;
  return (
    endpoint?.specVersion === service.specVersion &&
    service.endpointError === undefined &&
    fits(service, endpoint, network)
  );
}

/** True when `endpoint` is what the spec asks for. */
export function fits({ spec }: Pick<Service, 'spec'>, endpoint: ServiceEndpoint, network: LookUp): boolean {
  const wanted = vipNetworks(spec, network);
  if (
    !sameSpec(
      wanted,
      endpoint.vips.map(({ networkId }) => networkId),
    )
  )
    return false;
  const ports = spec.EndpointSpec?.Ports ?? [];
  if (ports.length !== endpoint.ports.length) return false;
  return ports.every((port, at) => {
    const given = endpoint.ports[at];
    return (
      given !== undefined && sameSpec({ ...port, PublishedPort: port.PublishedPort || given.PublishedPort }, given)
    );
  });
}

/** `old`: what it has, which it keeps as far as it is still asked for. */
export function decideEndpoint(
  service: Service,
  old: ServiceEndpoint | undefined,
  books: EndpointBooks,
): ServiceEndpoint | Lack {
  const vips: NetworkAddresses[] = [];
  for (const networkId of vipNetworks(service.spec, books.network)) {
    const vip = decideVip(service, networkId, { old, books });
    if ('err' in vip) return vip;
    vips.push(vip);
  }
  const ports = decidePorts(service, old?.ports ?? [], books);
  return 'err' in ports ? ports : { specVersion: service.specVersion, vips, ports };
}

function decideVip(
  service: Service,
  networkId: string,
  { old, books }: { readonly old: ServiceEndpoint | undefined; readonly books: EndpointBooks },
): NetworkAddresses | Lack {
  const kept = old?.vips.find((vip) => vip.networkId === networkId);
  if (kept !== undefined) return kept;
  const missing = lackOfNetwork(networkId, books);
  if (missing !== undefined) return missing;
  const vip = books.addresses.next(networkId);
  if (vip !== undefined) return vip;
  const { Name } = service.spec;
  return { err: `no virtual address for service ${Name}: ${books.addresses.shortage(networkId)}`, networkId };
}

/** Undefined: addresses of the network can be given. */
export function lackOfNetwork(
  networkId: string,
  { addresses, network: lookUp }: Pick<EndpointBooks, 'addresses' | 'network'>,
): Lack | undefined {
  const network = lookUp(networkId);
  if (network === undefined) {
    return { err: `network ${networkId} does not exist any more: update the service, or remove it`, networkId };
  }
  if (addresses.knows(networkId)) return undefined;
  const why = network.allocationError ?? 'it is about to be given one';
  return { err: `network ${network.spec.Name} has no subnet: ${why}`, networkId };
}

function decidePorts(
  service: Service,
  old: readonly PortConfig[],
  { ports: book, service: lookUp }: EndpointBooks,
): readonly PortConfig[] | Lack {
  const wanted = service.spec.EndpointSpec?.Ports ?? [];
  const own = new Set(wanted.flatMap((port) => (port.PublishedPort ? [portKey(port, port.PublishedPort)] : [])));
  const given: PortConfig[] = [];
  for (const port of wanted) {
    const isChosen = publishMode(port) === 'host' || Boolean(port.PublishedPort);
    const published = isChosen ? (port.PublishedPort ?? 0) : (keptPort(port, old, own) ?? book.choose(port, own));
    if (published === undefined) {
      return {
        err: `no free port among ${dynamicPorts.first}-${dynamicPorts.last}: choose the published port of ${port.TargetPort} yourself`,
      };
    }
    const claim = book.conflict(service.id, port, published);
    if (claim !== undefined) {
      const name = lookUp(claim.serviceId)?.spec.Name ?? claim.serviceId;
      return { err: portInUse(published, { name, id: claim.serviceId, mode: publishMode(claim.port) }) };
    }
    own.add(portKey(port, published));
    given.push({ ...port, PublishedPort: published });
  }
  return given;
}

/** An automatic port stays the service's as long as it publishes the same target. */
function keptPort(port: PortConfig, old: readonly PortConfig[], own: ReadonlySet<string>): number | undefined {
  const { first, last } = dynamicPorts;
  return old.find(({ PublishedPort: published = 0, ...other }) => {
    if (published < first || published > last || own.has(portKey(port, published))) return false;
    const same = other.TargetPort === port.TargetPort && (other.Protocol || 'tcp') === (port.Protocol || 'tcp');
    return same && publishMode(other) === 'ingress';
  })?.PublishedPort;
}
