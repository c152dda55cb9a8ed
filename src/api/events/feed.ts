/**
 * Docker events from the state: each commit is compared with what was last seen. Works only while somebody listens, and
 * commits that come together are compared once.
 */
import type { Clock } from '../../lib/clock.ts';
import type { ManagerBackend } from '../../model/control.ts';
import { replicasOf } from '../../model/defaults.ts';
import type { Network, Node, Secret, Service } from '../../model/objects.ts';
import type { ClusterView } from '../../model/view.ts';

export interface ApiEvent {
  readonly Type: EventType;
  readonly Action: 'create' | 'update' | 'remove';
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: 'swarm';
  /** Milliseconds since the epoch. */
  readonly at: number;
}

const eventTables = ['node', 'service', 'network', 'secret', 'config'] as const;
export type EventType = (typeof eventTables)[number];
type Watched = Service | Node | Secret | Network;
type Snapshot = ReadonlyMap<EventType, ReadonlyMap<string, Watched>>;
type Attributes = Record<string, string>;

export class EventFeed {
  readonly #backend: ManagerBackend;
  readonly #clock: Clock;
  readonly #listeners = new Set<(event: ApiEvent) => void>();
  #seen: Snapshot = new Map();
  #scheduled = false;
  #unsubscribe: (() => void) | undefined;

  constructor(backend: ManagerBackend, clock: Clock) {
    this.#backend = backend;
    this.#clock = clock;
  }

  get size(): number {
    return this.#listeners.size;
  }

  listen(listener: (event: ApiEvent) => void): () => void {
    if (this.#listeners.size === 0) {
      this.#seen = snapshot(this.#backend.view);
      this.#unsubscribe = this.#backend.onCommit(() => this.#schedule());
    }
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#unsubscribe?.();
      this.#unsubscribe = undefined;
      this.#seen = new Map();
    };
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.defer(() => this.#compare());
  }

  #compare(): void {
    this.#scheduled = false;
    if (this.#listeners.size === 0) return;
    const before = this.#seen;
    this.#seen = snapshot(this.#backend.view);
    for (const event of differences(before, this.#seen, this.#clock.now())) {
      for (const listener of [...this.#listeners]) listener(event);
    }
  }
}

function snapshot(view: ClusterView): Snapshot {
  return new Map(
    eventTables.map((table) => [table, new Map([...view.list(table)].map((object) => [object.id, object]))]),
  );
}

function* differences(before: Snapshot, after: Snapshot, at: number): Generator<ApiEvent> {
  for (const type of eventTables) {
    const old = before.get(type) ?? new Map<string, Watched>();
    const now = after.get(type) ?? new Map<string, Watched>();
    for (const [id, object] of old) {
      if (!now.has(id)) yield event(type, 'remove', object, { at, attributes: {} });
    }
    for (const [id, object] of now) {
      const previous = old.get(id);
      if (previous === object) continue;
      if (previous === undefined) yield event(type, 'create', object, { at, attributes: {} });
      else yield* updated(type, previous, object, at);
    }
  }
}

function* updated(type: EventType, before: Watched, after: Watched, at: number): Generator<ApiEvent> {
  const attributes: Attributes = {};
  // Nobody can change a network; which of its addresses rest is the allocator's own affair.
  if (type === 'network' && (before as Network).allocation === (after as Network).allocation) return;
  if (type === 'service') serviceChanges(before as Service, after as Service, attributes);
  if (type === 'node') {
    nodeChanges(before as Node, after as Node, attributes);
    if (Object.keys(attributes).length === 0) return;
  }
  yield event(type, 'update', after, { at, attributes });
}

function event(
  type: EventType,
  action: ApiEvent['Action'],
  object: Watched,
  { at, attributes }: { readonly at: number; readonly attributes: Attributes },
): ApiEvent {
  const name = 'status' in object ? (object.description?.hostname ?? '') : object.spec.Name;
  return {
    Type: type,
    Action: action,
    Actor: { ID: object.id, Attributes: { name, ...attributes } },
    scope: 'swarm',
    at,
  };
}

function serviceChanges(before: Service, after: Service, attributes: Attributes): void {
  change(
    attributes,
    'image',
    before.spec.TaskTemplate.ContainerSpec.Image,
    after.spec.TaskTemplate.ContainerSpec.Image,
  );
  change(attributes, 'replicas', String(replicasOf(before.spec)), String(replicasOf(after.spec)));
  change(attributes, 'updatestate', before.updateStatus?.state ?? '', after.updateStatus?.state ?? '');
}

function nodeChanges(before: Node, after: Node, attributes: Attributes): void {
  change(attributes, 'state', before.status.state, after.status.state);
  change(attributes, 'availability', before.spec.Availability, after.spec.Availability);
  change(attributes, 'role', before.spec.Role, after.spec.Role);
  change(attributes, 'labels', JSON.stringify(before.spec.Labels), JSON.stringify(after.spec.Labels));
}

function change(attributes: Attributes, name: string, before: string, after: string): void {
  if (before === after) return;
  if (before !== '') attributes[`${name}.old`] = before;
  if (after !== '') attributes[`${name}.new`] = after;
}
