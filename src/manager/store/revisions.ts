/** Keeps the specs that a service had before. */
import type { Service } from '../../model/objects.ts';
import { revisionId, revisionsMax, revisionsOf } from '../../model/revisions.ts';
import type { Transaction } from './port.ts';

/** Before the service gets another spec: the one it has is kept, and the oldest one dropped. */
export function keepRevision(tx: Transaction, service: Service): void {
  const number = service.revision ?? 1;
  const since = service.revisedAt ?? service.meta.createdAt;
  tx.create('revision', {
    id: revisionId(service.id, number),
    serviceId: service.id,
    number,
    spec: service.spec,
    since,
  });
  const kept = revisionsOf(tx, service.id);
  for (const { id } of kept.slice(0, Math.max(0, kept.length - revisionsMax))) tx.remove('revision', id);
}

/** With the service. */
export function dropRevisions(tx: Transaction, serviceId: string): void {
  for (const { id } of revisionsOf(tx, serviceId)) tx.remove('revision', id);
}
