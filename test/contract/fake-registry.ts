/** A registry in this process that misbehaves on request: asks for credentials, breaks transfers off, counts what it is asked. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Image } from '../fixtures/images.ts';

export interface FakeRegistryOptions {
  /** `user:password`; with `token` they are asked for at the token server, else on every request. */
  readonly credentials?: string;
  readonly token?: boolean;
  /** Each blob transfer ends after this many bytes. */
  readonly breakAfterBytes?: number;
  readonly ranges?: boolean;
}

export class FakeRegistry {
  readonly requests: string[] = [];
  readonly #options: FakeRegistryOptions;
  readonly #server: Server;
  readonly #blobs = new Map<string, Buffer>();
  readonly #manifests = new Map<string, { readonly body: Buffer; readonly mediaType: string }>();
  /** Blobs served with wrong bytes. */
  readonly corrupt = new Set<string>();
  address = '';

  constructor(options: FakeRegistryOptions = {}) {
    this.#options = options;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    this.address = typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : '';
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  add(name: string, tag: string, image: Image): string {
    for (const blob of [...image.layers, image.config]) this.#blobs.set(blob.digest, blob.bytes);
    return this.addManifest(name, tag, image.manifest.bytes, image.mediaType);
  }

  addManifest(name: string, tag: string, body: Buffer, mediaType: string): string {
    const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
    this.#manifests.set(`${name}:${tag}`, { body, mediaType });
    this.#manifests.set(`${name}:${digest}`, { body, mediaType });
    return digest;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', `http://${this.address}`);
    this.requests.push(`${request.method} ${url.pathname}`);
    if (url.pathname === '/token') return this.#token(request, url, response);
    if (!this.#allowed(request)) return this.#challenge(url, response);
    const [, name = '', kind = '', reference = ''] =
      /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url.pathname) ?? [];
    const found = kind === 'blobs' ? this.#blobs.get(reference) : this.#manifests.get(`${name}:${reference}`)?.body;
    if (found === undefined) {
      return void response
        .writeHead(404)
        .end(JSON.stringify({ errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] }));
    }
    if (kind === 'blobs')
      return this.#blob(request, response, this.corrupt.has(reference) ? Buffer.alloc(found.length) : found);
    const digest = `sha256:${createHash('sha256').update(found).digest('hex')}`;
    response.writeHead(200, {
      'content-type': this.#manifests.get(`${name}:${reference}`)?.mediaType ?? '',
      'docker-content-digest': digest,
      'content-length': found.length,
    });
    response.end(request.method === 'HEAD' ? undefined : found);
  }

  #blob(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
    const from =
      this.#options.ranges === false ? 0 : Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const limit = this.#options.breakAfterBytes ?? Number.MAX_SAFE_INTEGER;
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': bytes.length - from });
    if (bytes.length - from <= limit) return void response.end(bytes.subarray(from));
    response.write(bytes.subarray(from, from + limit), () => response.destroy());
  }

  #allowed(request: IncomingMessage): boolean {
    const { credentials, token } = this.#options;
    if (credentials === undefined) return true;
    const expected = token === true ? 'Bearer good' : `Basic ${Buffer.from(credentials).toString('base64')}`;
    return request.headers.authorization === expected;
  }

  #challenge(url: URL, response: ServerResponse): void {
    const repository = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(url.pathname)?.[1] ?? '';
    const bearer = `Bearer realm="http://${this.address}/token",service="fake",scope="repository:${repository}:pull"`;
    response.writeHead(401, { 'www-authenticate': this.#options.token === true ? bearer : 'Basic realm="fake"' });
    response.end(JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }));
  }

  #token(request: IncomingMessage, url: URL, response: ServerResponse): void {
    const expected = `Basic ${Buffer.from(this.#options.credentials ?? '').toString('base64')}`;
    const good = request.headers.authorization === expected && url.searchParams.get('service') === 'fake';
    response.writeHead(good ? 200 : 401).end(JSON.stringify(good ? { token: 'good', expires_in: 300 } : {}));
  }
}
