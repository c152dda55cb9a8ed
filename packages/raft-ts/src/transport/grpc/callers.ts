/** The streams that peers have open here, bounded per peer and in all: a faulty peer must not pile them up. */
import type { NodeId } from '../../core/types.ts';

export class Callers<Call> {
  readonly #perPeer: number;
  readonly #peersMax: number;
  /** Oldest first. */
  readonly #calls = new Map<NodeId, Set<Call>>();

  constructor(perPeer: number, peersMax: number) {
    this.#perPeer = perPeer;
    this.#peersMax = peersMax;
  }

  /** False when too many other nodes have streams here. */
  enter(from: NodeId, call: Call): boolean {
    const calls = this.#calls.get(from);
    if (calls === undefined && this.#calls.size >= this.#peersMax) return false;
    if (calls === undefined) this.#calls.set(from, new Set([call]));
    else calls.add(call);
    return true;
  }

  /** Takes out the oldest streams of a node that has too many. */
  surplus(from: NodeId): readonly Call[] {
    const calls = [...(this.#calls.get(from) ?? [])];
    const surplus = calls.slice(0, Math.max(0, calls.length - this.#perPeer));
    for (const call of surplus) this.leave(call);
    return surplus;
  }

  leave(call: Call): void {
    for (const [from, calls] of this.#calls) {
      if (calls.delete(call) && calls.size === 0) this.#calls.delete(from);
    }
  }

  takeAll(): readonly Call[] {
    const all = [...this.#calls.values()].flatMap((calls) => [...calls]);
    this.#calls.clear();
    return all;
  }
}
