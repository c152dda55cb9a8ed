/** The specs that a service had before: the last ones are kept, to look at and to go back to. */
import type { Revision } from './objects.ts';
import type { ClusterView } from './view.ts';

/** Earlier specs kept per service. */
export const revisionsMax = 10;

/** The newest last; without the spec that the service has now. */
export function revisionsOf(view: ClusterView, serviceId: string): readonly Revision[] {
  return view
    .idsByPrefix('revision', revisionId(serviceId, ''), revisionsMax + 1)
    .flatMap((id) => view.get('revision', id) ?? [])
    .sort((one, other) => one.number - other.number);
}

export function revisionId(serviceId: string, number: number | ''): string {
  return `${serviceId}.${number}`;
}
