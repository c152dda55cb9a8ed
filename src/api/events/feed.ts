/**
 * Docker events from the changes that commits make, and events of tasks, which Docker does not have, for those who ask. Works only
 * while somebody listens. Of tasks every change is told; of other objects what changed in commits that come together.
 */
import type { Clock } from '../../lib/clock.ts';
import type { ManagerBackend } from '../../model/control.ts';
import type { ChangeEvent } from '../../model/view.ts';
import { type Attributes, changeAttributes, type EventType, eventTypes, nameOf } from './attributes.ts';

export interface ApiEvent {
  readonly Type: EventType;
  readonly Action: 'create' | 'update' | 'remove';
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Attributes> };
  readonly scope: 'swarm';
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface Listener {
  readonly types: ReadonlySet<EventType>;
  /** Bounds by itself what it keeps. */
  hear(event: ApiEvent): void;
}

type Change = Extract<ChangeEvent, { table: EventType }>;

/** More changes than this are passed on before anything else happens. */
const pendingMax = 10_000;

export class EventFeed {
  readonly #backend: ManagerBackend;
  readonly #clock: Clock;
  readonly #listeners = new Set<Listener>();
  #types: ReadonlySet<string> = new Set();
  /** By object, and tasks by change. */
  #pending = new Map<string, Change>();
  #scheduled = false;
  #unsubscribe: (() => void) | undefined;

  constructor(backend: ManagerBackend, clock: Clock) {
    this.#backend = backend;
    this.#clock = clock;
  }

  get size(): number {
    return this.#listeners.size;
  }

  listen(listener: Listener): () => void {
    this.#unsubscribe ??= this.#backend.onCommit((events) => this.#record(events));
    // What came before is not for this one.
    this.#flush();
    this.#listeners.add(listener);
    this.#refreshTypes();
    return () => {
      this.#listeners.delete(listener);
      this.#refreshTypes();
      if (this.#listeners.size > 0) return;
      this.#unsubscribe?.();
      this.#unsubscribe = undefined;
      this.#pending.clear();
    };
  }

  #refreshTypes(): void {
    this.#types = new Set([...this.#listeners].flatMap((listener) => [...listener.types]));
  }

  #record(events: readonly ChangeEvent[]): void {
    for (const event of events) {
      if (!isKnown(event) || !this.#types.has(event.table)) continue;
      if (this.#pending.size >= pendingMax) this.#flush();
      this.#add(event);
    }
    if (this.#pending.size === 0 || this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.defer(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #add(event: Change): void {
    const { table, before, after } = event;
    const id = after?.id ?? before?.id ?? '';
    const key = table === 'task' ? `${table}/${id}/${this.#pending.size}` : `${table}/${id}`;
    const earlier = this.#pending.get(key);
    this.#pending.set(key, earlier === undefined ? event : merged(earlier, event));
  }

  #flush(): void {
    const changes = [...this.#pending.values()];
    this.#pending.clear();
    const at = this.#clock.now();
    for (const change of changes) {
      const event = apiEvent(change, this.#backend, at);
      if (event === undefined) continue;
      for (const listener of [...this.#listeners]) if (listener.types.has(event.Type)) listener.hear(event);
    }
  }
}

function isKnown(event: ChangeEvent): event is Change {
  return (eventTypes as readonly string[]).includes(event.table);
}

/** Both are of one object. */
function merged(earlier: Change, later: Change): Change {
  const { before: _, ...rest } = later;
  return (earlier.before === undefined ? rest : { ...rest, before: earlier.before }) as Change;
}

function apiEvent(change: Change, { view }: ManagerBackend, at: number): ApiEvent | undefined {
  const { table, before, after } = change;
  const object = after ?? before;
  if (object === undefined) return undefined;
  const attributes = changeAttributes(change);
  if (attributes === undefined) return undefined;
  const name = nameOf(change, (id) => view.get('node', id)?.description?.hostname ?? id);
  return {
    Type: table,
    Action: before === undefined ? 'create' : after === undefined ? 'remove' : 'update',
    Actor: { ID: object.id, Attributes: { name, ...attributes } },
    scope: 'swarm',
    at,
  };
}
