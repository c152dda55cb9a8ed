/** A global service or job: one task on every node that fits. Its places are nodes, so its tasks are never moved. Pure. */
import type { Node, Service, Task } from '../../../model/objects.ts';
import { constraintsMatch } from '../../../scheduler/index.ts';
import type { Place } from '../place.ts';
import { seatsOf } from '../seat.ts';
import type { Intents, ModeContext } from './mode.ts';
import type { Intent } from './slot.ts';

export function decideGlobal(service: Service, tasks: Iterable<Task>, context: ModeContext): Intents {
  const seats = seatsOf(tasks, context);
  const intents = new Map<Place, Intent>();
  for (const { place } of seats) intents.set(place, globalIntent(service, context.nodeOf(String(place))));
  for (const node of context.nodes()) {
    if (intents.has(node.id)) continue;
    if (globalIntent(service, node) === 'keep') intents.set(node.id, 'keep');
  }
  return intents;
}

/** A node that is away or paused keeps what it has: it may come back with it. */
export function globalIntent(service: Service, node: Node | undefined): Intent {
  if (node === undefined) return 'remove';
  if (node.spec.Availability === 'drain') return 'stop';
  if (!constraintsMatch(service.spec.TaskTemplate.Placement?.Constraints, node)) return 'stop';
  return node.status.state === 'ready' && node.spec.Availability === 'active' ? 'keep' : 'hold';
}
