/**
 * HTTP/1.1 to one daemon, over a unix socket or TCP, with connections kept alive. Turns error answers into
 * DaemonError and unreachable daemons into ConnectionError; never retries.
 */
import { Agent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { messageOf } from '../lib/errors.ts';
import { type Address, formatAddress } from './address.ts';
import { ConnectionError, DaemonError } from './errors.ts';

export const apiVersion = '1.50';

/** An answer larger than this is refused: lists of a large cluster stay well below it. */
const bodyBytesMax = 256 * 1024 * 1024;
/** A silent connection is given up after this long; streams have no limit. */
const idleLimitMs = 120_000;

export type Method = 'GET' | 'POST' | 'DELETE' | 'HEAD';
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Call {
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

export class Transport {
  readonly address: Address;
  readonly #agent: Agent;

  constructor(address: Address) {
    this.address = address;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 16, maxFreeSockets: 4 });
  }

  /** The whole answer as text; throws DaemonError for any status of 400 and above. */
  async send(method: Method, path: string, call: Call = {}): Promise<Answer> {
    const response = await this.#open(method, path, call, idleLimitMs);
    const text = await readAll(response, this.address);
    const status = response.statusCode ?? 500;
    if (status >= 400) throw daemonError(status, text, path);
    return { status, text };
  }

  /** The answer as a stream of chunks, for logs and events. Ends quietly when `call.signal` fires. */
  async *stream(method: Method, path: string, call: Call = {}): AsyncGenerator<Buffer> {
    const response = await this.#open(method, path, call, 0);
    const status = response.statusCode ?? 500;
    if (status >= 400) throw daemonError(status, await readAll(response, this.address), path);
    try {
      for await (const chunk of response) yield chunk as Buffer;
    } catch (error) {
      if (call.signal?.aborted) return;
      throw brokenConnection(this.address, error);
    } finally {
      response.destroy();
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #open(method: Method, path: string, call: Call, idleMs: number): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const body = call.body === undefined ? undefined : `${JSON.stringify(call.body)}\n`;
      const request = httpRequest(this.#requestOptions(method, path, call, body));
      let connected = false;
      request.once('socket', (socket) => {
        connected = !socket.connecting;
        if (connected) return;
        socket.once('connect', () => {
          connected = true;
        });
      });
      request.once('response', resolve);
      request.once('error', (error) => {
        if (call.signal?.aborted) reject(call.signal.reason);
        else reject(connected ? brokenConnection(this.address, error) : notRunning(this.address, error));
      });
      if (idleMs > 0) {
        request.setTimeout(idleMs, () => request.destroy(new Error(`no answer within ${idleMs / 1000} s`)));
      }
      request.end(body);
    });
  }

  #requestOptions(method: Method, path: string, call: Call, body: string | undefined): RequestOptions {
    const target = this.address.kind === 'unix' ? { socketPath: this.address.path, host: 'localhost' } : this.address;
    const base = this.address.kind === 'tcp' ? this.address.base : '';
    const entity =
      body === undefined
        ? { 'Content-Length': method === 'POST' ? '0' : undefined }
        : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const headers = { 'User-Agent': 'tscluster', ...entity, ...call.headers };
    return {
      ...('socketPath' in target ? target : { host: target.host, port: target.port }),
      agent: this.#agent,
      method,
      path: `${base}${path}${queryString(call.query)}`,
      headers: Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    };
  }
}

function queryString(query: Query | undefined): string {
  const parts = Object.entries(query ?? {})
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${encodeURIComponent(String(value))}`);
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}

async function readAll(response: IncomingMessage, address: Address): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response) {
      size += (chunk as Buffer).length;
      if (size > bodyBytesMax) throw new Error(`the answer is larger than ${bodyBytesMax} bytes`);
      chunks.push(chunk as Buffer);
    }
  } catch (error) {
    throw brokenConnection(address, error);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function daemonError(status: number, text: string, path: string): DaemonError {
  const message = errorMessage(text);
  return new DaemonError(
    status,
    message === '' ? `request for ${path} was answered with status ${status} and no message` : message,
  );
}

function errorMessage(text: string): string {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null && 'message' in body && typeof body.message === 'string') {
      return body.message.trim();
    }
  } catch {
    // Not JSON: the text itself is the best there is.
  }
  return text.trim();
}

function notRunning(address: Address, cause: unknown): ConnectionError {
  const where = formatAddress(address);
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
  if (code === 'EACCES' || code === 'EPERM') {
    return new ConnectionError(
      `permission denied while trying to connect to the tscluster daemon at ${where}. Run this command as root.`,
      { sent: false, cause },
    );
  }
  const reason = code === 'ENOENT' || code === 'ECONNREFUSED' || code === undefined ? '' : ` (${messageOf(cause)})`;
  return new ConnectionError(
    `Cannot connect to the tscluster daemon at ${where}${reason}. Is it running? Start it with: tscluster daemon`,
    { sent: false, cause },
  );
}

function brokenConnection(address: Address, cause: unknown): ConnectionError {
  return new ConnectionError(
    `The connection to the tscluster daemon at ${formatAddress(address)} broke: ${messageOf(cause)}`,
    { sent: true, cause },
  );
}
