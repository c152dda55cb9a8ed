import type { FastifyInstance } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import { durationMs } from '../../model/duration.ts';
import { find } from '../../model/lookup.ts';
import type { ClusterView } from '../../model/view.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { decodeBody } from '../decode.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { flag, param, parseTime, pathId } from '../query.ts';
import { networkSpec } from '../schemas.ts';
import { convertNetwork, isPredefined, type NetworkDocument, predefinedNetworks } from './convert.ts';
import { containersHere, networkDetails } from './verbose.ts';

const filterKeys = new Set(['id', 'name', 'label', 'driver', 'scope', 'type', 'dangling']);
const pruneKeys = new Set(['label', 'label!', 'until']);

export function networkRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond } = context;

  app.get('/networks', (request, reply) => {
    const filters = parseFilters(param(request, 'filters'), filterKeys);
    const view = viewIfManager(context);
    return respond.json(reply, listNetworks(view, filters));
  });

  app.get('/networks/:id', (request, reply) => {
    const found = findNetwork(context, pathId(request), {
      scope: param(request, 'scope'),
      verbose: flag(request, 'verbose'),
    });
    if (found === undefined) throw new ClusterError('not_found', `network ${pathId(request)} not found`);
    return respond.json(reply, found);
  });

  app.post('/networks/create', async (request, reply) => {
    const spec = decodeBody(request.body, networkSpec);
    refuseWorker(context);
    const backend = manager(context);
    const { id, warnings } = await backend.call('network.create', { spec });
    return respond.json(reply, { Id: id, Warning: warnings.join('; ') }, 201);
  });

  app.delete('/networks/:id', async (request, reply) => {
    await manager(context).call('network.remove', { id: pathId(request) });
    return respond.empty(reply, 204);
  });

  app.post('/networks/prune', async (request, reply) => {
    const filters = parseFilters(param(request, 'filters'), pruneKeys);
    return respond.json(reply, { NetworksDeleted: await prune(context, filters) });
  });
}

/** Docker's words. */
function refuseWorker({ node }: ApiContext): void {
  if (node.manager() !== undefined || node.info().state !== 'active') return;
  throw new ClusterError(
    'permission_denied',
    'Cannot create a multi-host network from a worker node. Please create the network from a manager node.',
  );
}

/** A node outside a swarm still has its local networks. */
function viewIfManager(context: ApiContext): ClusterView | undefined {
  return context.node.manager() === undefined ? undefined : freshView(context);
}

function listNetworks(view: ClusterView | undefined, filters: Filters): readonly NetworkDocument[] {
  const networks = view === undefined ? [] : [...view.list('network')];
  const all = [...predefinedNetworks('local'), ...networks.map(convertNetwork)];
  return all.filter((network) => matches(view, network, filters));
}

function matches(view: ClusterView | undefined, network: NetworkDocument, filters: Filters): boolean {
  const type = isPredefined(network) ? 'builtin' : 'custom';
  return (
    filters.prefix('id', network.Id) &&
    filters.any('name', (name) => network.Name.includes(name)) &&
    filters.labels('label', network.Labels) &&
    filters.exact('driver', network.Driver) &&
    filters.exact('scope', network.Scope) &&
    filters.exact('type', type) &&
    filters.any('dangling', (wanted) => {
      return type === 'custom' && (wanted === 'true' || wanted === '1') === !isUsed(view, network.Id);
    })
  );
}

function isUsed(view: ClusterView | undefined, id: string): boolean {
  for (const _ of view?.servicesUsingNetwork(id) ?? []) return true;
  return false;
}

interface Look {
  readonly scope: string;
  readonly verbose: boolean;
}

function findNetwork(context: ApiContext, reference: string, { scope, verbose }: Look): object | undefined {
  const predefined = predefinedNetworks(scope === 'swarm' ? 'swarm' : 'local');
  const known = predefined.find((network) => network.Name === reference);
  if (known !== undefined) return known;
  const view = viewIfManager(context);
  const network = view === undefined || scope === 'local' ? undefined : find(view, 'network', reference);
  if (view === undefined || network === undefined) return undefined;
  return {
    ...convertNetwork(network),
    Containers: containersHere(view, network, context.node.info().nodeId),
    ...(verbose ? networkDetails(view, network) : {}),
  };
}

/** Only what was made until then; without the filter everything was. */
function untilFilter(filters: Filters, now: number): number {
  const values = filters.get('until');
  if (values.length > 1) throw new ClusterError('invalid', 'more than one until filter specified');
  const [text] = values;
  if (text === undefined) return Number.POSITIVE_INFINITY;
  const age = durationMs(text);
  const at = age === undefined ? parseTime(text) : now - age;
  if (at === undefined) throw new ClusterError('invalid', `invalid value for "until": ${JSON.stringify(text)}`);
  return at;
}

/** Removes what nothing uses; what came into use meanwhile is left. */
async function prune(context: ApiContext, filters: Filters): Promise<readonly string[]> {
  const backend = manager(context);
  const view = freshView(context);
  const until = untilFilter(filters, context.clock.now());
  const unused = [...view.list('network')].filter(({ id, meta, spec }) => {
    const excluded = filters.has('label!') && filters.labels('label!', spec.Labels);
    return filters.labels('label', spec.Labels) && !excluded && meta.createdAt <= until && !isUsed(view, id);
  });
  const removed: string[] = [];
  for (const network of unused) {
    try {
      await backend.call('network.remove', { id: network.id });
      removed.push(network.spec.Name);
    } catch (error) {
      if (!(error instanceof ClusterError) || !['failed_precondition', 'not_found'].includes(error.kind)) throw error;
    }
  }
  return removed;
}
