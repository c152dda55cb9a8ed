import type { FastifyInstance } from 'fastify';
import type { Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';
import type { ManagerBackend } from '../../model/control.ts';
import { type ApiContext, manager } from '../context.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { param, timeParam } from '../query.ts';
import { streamReply } from '../stream.ts';
import { dockerTypes, type EventType, eventTypes } from './attributes.ts';
import { type ApiEvent, EventFeed } from './feed.ts';

/** Docker knows these types, too, but a cluster has no events of them. */
const otherTypes = ['container', 'image', 'volume', 'daemon', 'plugin'];
const filterKeys = new Set([...eventTypes, ...otherTypes, 'type', 'event', 'scope', 'label']);
const listenersMax = 64;
const waitingMax = 10_000;
/** A client that asks for events "from now on" by its own clock. */
const pastToleranceMs = 5_000;

export function eventRoutes(app: FastifyInstance, context: ApiContext): void {
  const feeds = new WeakMap<ManagerBackend, EventFeed>();

  app.get('/events', async (request, reply) => {
    const filters = parseFilters(param(request, 'filters'), filterKeys);
    const since = timeParam(request, 'since');
    const until = timeParam(request, 'until');
    if (since !== 0 && since < context.clock.now() - pastToleranceMs) {
      throw new ClusterError('unimplemented', 'events of the past (since) are not supported yet');
    }
    const backend = manager(context);
    const feed = feeds.get(backend) ?? new EventFeed(backend, context.clock);
    feeds.set(backend, feed);
    if (feed.size >= listenersMax)
      throw new ClusterError('exhausted', `more than ${listenersMax} clients listen to events`);
    const headers = { ...context.respond.common, 'content-type': 'application/json' };
    await streamReply(reply, headers, {
      make: (signal) => listen(feed, { filters, until, signal, clock: context.clock }),
      failure: (message) => Buffer.from(`${JSON.stringify({ message })}\n`),
    });
  });
}

interface Listening {
  readonly filters: Filters;
  /** ms since the epoch; 0 = for ever. */
  readonly until: number;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

async function* listen(feed: EventFeed, { filters, until, signal, clock }: Listening): AsyncGenerator<Buffer> {
  const waiting: ApiEvent[] = [];
  let ended = until !== 0 && until <= clock.now();
  let wake = () => {};
  const end = () => {
    ended = true;
    wake();
  };
  const stop = feed.listen({
    types: typesOf(filters),
    hear(event) {
      if (ended || !matches(event, filters)) return;
      if (waiting.push(event) > waitingMax) end();
      wake();
    },
  });
  const cancel = until === 0 ? () => {} : clock.timer(until - clock.now(), end);
  signal.addEventListener('abort', end, { once: true });
  try {
    while (!ended) {
      const batch = waiting.splice(0);
      if (batch.length > 0) yield Buffer.from(batch.map(render).join(''));
      else await new Promise<void>((resolve) => (wake = resolve));
    }
    if (waiting.length > waitingMax) throw new ClusterError('exhausted', 'events came faster than they were read');
    if (waiting.length > 0) yield Buffer.from(waiting.map(render).join(''));
  } finally {
    stop();
    cancel();
    signal.removeEventListener('abort', end);
  }
}

/** `timeNano` is beyond the integers of a double: written as text. */
function render({ at, ...event }: ApiEvent): string {
  const json = JSON.stringify({ ...event, time: Math.floor(at / 1000) });
  return `${json.slice(0, -1)},"timeNano":${String(Math.floor(at))}000000}\n`;
}

function matches(event: ApiEvent, filters: Filters): boolean {
  return (
    filters.exact('type', event.Type) &&
    filters.exact('event', event.Action) &&
    filters.exact('scope', event.scope) &&
    filters.labels('label', event.Actor.Attributes) &&
    matchesActor(event, filters)
  );
}

function matchesActor(event: ApiEvent, filters: Filters): boolean {
  if (otherTypes.some((type) => filters.has(type))) return false;
  return eventTypes.filter((type) => filters.has(type)).every((type) => concerns(event, type, filters));
}

/** An event of a task concerns its service and its node, too. */
function concerns({ Type, Actor }: ApiEvent, type: EventType, filters: Filters): boolean {
  const { ID, Attributes } = Actor;
  const names = type === Type ? [ID, Attributes['name']] : Type === 'task' ? namesOf(Attributes, type) : [];
  return filters.any(type, (wanted) => names.includes(wanted));
}

function namesOf(attributes: Readonly<Record<string, string>>, type: EventType): readonly (string | undefined)[] {
  return [attributes[`${type}.id`], attributes[`${type}.name`]];
}

/** Docker's clients do not know events of tasks: they go to those who name them. */
function typesOf(filters: Filters): ReadonlySet<EventType> {
  const asksForTasks = filters.get('type').includes('task') || filters.has('task');
  return new Set(asksForTasks ? eventTypes : dockerTypes);
}
