/**
 * What each container may ask and what it is told. Pure, and cheap to change: everything is indexed per network and name, so that one
 * service or task touches only its own entries, whatever the size of the rest.
 *
 * A name is known to a container exactly when it exists on a network that the container is on. Where it is on several of them, the
 * container's first one answers, as in Docker. Services and their aliases come before tasks of the same name.
 */
import { type Block, contains, formatAddress, parseAddress, parseBlock } from '../../../model/ip.ts';
import type { AskerRecord, Changes, NamedEndpoint, NamedNetwork, NamedService } from './records.ts';

/**
 * Seconds. A freed address may be somebody else's after a minute (`addressRestMs`), so no answer may live that long; the ones that
 * change with every task live a few seconds.
 */
export const ttl = { virtual: 30, task: 5 } as const;

export interface Addresses {
  readonly kind: 'addresses';
  readonly v4: readonly string[];
  readonly v6: readonly string[];
  readonly ttlSeconds: number;
}

/** `undefined`: an address of a network of the asker that is nobody's. */
export interface Pointer {
  readonly kind: 'pointer';
  readonly name: string | undefined;
}

interface ServiceEntry {
  readonly id: string;
  /** In small letters, with the aliases. */
  readonly names: readonly string[];
  readonly name: string;
  readonly mode: 'vip' | 'dnsrr';
  readonly addresses: Family;
}

interface EndpointEntry {
  readonly id: string;
  readonly serviceId: string;
  readonly names: readonly string[];
  readonly active: boolean;
  readonly addresses: Family;
}

interface Family {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

const tasksPrefix = 'tasks.';

export class Zone {
  /** By gateway address. */
  readonly #askers = new Map<string, AskerRecord>();
  readonly #askersById = new Map<string, AskerRecord>();
  readonly #networks = new Map<string, NetworkNames>();
  readonly #services = new Map<string, NamedService>();
  readonly #endpoints = new Map<string, NamedEndpoint>();

  apply({ askers, networks, services, endpoints }: Changes): void {
    for (const id of askers?.removed ?? []) this.#removeAsker(id);
    for (const asker of askers?.put ?? []) this.#putAsker(asker);
    for (const id of networks?.removed ?? []) this.#describe(id, undefined);
    for (const network of networks?.put ?? []) this.#describe(network.id, network);
    for (const id of services?.removed ?? []) this.#removeService(id);
    for (const service of services?.put ?? []) this.#putService(service);
    for (const id of endpoints?.removed ?? []) this.#removeEndpoint(id);
    for (const endpoint of endpoints?.put ?? []) this.#putEndpoint(endpoint);
  }

  asker(address: string): AskerRecord | undefined {
    return this.#askers.get(address);
  }

  /** Undefined: not a name of the asker's networks. Local names without an address have empty lists. */
  addresses(asker: AskerRecord, name: string): Addresses | undefined {
    const plain = canonicalName(name);
    const networks = this.#networksOf(asker);
    for (const { base, suffix } of splits(plain)) {
      for (const network of networks) {
        if (suffix !== undefined && network.name !== suffix) continue;
        const found = network.find(base, asker.id);
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  /** Undefined: no address of the asker's networks. */
  pointer(asker: AskerRecord, name: string): Pointer | undefined {
    const address = reverseAddress(canonicalName(name));
    if (address === undefined) return undefined;
    let ours = false;
    for (const network of this.#networksOf(asker)) {
      const found = network.nameOf(address);
      if (found !== undefined) return { kind: 'pointer', name: found };
      ours ||= network.covers(address);
    }
    return ours ? { kind: 'pointer', name: undefined } : undefined;
  }

  #networksOf(asker: AskerRecord): readonly NetworkNames[] {
    return asker.networks.flatMap((id) => this.#networks.get(id) ?? []);
  }

  #putAsker(asker: AskerRecord): void {
    this.#removeAsker(asker.id);
    this.#askers.set(asker.gateway, asker);
    this.#askersById.set(asker.id, asker);
  }

  #removeAsker(id: string): void {
    const old = this.#askersById.get(id);
    if (old === undefined) return;
    this.#askersById.delete(id);
    // Its address may have gone to another one already.
    if (this.#askers.get(old.gateway) === old) this.#askers.delete(old.gateway);
  }

  #describe(id: string, network: NamedNetwork | undefined): void {
    this.#change(id, (names) => names.describe(network));
  }

  #putService(service: NamedService): void {
    this.#removeService(service.id);
    this.#services.set(service.id, service);
    for (const { networkId, addresses, aliases } of service.networks) {
      this.#change(networkId, (names) => names.addService(service, aliases, addresses));
    }
  }

