/** Which places of a replicated service stay when it is scaled down: the reconciler's choice, and a forecast's. Pure. */

export interface Ranked {
  readonly place: number | string;
  readonly running: boolean;
  /** Empty: nowhere. */
  readonly nodeId: string;
}

/**
 * Swarm's order of scaling down: running slots first, then by number; each slot gets the count of slots before it on its node;
 * the lowest counts stay, so the fullest node loses first, and slots that are nowhere go before all others.
 */
export function rank<T extends Ranked>(
  slots: readonly T[],
  replicas: number,
): { readonly kept: readonly T[]; readonly surplus: readonly T[] } {
  if (slots.length <= replicas) return { kept: slots, surplus: [] };
  const ordered = [...slots].sort(
    (one, other) => Number(other.running) - Number(one.running) || Number(one.place) - Number(other.place),
  );
  const perNode = new Map<string, number>();
  const ranked = ordered.map((slot) => {
    if (slot.nodeId === '') return { slot, index: Number.POSITIVE_INFINITY };
    const index = perNode.get(slot.nodeId) ?? 0;
    perNode.set(slot.nodeId, index + 1);
    return { slot, index };
  });
  // Infinity − Infinity is not a number: compare, don't subtract.
  const sorted = ranked
    .sort((one, other) => (one.index === other.index ? 0 : one.index < other.index ? -1 : 1))
    .map(({ slot }) => slot);
  return { kept: sorted.slice(0, replicas), surplus: sorted.slice(replicas) };
}
