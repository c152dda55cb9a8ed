import type { FastifyInstance } from 'fastify';
import { lookup } from '../../model/lookup.ts';
import type { Config } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';
import { jsonArray, memoJson } from '../cache.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { decodeBody } from '../decode.ts';
import { parseFilters } from '../filters.ts';
import { param, pathId, versionParam } from '../query.ts';
import { configSpec } from '../schemas.ts';
import { convertConfig } from './convert.ts';

const filterKeys = new Set(['id', 'name', 'label']);
const configJson: (config: Config) => string = memoJson(convertConfig);

export function configRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond, cache } = context;

  app.get('/configs', (request, reply) => {
    const view = freshView(context);
    const text = param(request, 'filters');
    return respond.buffer(
      reply,
      cache.get(view, `configs ${text}`, () => listConfigs(view, text)),
    );
  });

  app.get('/configs/:id', (request, reply) => {
    const config = lookup(freshView(context), 'config', pathId(request));
    return respond.buffer(reply, Buffer.from(configJson(config)));
  });

  app.post('/configs/create', async (request, reply) => {
    const backend = manager(context);
    const spec = decodeBody(request.body, configSpec);
    const { id } = await backend.call('config.create', { spec });
    return respond.json(reply, { ID: id }, 201);
  });

  app.post('/configs/:id/update', async (request, reply) => {
    const backend = manager(context);
    const version = versionParam(request, 'config');
    const spec = decodeBody(request.body, configSpec);
    await backend.call('config.update', { id: pathId(request), version, spec });
    return respond.empty(reply);
  });

  app.delete('/configs/:id', async (request, reply) => {
    await manager(context).call('config.remove', { id: pathId(request) });
    return respond.empty(reply, 204);
  });
}

function listConfigs(view: ClusterView, text: string): string {
  const filters = parseFilters(text, filterKeys);
  const items: string[] = [];
  for (const config of view.list('config')) {
    const { Name, Labels } = config.spec;
    const matches = filters.prefix('id', config.id) && filters.prefix('name', Name) && filters.labels('label', Labels);
    if (matches) items.push(configJson(config));
  }
  return jsonArray(items);
}