  #removeService(id: string): void {
    for (const { networkId } of this.#services.get(id)?.networks ?? []) {
      this.#change(networkId, (names) => names.removeService(id));
    }
    this.#services.delete(id);
  }

  #putEndpoint(endpoint: NamedEndpoint): void {
    this.#removeEndpoint(endpoint.id);
    this.#endpoints.set(endpoint.id, endpoint);
    for (const { networkId, addresses } of endpoint.networks) {
      this.#change(networkId, (names) => names.addEndpoint(endpoint, addresses));
    }
  }

  #removeEndpoint(id: string): void {
    for (const { networkId } of this.#endpoints.get(id)?.networks ?? []) {
      this.#change(networkId, (names) => names.removeEndpoint(id));
    }
    this.#endpoints.delete(id);
  }

  /** Services and tasks may come before their network does. */
  #change(networkId: string, run: (names: NetworkNames) => void): void {
    const names = this.#networks.get(networkId) ?? new NetworkNames();
    run(names);
    if (names.isEmpty) this.#networks.delete(networkId);
    else this.#networks.set(networkId, names);
  }
}

/** The names of one network. */
class NetworkNames {
  /** In small letters; undefined until the network itself is known. */
  name: string | undefined;
  #label = '';
  #blocks: readonly Block[] = [];
  readonly #services = new Map<string, ServiceEntry>();
  readonly #endpoints = new Map<string, EndpointEntry>();
  readonly #servicesByName = new Index<ServiceEntry>();
  readonly #endpointsByName = new Index<EndpointEntry>();
  readonly #endpointsByService = new Index<EndpointEntry>();
  readonly #byAddress = new Index<ServiceEntry | EndpointEntry>();

  get isEmpty(): boolean {
    return this.name === undefined && this.#services.size === 0 && this.#endpoints.size === 0;
  }

  describe(network: NamedNetwork | undefined): void {
    this.name = network === undefined ? undefined : canonicalName(network.name);
    this.#label = network?.name ?? '';
    this.#blocks = (network?.subnets ?? []).flatMap((subnet) => parseBlock(subnet) ?? []);
  }

  addService({ id, name, mode }: NamedService, aliases: readonly string[], addresses: readonly string[]): void {
    this.removeService(id);
    const names = [...new Set([name, ...aliases].map(canonicalName))];
    const entry: ServiceEntry = { id, name, names, mode, addresses: byFamily(addresses) };
    this.#services.set(id, entry);
    for (const each of names) this.#servicesByName.add(each, entry);
    for (const address of all(entry.addresses)) this.#byAddress.add(address, entry);
  }

  removeService(id: string): void {
    const entry = this.#services.get(id);
    if (entry === undefined) return;
    this.#services.delete(id);
    for (const each of entry.names) this.#servicesByName.remove(each, entry);
    for (const address of all(entry.addresses)) this.#byAddress.remove(address, entry);
  }

  addEndpoint({ id, serviceId, names, active }: NamedEndpoint, addresses: readonly string[]): void {
    this.removeEndpoint(id);
    const entry: EndpointEntry = { id, serviceId, names, active, addresses: byFamily(addresses) };
    this.#endpoints.set(id, entry);
    for (const each of new Set(names.map(canonicalName))) this.#endpointsByName.add(each, entry);
    this.#endpointsByService.add(serviceId, entry);
    for (const address of all(entry.addresses)) this.#byAddress.add(address, entry);
  }

  removeEndpoint(id: string): void {
    const entry = this.#endpoints.get(id);
    if (entry === undefined) return;
    this.#endpoints.delete(id);
    for (const each of new Set(entry.names.map(canonicalName))) this.#endpointsByName.remove(each, entry);
    this.#endpointsByService.remove(entry.serviceId, entry);
    for (const address of all(entry.addresses)) this.#byAddress.remove(address, entry);
  }

