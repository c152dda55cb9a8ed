import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import { lookup } from '../../model/lookup.ts';
import type { Service } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';
import { explainService } from '../../scheduler/index.ts';
import { jsonArray, memoJson, withMember } from '../cache.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { decodeBody } from '../decode.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { flag, param, pathId, versionParam } from '../query.ts';
import { serviceSpec } from '../schemas.ts';
import { convertService, convertServiceWithDefaults, modeName, serviceStatus } from './convert.ts';

const filterKeys = new Set(['id', 'name', 'label', 'mode', 'runtime']);
const serviceJson = memoJson(convertService);

export function serviceRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond, cache } = context;

  app.get('/services', (request, reply) => {
    const view = freshView(context);
    const key = `services ${String(flag(request, 'status'))} ${param(request, 'filters')}`;
    return respond.buffer(
      reply,
      cache.get(view, key, () => listServices(view, request)),
    );
  });

  app.get('/services/:id', (request, reply) => {
    const service = lookup(freshView(context), 'service', pathId(request));
    if (flag(request, 'insertDefaults')) return respond.json(reply, convertServiceWithDefaults(service));
    return respond.buffer(reply, Buffer.from(serviceJson(service)));
  });

  app.post('/services/create', async (request, reply) => {
    const backend = manager(context);
    const spec = decodeBody(request.body, serviceSpec);
    const { id, warnings } = await backend.call('service.create', { spec, ...credentials(request) });
    return respond.json(reply, { ID: id, Warnings: warnings.length > 0 ? warnings : null }, 201);
  });

  app.post('/services/:id/update', async (request, reply) => {
    const backend = manager(context);
    const version = versionParam(request, 'service');
    const wish = param(request, 'rollback');
    if (wish !== '' && wish !== 'previous') throw new ClusterError('invalid', `unrecognized rollback option ${wish}`);
    const rollback = wish === 'previous';
    const spec = decodeBody(request.body, serviceSpec);
    const auth = { ...credentials(request), registryAuthFrom: authSource(request) };
    const { warnings } = await backend.call('service.update', {
      id: pathId(request),
      version,
      spec,
      rollback,
      ...auth,
    });
    return respond.json(reply, { Warnings: warnings.length > 0 ? warnings : null });
  });

  // A path of its own: a daemon that does not know it changes nothing.
  app.post('/tscluster/services/dry-run', async (request, reply) => {
    const backend = manager(context);
    const id = param(request, 'service');
    const spec = decodeBody(request.body, serviceSpec);
    const { warnings, forecast } = await backend.call('service.dryRun', { spec, ...(id === '' ? {} : { id }) });
    return respond.json(reply, { Warnings: warnings.length > 0 ? warnings : null, Forecast: forecast });
  });

  app.get('/tscluster/services/:id/explain', (request, reply) => {
    const view = freshView(context);
    const service = lookup(view, 'service', pathId(request));
    return respond.json(reply, explainService(view, service, context.clock.now()));
  });

  app.delete('/services/:id', async (request, reply) => {
    await manager(context).call('service.remove', { id: pathId(request) });
    return respond.empty(reply);
  });
}

function listServices(view: ClusterView, request: FastifyRequest): string {
  const filters = parseFilters(param(request, 'filters'), filterKeys);
  const withStatus = flag(request, 'status');
  const items: string[] = [];
  for (const service of view.list('service')) {
    if (!matches(service, filters)) continue;
    const json = serviceJson(service);
    items.push(withStatus ? withMember(json, 'ServiceStatus', serviceStatus(view, service)) : json);
  }
  return jsonArray(items);
}

function matches(service: Service, filters: Filters): boolean {
  return (
    filters.prefix('id', service.id) &&
    filters.prefix('name', service.spec.Name) &&
    filters.labels('label', service.spec.Labels) &&
    filters.exact('mode', modeName(service.spec.Mode)) &&
    filters.exact('runtime', 'container')
  );
}

/** For the registry; the control API reads them. */
function credentials(request: FastifyRequest): { readonly registryAuth?: string } {
  const header = request.headers['x-registry-auth'];
  return typeof header === 'string' && header !== '' ? { registryAuth: header } : {};
}

/** Whose credentials to go on with when none are given. */
function authSource(request: FastifyRequest): 'spec' | 'previous-spec' {
  const source = param(request, 'registryAuthFrom');
  if (source === '' || source === 'spec' || source === 'previous-spec') return source || 'spec';
  throw new ClusterError('invalid', 'unsupported registryAuthFrom value');
}
