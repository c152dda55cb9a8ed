import type { FastifyInstance } from 'fastify';
import { lookup } from '../../model/lookup.ts';
import type { Secret } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';
import { jsonArray, memoJson } from '../cache.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { decodeBody } from '../decode.ts';
import { parseFilters } from '../filters.ts';
import { param, pathId, versionParam } from '../query.ts';
import { secretSpec } from '../schemas.ts';
import { convertSecret } from './convert.ts';

const filterKeys = new Set(['id', 'name', 'names', 'label']);
const secretJson: (secret: Secret) => string = memoJson(convertSecret);

export function secretRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond, cache } = context;

  app.get('/secrets', (request, reply) => {
    const view = freshView(context);
    const text = param(request, 'filters');
    return respond.buffer(
      reply,
      cache.get(view, `secrets ${text}`, () => listSecrets(view, text)),
    );
  });

  app.get('/secrets/:id', (request, reply) => {
    const secret = lookup(freshView(context), 'secret', pathId(request));
    return respond.buffer(reply, Buffer.from(secretJson(secret)));
  });

  app.post('/secrets/create', async (request, reply) => {
    const backend = manager(context);
    const spec = decodeBody(request.body, secretSpec);
    const { id } = await backend.call('secret.create', { spec });
    return respond.json(reply, { ID: id }, 201);
  });

  app.post('/secrets/:id/update', async (request, reply) => {
    const backend = manager(context);
    const version = versionParam(request, 'secret');
    const spec = decodeBody(request.body, secretSpec);
    await backend.call('secret.update', { id: pathId(request), version, spec });
    return respond.empty(reply);
  });

  app.delete('/secrets/:id', async (request, reply) => {
    await manager(context).call('secret.remove', { id: pathId(request) });
    return respond.empty(reply, 204);
  });
}

function listSecrets(view: ClusterView, text: string): string {
  const filters = parseFilters(text, filterKeys);
  const items: string[] = [];
  for (const secret of view.list('secret')) {
    const { Name, Labels } = secret.spec;
    const matches =
      filters.prefix('id', secret.id) &&
      filters.prefix('name', Name) &&
      filters.exact('names', Name) &&
      filters.labels('label', Labels);
    if (matches) items.push(secretJson(secret));
  }
  return jsonArray(items);
}