  find(name: string, askerId: string): Addresses | undefined {
    const services = this.#servicesByName.get(name);
    if (services.length > 0) return this.#ofServices(services);
    if (name.startsWith(tasksPrefix)) {
      const behind = this.#servicesByName.get(name.slice(tasksPrefix.length));
      if (behind.length > 0) return answer(this.#tasksOf(behind), ttl.task);
    }
    const endpoints = this.#endpointsByName.get(name);
    if (endpoints.length === 0) return undefined;
    // A task that starts may look itself up; nobody else sees it before it counts.
    const visible = endpoints.filter(({ active, id }) => active || id === askerId);
    return answer(
      visible.map(({ addresses }) => addresses),
      ttl.task,
    );
  }

  /** With the network, so that the name leads back to the address for whoever is on several. */
  nameOf(address: string): string | undefined {
    const [first] = this.#byAddress.get(address);
    const name = first === undefined ? undefined : 'mode' in first ? first.name : first.names[0];
    return name === undefined || this.#label === '' ? name : `${name}.${this.#label}`;
  }

  covers(address: string): boolean {
    return this.#blocks.some((block) => contains(block, address));
  }

  #ofServices(services: readonly ServiceEntry[]): Addresses {
    // Hosts' own networks (macvlan, ipvlan) have no virtual addresses.
    const isVirtual = ({ mode, addresses }: ServiceEntry) => mode === 'vip' && all(addresses).length > 0;
    const virtual = services.filter(isVirtual).map(({ addresses }) => addresses);
    const direct = services.filter((service) => !isVirtual(service));
    return answer([...virtual, ...this.#tasksOf(direct)], direct.length > 0 ? ttl.task : ttl.virtual);
  }

  #tasksOf(services: readonly ServiceEntry[]): readonly Family[] {
    return services.flatMap(({ id }) =>
      this.#endpointsByService.get(id).flatMap(({ active, addresses }) => (active ? [addresses] : [])),
    );
  }
}

/** Several values per key, without the empty ones. */
class Index<V> {
  readonly #sets = new Map<string, Set<V>>();

  get(key: string): readonly V[] {
    const set = this.#sets.get(key);
    return set === undefined ? [] : [...set];
  }

  add(key: string, value: V): void {
    const set = this.#sets.get(key) ?? new Set();
    this.#sets.set(key, set.add(value));
  }

  remove(key: string, value: V): void {
    const set = this.#sets.get(key);
    set?.delete(value);
    if (set?.size === 0) this.#sets.delete(key);
  }
}

/** Small letters, no dot at the end: names are compared in this form. */
export function canonicalName(name: string): string {
  return name.replace(/\.+$/, '').toLowerCase();
}

/** `a.b.c` may be that name on any network, or `a.b` on network `c`, or `a` on network `b.c`. */
function splits(name: string): { readonly base: string; readonly suffix?: string }[] {
  const found: { base: string; suffix?: string }[] = [{ base: name }];
  for (let dot = name.lastIndexOf('.'); dot > 0; dot = name.lastIndexOf('.', dot - 1)) {
    found.push({ base: name.slice(0, dot), suffix: name.slice(dot + 1) });
  }
  return found;
}

function answer(families: readonly Family[], ttlSeconds: number): Addresses {
  return {
    kind: 'addresses',
    v4: [...new Set(families.flatMap(({ v4 }) => v4))],
    v6: [...new Set(families.flatMap(({ v6 }) => v6))],
    ttlSeconds,
  };
}

/** In the one spelling that reverse names lead to. */
function byFamily(addresses: readonly string[]): Family {
  const parsed = addresses.flatMap((address) => parseAddress(address) ?? []);
  const of = (wanted: 4 | 6) =>
    parsed.filter(({ family }) => family === wanted).map(({ value }) => formatAddress(wanted, value));
  return { v4: of(4), v6: of(6) };
}

function all({ v4, v6 }: Family): readonly string[] {
  return [...v4, ...v6];
}

/** `5.1.0.10.in-addr.arpa` → `10.0.1.5`; undefined for anything but a whole address. */
function reverseAddress(name: string): string | undefined {
  const [, labels = '', zone] = /^(.*)\.(in-addr|ip6)\.arpa$/.exec(name) ?? [];
  const turned = labels.split('.').toReversed();
  if (zone === 'in-addr') {
    const parsed = parseAddress(turned.join('.'));
    return parsed === undefined ? undefined : formatAddress(4, parsed.value);
  }
  if (zone !== 'ip6' || turned.length !== 32 || !turned.every((label) => /^[0-9a-f]$/.test(label))) return undefined;
  return formatAddress(6, BigInt(`0x${turned.join('')}`));
}
