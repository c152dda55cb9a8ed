import type { StoreObject } from '../model/objects.ts';

/** The head that all swarm objects share. */
export function head(object: StoreObject) {
  return {
    ID: object.id,
    Version: { Index: object.meta.version },
    CreatedAt: time(object.meta.createdAt),
    UpdatedAt: time(object.meta.updatedAt),
  };
}

/** RFC 3339, UTC. */
export function time(ms: number): string {
  return new Date(ms).toISOString();
}
