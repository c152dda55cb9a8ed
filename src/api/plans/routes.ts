import type { FastifyInstance } from 'fastify';
import { type ApiContext, manager } from '../context.ts';
import { decodeBody } from '../decode.ts';
import { planBody } from '../schemas.ts';

/** All files of a stack at once; one message between managers holds 16 MiB. */
const planBytesMax = 12 * 1024 * 1024;

/** Ours alone: our own CLI asks before it begins to deploy. Docker's clients find out request by request. */
export function planRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post('/tscluster/plan/check', { bodyLimit: planBytesMax }, async (request, reply) => {
    await manager(context).call('plan.check', decodeBody(request.body, planBody));
    return context.respond.empty(reply);
  });
}
