/** What a whole service wants of its places, by its mode; for replicated jobs see `JobBook`. Pure. */
import type { Node, Service, Task } from '../../../model/objects.ts';
import type { Place } from '../place.ts';
import { isGlobal } from '../place.ts';
import type { ServiceContext } from '../seat.ts';
import { decideGlobal, globalIntent } from './global.ts';
import { decideReplicated } from './replicated.ts';
import type { Intent } from './slot.ts';

/** Places that are not named need nothing. */
export type Intents = ReadonlyMap<Place, Intent>;

export interface ModeContext extends ServiceContext {
  nodes(): Iterable<Node>;
}

export function decideService(service: Service, tasks: Iterable<Task>, context: ModeContext): Intents {
  if (isGlobal(service)) return decideGlobal(service, tasks, context);
  return decideReplicated(service, tasks, context);
}

/** What is wanted of one place that has tasks, without a look at the others; undefined = the whole service has to be looked at. */
export function intentAt(service: Service, place: Place, node: Node | undefined): Intent | undefined {
  if (isGlobal(service)) return typeof place === 'string' ? globalIntent(service, node) : undefined;
  return 'keep';
}
