/** HTTP for registries: bounded header and idle times, redirects that keep credentials at home, bodies as streams. */
import { type IncomingMessage, request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Cancel, Clock } from '../../../lib/clock.ts';
import { ClusterError, messageOf } from '../../../lib/errors.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Accept any certificate: registries the user called insecure. */
  readonly insecure: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly headerTimeoutMs: number;
}

export interface HttpResponse {
  readonly status: number;
  header(name: string): string | undefined;
  /** The body; fails when nothing arrives for a while. Read it, or `discard` it. */
  stream(): AsyncIterable<Buffer>;
  text(bytesMax: number): Promise<Buffer>;
  discard(): void;
}

const redirectsMax = 5;
const idleTimeoutMs = 30_000;

export async function fetchHttp(clock: Clock, request: HttpRequest): Promise<HttpResponse> {
  let current = request;
  for (let hop = 0; hop <= redirectsMax; hop++) {
    const message = await send(clock, current);
    const location = message.headers.location;
    const status = message.statusCode ?? 0;
    if (![301, 302, 303, 307, 308].includes(status) || location === undefined || current.method === 'POST') {
      return wrap(clock, message, current.url);
    }
    message.resume();
    const url = new URL(location, current.url);
    current = { ...current, url, headers: headersFor(url, current) };
  }
  throw new ClusterError('failed_precondition', `${request.url.host}: too many redirects`);
}

function headersFor(url: URL, previous: HttpRequest): Readonly<Record<string, string>> {
  if (url.host === previous.url.host && url.protocol === previous.url.protocol) return previous.headers;
  return Object.fromEntries(
    Object.entries(previous.headers).filter(([name]) => name.toLowerCase() !== 'authorization'),
  );
}

function send(clock: Clock, request: HttpRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    if (request.url.protocol !== 'http:' && request.url.protocol !== 'https:') {
      return reject(new ClusterError('invalid', `unsupported scheme ${request.url.protocol}`));
    }
    const start = request.url.protocol === 'https:' ? requestTls : requestPlain;
    const options = {
      method: request.method,
      headers: { ...request.headers, 'User-Agent': 'tscluster' },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      ...(request.insecure ? { rejectUnauthorized: false } : {}),
    };
    const outgoing = start(request.url, options, (message) => {
      cancel();
      resolve(message);
    });
    const cancel = clock.timer(request.headerTimeoutMs, () => {
      outgoing.destroy(new ClusterError('unavailable', `${request.url.host}: timeout: no answer`));
    });
    outgoing.on('error', (error) => {
      cancel();
      reject(connectionError(request.url, error));
    });
    outgoing.end(request.body);
  });
}

function connectionError(url: URL, error: Error): ClusterError {
  if (error instanceof ClusterError) return error;
  if (error.name === 'AbortError') return new ClusterError('cancelled', 'the pull was cancelled', { cause: error });
  const text = connectionText(error as NodeJS.ErrnoException);
  return new ClusterError('unavailable', `${url.origin}: ${text}`, { cause: error });
}

/** One line; and Docker's words for the commonest mistake, where OpenSSL's are of no help. */
export function connectionText(error: NodeJS.ErrnoException): string {
  const [line = ''] = messageOf(error).split('\n');
  if (/wrong[ _]version[ _]number/i.test(line)) return 'http: server gave HTTP response to HTTPS client';
  return line || error.code || 'connection failed';
}

function wrap(clock: Clock, message: IncomingMessage, url: URL): HttpResponse {
  return {
    status: message.statusCode ?? 0,
    header(name) {
      const value = message.headers[name.toLowerCase()];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    stream: () => read(clock, message, url),
    async text(bytesMax) {
      const parts: Buffer[] = [];
      let sizeBytes = 0;
      for await (const part of read(clock, message, url)) {
        sizeBytes += part.length;
        if (sizeBytes > bytesMax) throw new ClusterError('exhausted', `${url.host}: answer is too large`);
        parts.push(part);
      }
      return Buffer.concat(parts);
    },
    discard: () => void message.destroy(),
  };
}

async function* read(clock: Clock, message: IncomingMessage, url: URL): AsyncIterable<Buffer> {
  let cancel: Cancel = () => {};
  const arm = () => {
    cancel();
    cancel = clock.timer(idleTimeoutMs, () => {
      message.destroy(new ClusterError('unavailable', `${url.host}: timeout: the transfer stalled`));
    });
  };
  try {
    arm();
    for await (const part of message) {
      cancel();
      yield part as Buffer;
      arm();
    }
  } catch (error) {
    throw connectionError(url, error instanceof Error ? error : new Error(String(error)));
  } finally {
    cancel();
  }
}
