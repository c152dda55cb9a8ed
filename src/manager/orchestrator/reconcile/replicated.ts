/** A replicated service: which slots to keep, make or take away. Pure. */
import { replicasOf } from '../../../model/defaults.ts';
import type { Service, Task } from '../../../model/objects.ts';
import { rank } from '../../../scheduler/index.ts';
import type { Place } from '../place.ts';
import type { ServiceContext } from '../seat.ts';
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
