/** Volumes belong to the nodes that use them and are made by tasks; the cluster has none of its own. */
import type { FastifyInstance } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import type { ApiContext } from '../context.ts';
import { pathId } from '../query.ts';

export function volumeRoutes(app: FastifyInstance, { respond }: ApiContext): void {
  app.get('/volumes', (_request, reply) => respond.json(reply, { Volumes: [], Warnings: null }));

  app.get('/volumes/:id', (request) => {
    throw new ClusterError('not_found', `get ${pathId(request)}: no such volume`);
  });

  app.post('/volumes/create', () => {
    throw new ClusterError('unimplemented', 'creating volumes is not supported yet');
  });
}
