/**
 * Who has which address: a picture of the store, with what is on its way into it. Everything in it belongs to a holder (a
 * service, a task, a resting address, a decision that is being written), and putting a holder in again replaces what it had, so
 * that an event may be seen twice. Work is per address, never per network or task.
 */
import { DueQueue } from '../../lib/due.ts';
import type { Network, NetworkAddresses, NetworkAllocation } from '../../model/objects.ts';
import { Ring } from './ring.ts';

interface Rings {
  readonly name: string;
  readonly v4: readonly Ring[];
  readonly v6: readonly Ring[];
}

interface Taken {
  readonly networkId: string;
  readonly ring: Ring;
  readonly address: string;
}

interface Hold {
  readonly taken: readonly Taken[];
  /** Absent: until it is put in again or released. */
  readonly until?: number;
}

export class AddressBook {
  readonly #networks = new Map<string, Rings>();
  readonly #holds = new Map<string, Hold>();
  readonly #due = new DueQueue<string>();
  readonly #onFree: (networkId: string) => void;

  constructor(onFree: (networkId: string) => void) {
    this.#onFree = onFree;
  }

  /** What a network has been given never changes. */
  putNetwork({ id, spec }: Pick<Network, 'id' | 'spec'>, { subnets }: NetworkAllocation): void {
    if (this.#networks.has(id)) return;
    const rings = subnets.map((subnet) => new Ring(subnet));
    const of = (family: 4 | 6) => rings.filter((ring) => ring.family === family);
    this.#networks.set(id, { name: spec.Name, v4: of(4), v6: of(6) });
    this.#onFree(id);
  }

  removeNetwork(id: string): void {
    this.#networks.delete(id);
  }

  knows(networkId: string): boolean {
    return this.#networks.has(networkId);
  }

  /** How many the network can give. */
  free(networkId: string): number {
    const rings = this.#networks.get(networkId);
    if (rings === undefined) return 0;
    const families = [rings.v4, rings.v6].filter((family) => family.length > 0);
    return Math.min(...families.map((family) => family.reduce((sum, ring) => sum + ring.free, 0)));
  }

  /** Replaces what the holder had. */
  hold(holder: string, wanted: readonly NetworkAddresses[], until?: number): void {
    const old = this.#holds.get(holder);
    const taken = wanted.flatMap(({ networkId, addresses }) =>
      addresses.flatMap((address) => this.#take(networkId, address) ?? []),
    );
    if (taken.length === 0) this.#holds.delete(holder);
    else this.#holds.set(holder, until === undefined ? { taken } : { taken, until });
    if (until !== undefined && taken.length > 0 && old?.until !== until) this.#due.add(until, holder);
    if (old !== undefined) this.#free(old);
  }

  release(holder: string): void {
    const old = this.#holds.get(holder);
    if (old === undefined) return;
    this.#holds.delete(holder);
    this.#free(old);
  }

  /** Frees what has rested long enough. */
  expire(now: number): void {
    for (const holder of this.#due.take(now)) {
      const until = this.#holds.get(holder)?.until;
      if (until !== undefined && until <= now) this.release(holder);
    }
  }

  /** When the next resting time ends. */
  get nextDue(): number | undefined {
    return this.#due.next;
  }

  /** One address of each family that the network has; undefined when there is none left. They stay free until somebody holds them. */
  next(networkId: string): NetworkAddresses | undefined {
    const rings = this.#networks.get(networkId);
    if (rings === undefined) return undefined;
    const addresses: string[] = [];
    for (const family of [rings.v4, rings.v6]) {
      if (family.length === 0) continue;
      const address = firstOf(family);
      if (address === undefined) return undefined;
      addresses.push(address);
    }
    return { networkId, addresses };
  }

  /** The rings go on behind these. */
  advance(given: readonly NetworkAddresses[]): void {
    for (const { networkId, addresses } of given) {
      const rings = this.#networks.get(networkId);
      if (rings === undefined) continue;
      for (const ring of [...rings.v4, ...rings.v6]) for (const address of addresses) ring.advance(address);
    }
  }

  /** Why `next` has none. The same words as long as it has none, so that they are written once. */
  shortage(networkId: string): string {
    const rings = this.#networks.get(networkId);
    if (rings === undefined) return `network ${networkId} has no subnet yet`;
    const full = [rings.v4, rings.v6].find((family) => family.length > 0 && firstOf(family) === undefined) ?? [];
    const subnets = full.map((ring) => `${ring.subnet} has ${ring.capacity}`).join(', ');
    return `no free address on network ${rings.name} (${subnets}, all in use or resting): remove tasks, or create a larger network`;
  }

  #take(networkId: string, address: string): Taken | undefined {
    const rings = this.#networks.get(networkId);
    if (rings === undefined) return undefined;
    for (const ring of [...rings.v4, ...rings.v6]) {
      if (ring.take(address)) return { networkId, ring, address };
    }
    return undefined;
  }

  #free({ taken }: Hold): void {
    for (const { networkId, ring, address } of taken) if (ring.release(address)) this.#onFree(networkId);
  }
}

function firstOf(rings: readonly Ring[]): string | undefined {
  for (const ring of rings) {
    const address = ring.next();
    if (address !== undefined) return address;
  }
  return undefined;
}
