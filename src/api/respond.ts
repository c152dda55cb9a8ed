/**
 * How answers leave: JSON as a Buffer, because Fastify would add `; charset=utf-8` to a string's content type, and docker then
 * prints error bodies raw.
 */
import type { FastifyReply } from 'fastify';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { httpStatus } from './errors.ts';

export const apiVersionMax = '1.50';
export const apiVersionMin = '1.24';

export type Headers = Readonly<Record<string, string>>;

/** On every answer. */
export function commonHeaders(version: string): Headers {
  return {
    'api-version': apiVersionMax,
    'docker-experimental': 'false',
    ostype: 'linux',
    server: `Docker/${version} (linux) tscluster`,
  };
}

export class Responder {
  readonly common: Headers;
  readonly #json: Headers;
  readonly #log: Log;

  constructor(version: string, log: Log) {
    this.common = commonHeaders(version);
    this.#json = { ...this.common, 'content-type': 'application/json' };
    this.#log = log;
  }

  buffer(reply: FastifyReply, body: Buffer, status = 200): FastifyReply {
    return reply.code(status).headers(this.#json).send(body);
  }

  json(reply: FastifyReply, body: unknown, status = 200): FastifyReply {
    return this.buffer(reply, Buffer.from(`${JSON.stringify(body)}\n`), status);
  }

  empty(reply: FastifyReply, status = 200): FastifyReply {
    return reply.code(status).headers(this.common).send();
  }

  /** The query string may hold secrets (dockerode puts bodies there): only the path is logged. */
  error(reply: FastifyReply, error: unknown, method: string, url: string): FastifyReply {
    const { status, message } = describe(error);
    if (status === 500) this.#log.error('request failed', { method, path: url.split('?', 1)[0], error: message });
    return this.json(reply, { message }, status);
  }
}

function describe(error: unknown): { status: number; message: string } {
  if (error instanceof ClusterError) return { status: httpStatus[error.kind], message: error.message };
  const status = statusOf(error);
  return { status, message: messageOf(error) };
}

/** Fastify's own errors (body too large and the like) carry a status. */
function statusOf(error: unknown): number {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  return typeof status === 'number' && status >= 400 && status < 600 ? status : 500;
}
