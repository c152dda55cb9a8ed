/** The network between simulated nodes: loses, delays, doubles and reorders, and can be cut in any direction. */
import type { NodeId } from '../core/types.ts';
import type { Parcel } from '../transport/memory.ts';
import type { Chance } from './chance.ts';
import type { Schedule } from './schedule.ts';
import type { Swarm } from './swarm.ts';

export type PartitionKind = 'halves' | 'isolate' | 'one-way' | 'bridge' | 'ring';
export const partitionKinds: readonly PartitionKind[] = ['halves', 'isolate', 'one-way', 'bridge', 'ring'];

interface Options {
  readonly schedule: Schedule;
  readonly chance: Chance;
  readonly swarm: Swarm;
  readonly hit: (situation: string) => void;
  /** Sees what arrives, just before it does. */
  readonly arriving: (parcel: Parcel) => void;
}

/** A copy may come this much later, long after its sender has crashed and come back. */
const muchLaterMs = 20_000;

export class SimNetwork {
  readonly #options: Options;
  readonly #cut = new Set<string>();
  readonly #lastDue = new Map<string, number>();
  /** No more faults. */
  calm = false;
  #era = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cut.clear();
  }

  /** Whatever is still on its way is lost. */
  forget(): void {
    this.#era += 1;
  }

  partition(kind: PartitionKind, ids: readonly NodeId[]): void {
    const { chance, hit } = this.#options;
    const order = chance.shuffle(ids);
    const [first, ...others] = order;
    if (first === undefined) return;
    hit(`partition: ${kind}`);
    const both = (a: NodeId, b: NodeId): void => {
      this.cut(a, b);
      this.cut(b, a);
    };
    const half = order.slice(0, Math.ceil(order.length / 2));
    const rest = order.slice(half.length);
    if (kind === 'isolate') for (const other of others) both(first, other);
    if (kind === 'halves') for (const a of half) for (const b of rest) both(a, b);
    if (kind === 'bridge') for (const a of half.slice(1)) for (const b of rest) both(a, b);
    if (kind === 'one-way') {
      for (const other of others) if (chance.chance(0.6)) this.cut(first, other);
      const [a, b] = [chance.pick(order), chance.pick(order)];
      if (a !== undefined && b !== undefined && a !== b) this.cut(a, b);
    }
    if (kind === 'ring') {
      for (const [at, a] of order.entries()) {
        for (const [other, b] of order.entries()) {
          const apart = Math.abs(at - other);
          if (apart > 1 && apart < order.length - 1) both(a, b);
        }
      }
    }
  }

  /** False: the sender notices at once. */
  carry(parcel: Parcel): boolean {
    const { chance, swarm, hit } = this.#options;
    if (this.isCut(parcel.from, parcel.to)) return !chance.chance(0.3);
    if (this.calm) {
      this.#deliverIn(parcel, chance.exponential(1));
      return true;
    }
    if (chance.chance(swarm.drop)) {
      hit(`${parcel.kind} dropped`);
      return !chance.chance(0.1);
    }
    let delayMs = swarm.latencyMs * (0.5 + chance.unit());
    if (chance.chance(swarm.delay)) delayMs += chance.exponential(swarm.delayMs);
    if (chance.chance(swarm.reorder)) delayMs += chance.exponential(swarm.latencyMs * 5);
    else delayMs = this.#inOrder(parcel, delayMs);
    this.#deliverIn(parcel, delayMs);
    if (chance.chance(swarm.duplicate)) {
      const late = chance.chance(0.3);
      hit(late ? 'copy delivered much later' : 'copy delivered');
      this.#deliverIn(parcel, late ? chance.unit() * muchLaterMs : chance.exponential(swarm.latencyMs * 10));
    }
    return true;
  }

  #inOrder({ from, to }: Parcel, delayMs: number): number {
    const link = `${from}>${to}`;
    const { nowMs } = this.#options.schedule;
    const due = Math.max(nowMs + delayMs, this.#lastDue.get(link) ?? 0);
    this.#lastDue.set(link, due);
    return due - nowMs;
  }

  #deliverIn(parcel: Parcel, delayMs: number): void {
    const era = this.#era;
    this.#options.schedule.add(delayMs, () => {
      if (era !== this.#era || this.isCut(parcel.from, parcel.to)) return;
      this.#options.arriving(parcel);
      parcel.deliver();
    });
  }
}
