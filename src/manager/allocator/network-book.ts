/** The subnets and VXLAN ids of all networks. An id rests after its network was removed: nodes may still have its link. */
import { DueQueue } from '../../lib/due.ts';
import { parseBlock } from '../../model/ip.ts';
import { addressRestMs, ingressVni } from '../../model/network.ts';
import { vxlanIdMax } from '../../model/network-options.ts';
import type { NetworkAllocation } from '../../model/objects.ts';
import { Numbers } from './numbers.ts';
import { SubnetBook } from './subnets.ts';

export class NetworkBook {
  readonly subnets = new SubnetBook();
  readonly #vnis = new Numbers(ingressVni + 1, vxlanIdMax + 1);
  readonly #held = new Map<string, NetworkAllocation>();
  readonly #resting = new DueQueue<number>();

  /** Several times does no harm: what a network has never changes. */
  hold(networkId: string, allocation: NetworkAllocation): void {
    if (this.#held.has(networkId)) return;
    this.#held.set(networkId, allocation);
    if (allocation.vni !== 0) this.#vnis.take(allocation.vni);
    for (const { subnet } of allocation.subnets) {
      const block = parseBlock(subnet);
      if (block !== undefined) this.subnets.add(networkId, block);
    }
  }

  /** It was never given, after all. */
  release(networkId: string): void {
    const allocation = this.#held.get(networkId);
    if (allocation === undefined) return;
    this.#held.delete(networkId);
    this.subnets.remove(networkId);
    if (allocation.vni !== 0) this.#vnis.release(allocation.vni);
  }

  remove(networkId: string, now: number): void {
    const vni = this.#held.get(networkId)?.vni ?? 0;
    if (vni !== 0) {
      this.#vnis.take(vni);
      this.#resting.add(now + addressRestMs, vni);
    }
    this.release(networkId);
  }

  /** Frees what has rested long enough; true: there was something. */
  expire(now: number): boolean {
    const due = this.#resting.take(now);
    for (const vni of due) this.#vnis.release(vni);
    return due.length > 0;
  }

  /** When the next resting time ends. */
  get nextDue(): number | undefined {
    return this.#resting.next;
  }

  isVniTaken(vni: number): boolean {
    return vni === ingressVni || this.#vnis.has(vni);
  }

  nextVni(): number | undefined {
    return this.#vnis.next();
  }
}
