/** What Docker has no endpoint for: the specs that a service had, and going back to any of them. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import { lookup } from '../../model/lookup.ts';
import type { Service } from '../../model/objects.ts';
import { revisionsOf } from '../../model/revisions.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import type { ClusterView } from '../../model/view.ts';
import { time } from '../common.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { param, pathId, versionParam } from '../query.ts';
import { convertServiceSpec } from './convert.ts';

export function serviceHistoryRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond } = context;

  app.get('/tscluster/services/:id/history', (request, reply) => {
    const view = freshView(context);
    return respond.json(reply, history(view, lookup(view, 'service', pathId(request))));
  });

  app.post('/tscluster/services/:id/rollback', async (request, reply) => {
    const backend = manager(context);
    const version = versionParam(request, 'service');
    const { warnings } = await backend.call('service.rollback', { id: pathId(request), version, to: target(request) });
    return respond.json(reply, { Warnings: warnings.length > 0 ? warnings : null });
  });
}

/** The spec of now first, then the earlier ones, the newest first. */
function history(view: ClusterView, service: Service) {
  const earlier = [...revisionsOf(view, service.id)].reverse();
  return [
    revision({ number: service.revision ?? 1, since: service.revisedAt ?? service.meta.createdAt, spec: service.spec }),
    ...earlier.map(revision),
  ];
}

function revision({ number, since, spec }: { number: number; since: number; spec: ServiceSpec }) {
  return { Revision: number, Since: time(since), Spec: convertServiceSpec(spec) };
}

function target(request: FastifyRequest): number {
  const text = param(request, 'to');
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new ClusterError('invalid', `invalid revision '${text}'`);
  return Number(text);
}
