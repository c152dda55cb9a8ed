import type { Filters } from '../../client/index.ts';
import { namespaceLabel } from '../../stack/index.ts';

/** The user's filters, and only this stack. */
export function stackFilters(stack: string, filters: Filters | undefined): Filters {
  return { ...filters, label: [...(filters?.['label'] ?? []), `${namespaceLabel}=${stack}`] };
}
