/**
 * Where each node's gateway subnet and its address on the mesh link are. Given once; free again a while after the node was
 * removed: it may be running yet, cut off from the managers, with containers that use them.
 */
import { DueQueue } from '../../lib/due.ts';
import { addressAt, type Block, formatBlock, parseAddress, parseBlock } from '../../model/ip.ts';
import type { ClusterNetwork, NodeNetwork } from '../../model/objects.ts';
import { Numbers } from './numbers.ts';

/** Prefix length of a node's gateway subnet. */
const gatewayPrefix = 24;
const subnetSize = 2n ** BigInt(32 - gatewayPrefix);

interface Place {
  readonly subnet: number | undefined;
  readonly address: number | undefined;
  /** Absent: until it is released. */
  readonly until?: number;
}

export class NodePlaces {
  readonly #pools: readonly Block[];
  readonly #ingress: Block | undefined;
  readonly #described: ClusterNetwork;
  readonly #subnets: Numbers;
  readonly #addresses: Numbers;
  readonly #holders = new Map<string, Place>();
  readonly #due = new DueQueue<string>();

  constructor(network: ClusterNetwork) {
    this.#described = network;
    this.#pools = network.gatewayPools.map(parseBlock).filter((block) => block !== undefined);
    this.#ingress = parseBlock(network.ingressPool);
    this.#subnets = new Numbers(
      0,
      this.#pools.reduce((sum, pool) => sum + subnetsOf(pool), 0),
    );
    // Neither the pool's own address nor its broadcast address.
    this.#addresses = new Numbers(1, Number(this.#ingress?.size ?? 0n) - 1);
  }

  /** Replaces what the holder had. */
  hold(holder: string, { gatewaySubnet, ingressAddress }: NodeNetwork, until?: number): void {
    const numbers = { subnet: this.#subnetNumber(gatewaySubnet), address: this.#addressNumber(ingressAddress) };
    const place: Place = until === undefined ? numbers : { ...numbers, until };
    if (place.subnet !== undefined) this.#subnets.take(place.subnet);
    if (place.address !== undefined) this.#addresses.take(place.address);
    this.release(holder);
    this.#holders.set(holder, place);
    if (until !== undefined) this.#due.add(until, holder);
  }

  /** Frees what has rested long enough; true: there was something. */
  expire(now: number): boolean {
    let isFreed = false;
    for (const holder of this.#due.take(now)) {
      const until = this.#holders.get(holder)?.until;
      if (until === undefined || until > now) continue; // it was put in again
      this.release(holder);
      isFreed = true;
    }
    return isFreed;
  }

  /** When the next resting time ends. */
  get nextDue(): number | undefined {
    return this.#due.next;
  }

  release(holder: string): void {
    const place = this.#holders.get(holder);
    if (place === undefined) return;
    this.#holders.delete(holder);
    if (place.subnet !== undefined) this.#subnets.release(place.subnet);
    if (place.address !== undefined) this.#addresses.release(place.address);
  }

  /** The next free place, or why there is none. */
  next(): NodeNetwork | string {
    const subnet = this.#subnets.next();
    const address = this.#addresses.next();
    const { gatewayPools, ingressPool } = this.#described;
    if (subnet === undefined) {
      return `no free gateway subnet for this node: every /${gatewayPrefix} of ${gatewayPools.join(', ')} belongs to a node, or did a minute ago; remove nodes that are gone`;
    }
    if (address === undefined || this.#ingress === undefined) {
      return `no free address for this node on the link for published ports: all of ${ingressPool} are given, or were a minute ago; remove nodes that are gone`;
    }
    return { gatewaySubnet: this.#subnetAt(subnet), ingressAddress: addressAt(this.#ingress, BigInt(address)) };
  }

  #subnetAt(number: number): string {
    let rest = number;
    for (const pool of this.#pools) {
      const count = subnetsOf(pool);
      if (rest < count) {
        const base = pool.base + BigInt(rest) * subnetSize;
        return formatBlock({ family: 4, base, prefix: gatewayPrefix, size: subnetSize });
      }
      rest -= count;
    }
    throw new Error(`no gateway subnet number ${number}`);
  }

  #subnetNumber(subnet: string): number | undefined {
    const base = parseBlock(subnet)?.base;
    let before = 0;
    for (const pool of this.#pools) {
      if (base !== undefined && base >= pool.base && base < pool.base + pool.size)
        return before + Number((base - pool.base) / subnetSize);
      before += subnetsOf(pool);
    }
    return undefined;
  }

  #addressNumber(address: string): number | undefined {
    const value = parseAddress(address)?.value;
    if (value === undefined || this.#ingress === undefined) return undefined;
    const distance = value - this.#ingress.base;
    return distance >= 0n && distance < this.#ingress.size ? Number(distance) : undefined;
  }
}

function subnetsOf(pool: Block): number {
  return pool.family === 4 ? Number(pool.size / subnetSize) : 0;
}
