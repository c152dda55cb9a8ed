import type { FastifyInstance, FastifyReply } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import { type ApiContext, manager } from '../context.ts';
import { convertInfo, convertVersion, swarmHeader } from './convert.ts';

export function systemRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond, node } = context;

  const ping = (reply: FastifyReply) =>
    reply.headers({
      ...respond.common,
      swarm: swarmHeader(node.info()),
      'builder-version': '2',
      'cache-control': 'no-cache, no-store, must-revalidate',
      pragma: 'no-cache',
      'content-type': 'text/plain; charset=utf-8',
    });
  app.head('/_ping', (_request, reply) => ping(reply).send());
  app.get('/_ping', (_request, reply) => ping(reply).send('OK'));

  app.get('/version', (_request, reply) => respond.json(reply, convertVersion(node.info(), context.version)));
  app.get('/info', (_request, reply) => {
    return respond.json(reply, convertInfo(context, node.info(), node.manager()));
  });

  app.get('/tscluster/health', (_request, reply) => {
    const { state, role, error } = node.info();
    const reason = healthProblem(context);
    const healthy = reason === '' && error === '';
    const answer = { healthy, state, role: role ?? null, reason: error || reason };
    return respond.json(reply, answer, healthy ? 200 : 503);
  });

  app.get('/tscluster/members', (_request, reply) => respond.json(reply, manager(context).members()));
}

function healthProblem({ node }: ApiContext): string {
  try {
    node.manager()?.assertFresh();
    return '';
  } catch (error) {
    if (error instanceof ClusterError) return error.message;
    throw error;
  }
}
