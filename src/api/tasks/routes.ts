import type { FastifyInstance } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import { lookup } from '../../model/lookup.ts';
import type { Node, Service, Task } from '../../model/objects.ts';
import { isTerminal, stateName, stateOf, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import { explainTask, isUpToDate as matchesSpec } from '../../scheduler/index.ts';
import { jsonArray, memoJson } from '../cache.ts';
import { type ApiContext, freshView } from '../context.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { param, pathId } from '../query.ts';
import { convertTask, isUnknown, withAttachments } from './convert.ts';

const filterKeys = new Set(['id', 'name', 'label', 'service', 'node', 'desired-state', 'runtime', '_up-to-date']);
const knownJson = memoJson((task: Task) => convertTask(task));
/** A node that is down may have a thousand tasks, and is asked about just then. */
const unknownJson = new WeakMap<Task, { readonly node: Node; readonly json: string }>();

function taskJson(view: ClusterView, task: Task): string {
  return withAttachments(view, task, ownJson(view, task));
}

function ownJson(view: ClusterView, task: Task): string {
  const node = view.get('node', task.nodeId);
  if (!isUnknown(task, node)) return knownJson(task);
  const kept = unknownJson.get(task);
  if (kept?.node === node) return kept.json;
  const json = JSON.stringify(convertTask(task, node));
  unknownJson.set(task, { node, json });
  return json;
}

export function taskRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond, cache } = context;

  app.get('/tasks', (request, reply) => {
    const view = freshView(context);
    const text = param(request, 'filters');
    return respond.buffer(
      reply,
      cache.get(view, `tasks ${text}`, () => listTasks(view, text)),
    );
  });

  app.get('/tscluster/tasks/:id/explain', (request, reply) => {
    const view = freshView(context);
    return respond.json(reply, explainTask(view, lookup(view, 'task', pathId(request)), context.clock.now()));
  });

  app.get('/tasks/:id', (request, reply) => {
    const view = freshView(context);
    return respond.buffer(reply, Buffer.from(taskJson(view, lookup(view, 'task', pathId(request)))));
  });
}

function listTasks(view: ClusterView, text: string): string {
  const filters = parseFilters(text, filterKeys);
  const services = resolve(view, filters, 'service');
  const nodes = resolve(view, filters, 'node');
  const states = new Set(filters.get('desired-state').map(checkedState));
  const items: string[] = [];
  for (const task of candidates(view, services, nodes)) {
    if (services !== undefined && !services.has(task.serviceId)) continue;
    if (nodes !== undefined && !nodes.has(task.nodeId)) continue;
    if (states.size > 0 && !states.has(stateName(task.desired))) continue;
    if (!isRemnant(task) && matches(view, task, filters)) items.push(taskJson(view, task));
  }
  return jsonArray(items);
}

/** Of a task that is gone only its addresses are kept, for the time that they rest. */
function isRemnant(task: Task): boolean {
  return task.desired >= TaskState.remove && isTerminal(task.status.state);
}

/** Services and nodes may be named in any way; filters compare ids. */
function resolve(view: ClusterView, filters: Filters, key: 'service' | 'node'): ReadonlySet<string> | undefined {
  if (!filters.has(key)) return undefined;
  return new Set(filters.get(key).map((reference) => lookup(view, key, reference).id));
}

function checkedState(state: string): string {
  if (stateOf(state) === undefined) throw new ClusterError('invalid', `Invalid desired-state filter: '${state}'`);
  return state;
}

function candidates(
  view: ClusterView,
  services: ReadonlySet<string> | undefined,
  nodes: ReadonlySet<string> | undefined,
): Iterable<Task> {
  if (services !== undefined) return [...services].flatMap((id) => [...view.tasksOfService(id)]);
  if (nodes !== undefined) return [...nodes].flatMap((id) => [...view.tasksOfNode(id)]);
  return view.list('task');
}

function matches(view: ClusterView, task: Task, filters: Filters): boolean {
  const service = view.get('service', task.serviceId);
  return (
    filters.prefix('id', task.id) &&
    filters.any('name', (name) => taskName(task).startsWith(name)) &&
    filters.exact('runtime', 'container') &&
    hasLabels(service, filters) &&
    filters.any('_up-to-date', (wanted) => (wanted === 'true') === isUpToDate(view, task, service))
  );
}

function taskName(task: Task): string {
  return `${task.serviceName}.${task.pinned === true ? task.nodeId : task.slot}.${task.id}`;
}

/** Tasks of a removed service leave the listing by label at once: `docker stack rm --detach=false` waits for exactly that. */
function hasLabels(service: Service | undefined, filters: Filters): boolean {
  if (!filters.has('label')) return true;
  return service !== undefined && filters.labels('label', service.spec.Labels);
}

/** Of a job: made for its current execution. */
function isUpToDate(view: ClusterView, task: Task, service: Service | undefined): boolean {
  if (service === undefined) return false;
  if (service.jobStatus !== undefined) return task.jobIteration === service.jobStatus.iteration;
  return task.specVersion === service.specVersion || matchesSpec(task, service.spec, view);
}
