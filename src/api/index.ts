/**
 * The HTTP API: the Docker Engine API's swarm part (1.24 … 1.50), so that unmodified docker clients work, and a few routes of our
 * own under `/tscluster/`. It is a client of the control API and a reader of this manager's view, nothing more: it holds no state
 * but caches, and never logs a query string or a body, which may hold secrets.
 */
import type { IncomingMessage } from 'node:http';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Clock } from '../lib/clock.ts';
import { ClusterError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { NodeBackend } from '../model/control.ts';
import { AnswerCache } from './cache.ts';
import { configRoutes } from './configs/routes.ts';
import type { ApiContext } from './context.ts';
import { eventRoutes } from './events/routes.ts';
import { logRoutes } from './logs/routes.ts';
import { networkRoutes } from './networks/routes.ts';
import { nodeRoutes } from './nodes/routes.ts';
import { noSuchThing, notServed } from './not-served.ts';
import { planRoutes } from './plans/routes.ts';
import { apiVersionMax, apiVersionMin, Responder } from './respond.ts';
import { secretRoutes } from './secrets/routes.ts';
import { serviceHistoryRoutes } from './services/history.ts';
import { serviceRoutes } from './services/routes.ts';
import { swarmRoutes } from './swarm/routes.ts';
import { distributionRoutes } from './system/distribution.ts';
import { systemRoutes } from './system/routes.ts';
import { taskRoutes } from './tasks/routes.ts';
import { volumeRoutes } from './volumes/routes.ts';

export { assertUnused, listen } from './listen.ts';

export interface ApiOptions {
  readonly node: NodeBackend;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
}

/** A config of 1,024,000 bytes is 1.37 MB in base64; the rest of the document comes on top. */
const bodyBytesMax = 2 * 1024 * 1024;
/** dockerode repeats the fields of a body in the query string. */
const headBytesMax = 4 * 1024 * 1024;

const nouns = [
  systemRoutes,
  distributionRoutes,
  swarmRoutes,
  nodeRoutes,
  serviceRoutes,
  serviceHistoryRoutes,
  taskRoutes,
  logRoutes,
  secretRoutes,
  configRoutes,
  networkRoutes,
  planRoutes,
  volumeRoutes,
  eventRoutes,
];

export function createApi(options: ApiOptions): FastifyInstance {
  const app = Fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    http: { maxHeaderSize: headBytesMax },
    forceCloseConnections: true,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 1024 },
    rewriteUrl,
  });
  const respond = new Responder(options.version, options.log);
  const context: ApiContext = { ...options, respond, cache: new AnswerCache() };
  acceptAnyContentType(app);
  app.setErrorHandler((error, request, reply) => respond.error(reply, error, request.method, request.url));
  app.setNotFoundHandler((request, reply) => {
    const missing = noSuchThing(request.method, request.url);
    if (missing !== undefined) return respond.json(reply, { message: missing }, 404);
    const message = notServed(request.url);
    return message === undefined
      ? respond.json(reply, { message: 'page not found' }, 404)
      : respond.json(reply, { message }, 501);
  });
  app.all('/-/version/:version', (request) => {
    throw versionError((request.params as { readonly version: string }).version);
  });
  for (const register of nouns) register(app, context);
  return app;
}

/** Bodies are read by the handlers: clients send JSON under any content type, and none with an empty body. */
function acceptAnyContentType(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
}

const versionPrefix = /^\/v(\d+)\.(\d+)(?=\/|$)/;
const minorMax = Number(apiVersionMax.split('.')[1]);
const minorMin = Number(apiVersionMin.split('.')[1]);

/** `/v1.41/services` is `/services`; a version that is not spoken leads to the route that says so. */
function rewriteUrl(request: IncomingMessage): string {
  const url = request.url ?? '/';
  if (!url.startsWith('/v')) return url;
  const match = versionPrefix.exec(url);
  if (match === null) return url;
  const [prefix, major, minor] = match;
  const isSpoken = major === '1' && Number(minor) >= minorMin && Number(minor) <= minorMax;
  return isSpoken ? url.slice(prefix.length) || '/' : `/-/version/${major}.${minor}`;
}

function versionError(version: string): ClusterError {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isNew = major > 1 || (major === 1 && minor > minorMax);
  const message = isNew
    ? `client version ${version} is too new. Maximum supported API version is ${apiVersionMax}`
    : `client version ${version} is too old. Minimum supported API version is ${apiVersionMin}, please upgrade your client to a newer version`;
  return new ClusterError('invalid', message);
}
