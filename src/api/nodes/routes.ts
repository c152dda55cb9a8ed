import type { FastifyInstance } from 'fastify';
import { ClusterError } from '../../lib/errors.ts';
import type { RaftMemberInfo } from '../../model/control.ts';
import { lookup } from '../../model/lookup.ts';
import type { Node } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';
import { jsonArray, memoJson, withMember } from '../cache.ts';
import { type ApiContext, freshView, manager } from '../context.ts';
import { decodeBody } from '../decode.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { flag, param, pathId, versionParam } from '../query.ts';
import { nodeSpec } from '../schemas.ts';
import { convertNode, managerStatus } from './convert.ts';

const filterKeys = new Set(['id', 'name', 'label', 'node.label', 'role', 'membership']);

export function nodeRoutes(app: FastifyInstance, context: ApiContext): void {
  const { respond, cache } = context;

  app.get('/nodes', (request, reply) => {
    const view = freshView(context);
    const members = manager(context).members();
    const text = param(request, 'filters');
    const key = `nodes ${signature(members)} ${text}`;
    return respond.buffer(
      reply,
      cache.get(view, key, () => listNodes(view, members, text)),
    );
  });

  app.get('/nodes/:id', (request, reply) => {
    const view = freshView(context);
    const node = lookup(view, 'node', pathId(request));
    return respond.buffer(reply, Buffer.from(render(view, node, manager(context).members())));
  });

  app.post('/nodes/:id/update', async (request, reply) => {
    const backend = manager(context);
    const version = versionParam(request, 'node');
    const spec = decodeBody(request.body, nodeSpec);
    await backend.call('node.update', { id: pathId(request), version, spec });
    return respond.empty(reply);
  });

  app.delete('/nodes/:id', async (request, reply) => {
    await manager(context).call('node.remove', { id: pathId(request), force: flag(request, 'force') });
    return respond.empty(reply);
  });
}

/** Made once per node and root certificate. */
let memo = { rootPem: '', json: memoJson((node: Node) => convertNode(node, '')) };

function nodeJson(view: ClusterView, node: Node): string {
  const rootPem = view.cluster()?.rootCa.certPem ?? '';
  if (memo.rootPem !== rootPem) memo = { rootPem, json: memoJson((one: Node) => convertNode(one, rootPem)) };
  return memo.json(node);
}

/** Reachability changes without a change of the state. */
function signature(members: readonly RaftMemberInfo[]): string {
  return members
    .map((member) => `${member.nodeId}:${String(member.leader)}:${member.reachability}:${member.addr}`)
    .join();
}

function render(view: ClusterView, node: Node, members: readonly RaftMemberInfo[]): string {
  const member = members.find((candidate) => candidate.nodeId === node.id);
  const status = managerStatus(node, member);
  return status === undefined ? nodeJson(view, node) : withMember(nodeJson(view, node), 'ManagerStatus', status);
}

function listNodes(view: ClusterView, members: readonly RaftMemberInfo[], text: string): string {
  const filters = parseFilters(text, filterKeys);
  checkValues(filters, 'role', ['manager', 'worker']);
  checkValues(filters, 'membership', ['accepted', 'pending']);
  const items: string[] = [];
  for (const node of view.list('node')) {
    if (matches(node, filters)) items.push(render(view, node, members));
  }
  return jsonArray(items);
}

function checkValues(filters: Filters, key: string, allowed: readonly string[]): void {
  const wrong = filters.get(key).find((value) => !allowed.includes(value));
  if (wrong !== undefined) throw new ClusterError('invalid', `Invalid ${key} filter: '${wrong}'`);
}

function matches(node: Node, filters: Filters): boolean {
  return (
    filters.prefix('id', node.id) &&
    filters.prefix('name', node.description?.hostname ?? '') &&
    filters.labels('label', node.description?.engine.labels ?? {}) &&
    filters.labels('node.label', node.spec.Labels) &&
    filters.exact('role', node.spec.Role) &&
    filters.exact('membership', 'accepted')
  );
}
