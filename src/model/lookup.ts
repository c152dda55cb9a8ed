/** What a user types becomes an object: full id, else exact name (nodes: hostname), else unique prefix of an id. */
import { ClusterError } from '../lib/errors.ts';
import type { Config, Network, Node, Secret, Service, Task } from './objects.ts';
import type { ClusterView } from './view.ts';

export interface NamedTables {
  readonly node: Node;
  readonly service: Service;
  readonly task: Task;
  readonly secret: Secret;
  readonly config: Config;
  readonly network: Network;
}

const matchesMax = 100;

/** Throws `not_found` (`service nope not found`) or `invalid` (`service a is ambiguous (2 matches found)`). */
export function lookup<T extends keyof NamedTables>(view: ClusterView, table: T, reference: string): NamedTables[T] {
  const found = find(view, table, reference);
  if (found === undefined) throw new ClusterError('not_found', `${table} ${reference} not found`);
  return found;
}

/** Like `lookup`, but nothing found is undefined. */
export function find<T extends keyof NamedTables>(
  view: ClusterView,
  table: T,
  reference: string,
): NamedTables[T] | undefined {
  if (reference === '') return undefined;
  const byId = view.get(table, reference) as NamedTables[T] | undefined;
  if (byId !== undefined) return byId;
  const named = byName[table](view, reference);
  if (named.length > 1) throw ambiguous(table, reference, named.length);
  if (named[0] !== undefined) return named[0];
  const ids = view.idsByPrefix(table, reference, matchesMax);
  if (ids.length > 1) throw ambiguous(table, reference, ids.length);
  const id = ids[0];
  return id === undefined ? undefined : (view.get(table, id) as NamedTables[T] | undefined);
}

function ambiguous(table: string, reference: string, matches: number): ClusterError {
  return new ClusterError('invalid', `${table} ${reference} is ambiguous (${matches} matches found)`);
}

const byName: { readonly [T in keyof NamedTables]: (view: ClusterView, name: string) => readonly NamedTables[T][] } = {
  node: (view, name) => view.nodesByHostname(name),
  service: (view, name) => exactly(view.serviceByName(name), name),
  secret: (view, name) => exactly(view.secretByName(name), name),
  config: (view, name) => exactly(view.configByName(name), name),
  network: (view, name) => exactly(view.networkByName(name), name),
  task: () => [],
};

/** The store's name index does not mind case; a reference does. */
function exactly<O extends { readonly spec: { readonly Name: string } }>(
  object: O | undefined,
  name: string,
): readonly O[] {
  return object !== undefined && object.spec.Name === name ? [object] : [];
}
