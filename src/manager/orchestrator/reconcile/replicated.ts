/** A replicated service: which slots to keep, make or take away. Pure. */
import { replicasOf } from '../../../model/defaults.ts';
import type { Service, Task } from '../../../model/objects.ts';
import type { Place } from '../place.ts';
import type { Seat, ServiceContext } from '../seat.ts';
import { seatsOf } from '../seat.ts';
import type { Intents } from './mode.ts';
import type { Intent } from './slot.ts';

export function decideReplicated(service: Service, tasks: Iterable<Task>, context: ServiceContext): Intents {
  const seats = seatsOf(tasks, context);
  const replicas = replicasOf(service.spec);
  const { kept, surplus } = rank(seats, replicas);
  const intents = new Map<Place, Intent>(surplus.map(({ place }) => [place, 'remove']));
  for (const { place } of kept) intents.set(place, 'keep');
  const taken = new Set(seats.map(({ place }) => place));
  for (let slot = 1, count = kept.length; count < replicas; slot++) {
    if (taken.has(slot)) continue;
    intents.set(slot, 'keep');
    count += 1;
  }
  return intents;
}

/**
 * Swarm's order of scaling down: running slots first, then by number; each slot gets the count of slots before it on its node;
 * the lowest counts stay, so the fullest node loses first, and slots that are nowhere go before all others.
 */
function rank(slots: readonly Seat[], replicas: number): { kept: readonly Seat[]; surplus: readonly Seat[] } {
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
