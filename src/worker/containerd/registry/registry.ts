/**
 * Reading from OCI registries: mirrors first for Docker Hub, anonymous, Basic and Bearer authentication, plain HTTP where
 * the user allowed it. What comes back is checked against its digest by the caller or by containerd; nothing is cached but
 * tokens and which address of a registry answered.
 */
import type { Clock } from '../../../lib/clock.ts';
import { ClusterError, isKind } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import { familiarName, familiarRepository, type ImageReference } from '../../../model/image-reference.ts';
import { basicHeader, type Challenge, parseChallenges, parseToken, type RegistryAuth, tokenUrl } from './auth.ts';
import { fetchHttp, type HttpResponse } from './http.ts';
import { acceptHeader, type Descriptor, sha256 } from './manifest.ts';

export interface RegistryOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Base URLs tried first for docker.io. */
  readonly mirrors: readonly string[];
  /** `host:port` of registries that may use plain HTTP or an unknown certificate. */
  readonly insecureRegistries: readonly string[];
}

export interface FetchedManifest extends Descriptor {
  readonly body: Buffer;
}

interface Endpoint {
  readonly base: URL;
  readonly insecure: boolean;
  readonly mirror: boolean;
}

interface Ask {
  readonly method: 'GET' | 'HEAD';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly auth: RegistryAuth | undefined;
  readonly signal: AbortSignal | undefined;
}

const manifestBytesMax = 4 * 1024 * 1024;
const errorBytesMax = 64 * 1024;
const headerTimeoutMs = 15_000;
const tokensMax = 256;

export class Registry {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #mirrors: readonly Endpoint[];
  readonly #insecure: ReadonlySet<string>;
  readonly #tokens = new Map<string, { readonly header: string; readonly until: number }>();
  /** Per registry: the address that answered last, tried first. */
  readonly #answered = new Map<string, string>();

  constructor(options: RegistryOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#insecure = new Set(options.insecureRegistries);
    this.#mirrors = options.mirrors.map((mirror) => mirrorEndpoint(mirror));
  }

  /** What a tag points to, or what a digest is. */
  async resolve(reference: ImageReference, auth?: RegistryAuth, signal?: AbortSignal): Promise<Descriptor> {
    const wanted = reference.digest ?? reference.tag ?? 'latest';
    const path = `${reference.repository}/manifests/${wanted}`;
    const ask: Ask = { method: 'HEAD', path, headers: { Accept: acceptHeader }, auth, signal };
    const response = await this.#ask(reference, ask);
    response.discard();
    const digest = response.header('docker-content-digest');
    const size = Number(response.header('content-length') ?? '');
    const known = digest !== undefined && /^sha256:[0-9a-f]{64}$/.test(digest) && Number.isSafeInteger(size);
    if (!known) return this.manifest(reference, wanted, auth, signal);
    if (reference.digest !== undefined && digest !== reference.digest) throw mismatch(reference.digest, digest);
    return { mediaType: mediaTypeOf(response), digest, size };
  }

  /** A manifest or index by tag or digest, verified when asked for by digest. */
  async manifest(
    reference: ImageReference,
    wanted: string,
    auth?: RegistryAuth,
    signal?: AbortSignal,
  ): Promise<FetchedManifest> {
    const path = `${reference.repository}/manifests/${wanted}`;
    const response = await this.#ask(reference, {
      method: 'GET',
      path,
      headers: { Accept: acceptHeader },
      auth,
      signal,
    });
    const body = await response.text(manifestBytesMax);
    const digest = sha256(body);
    if (wanted.startsWith('sha256:') && wanted !== digest) throw mismatch(wanted, digest);
    return { mediaType: mediaTypeOf(response), digest, size: body.length, body };
  }

  /** A blob's bytes from `offset` on, whether or not the registry knows ranges. */
  async *blob(
    reference: ImageReference,
    digest: string,
    offset: number,
    auth?: RegistryAuth,
    signal?: AbortSignal,
  ): AsyncIterable<Buffer> {
    const path = `${reference.repository}/blobs/${digest}`;
    const headers: Record<string, string> = offset > 0 ? { Range: `bytes=${offset}-` } : {};
    const response = await this.#ask(reference, { method: 'GET', path, headers, auth, signal });
    let skip = response.status === 206 ? 0 : offset;
    for await (const part of response.stream()) {
      if (skip >= part.length) {
        skip -= part.length;
      } else {
        yield skip === 0 ? part : part.subarray(skip);
        skip = 0;
      }
    }
  }

  /** The first endpoint that has it; the registry's own answer is the error when none has. */
  async #ask(reference: ImageReference, ask: Ask): Promise<HttpResponse> {
    const endpoints = this.#endpoints(reference);
    let failure: ClusterError | undefined;
    for (const endpoint of endpoints) {
      try {
        const response = await this.#askEndpoint(endpoint, reference, ask);
        if (!endpoint.mirror) this.#answered.set(reference.registry, endpoint.base.origin);
        return response;
      } catch (error) {
        if (!(error instanceof ClusterError) || error.kind === 'cancelled') throw error;
        // A registry that answered has the last word; an unreachable one leaves it to the next address.
        failure = failure === undefined || endpoint.mirror || isKind(failure, 'unavailable') ? error : failure;
        if (!endpoint.mirror && error.kind !== 'unavailable') throw error;
        this.#log.debug('registry endpoint refused', { endpoint: endpoint.base.origin, error: error.message });
      }
    }
    throw failure ?? new ClusterError('unavailable', `${reference.registry}: no address`);
  }

  async #askEndpoint(endpoint: Endpoint, reference: ImageReference, ask: Ask): Promise<HttpResponse> {
    const auth = endpoint.mirror ? undefined : ask.auth;
    const scope = `repository:${reference.repository}:pull`;
    const key = `${endpoint.base.origin} ${scope} ${auth?.username ?? ''}`;
    let header = auth?.registryToken === undefined ? this.#token(key) : `Bearer ${auth.registryToken}`;
    for (let attempt = 0; ; attempt++) {
      const response = await this.#send(endpoint, ask, header);
      if (response.status === 401 && attempt === 0) {
        const challenges = parseChallenges(response.header('www-authenticate') ?? '');
        const fresh = await this.#authorize(endpoint, challenges, { scope, auth, signal: ask.signal });
        if (fresh !== undefined && fresh.header !== header) {
          response.discard();
          header = fresh.header;
          this.#remember(key, fresh);
          continue;
        }
      }
      if (response.status >= 200 && response.status < 300) return response;
      throw refusal(reference, endpoint.base, response.status, await errorBody(response));
    }
  }

  #send(endpoint: Endpoint, ask: Ask, authorization: string | undefined): Promise<HttpResponse> {
    const headers = authorization === undefined ? ask.headers : { ...ask.headers, Authorization: authorization };
    const url = new URL(`v2/${ask.path}`, endpoint.base);
    const { insecure } = endpoint;
    return fetchHttp(this.#clock, { method: ask.method, url, headers, insecure, signal: ask.signal, headerTimeoutMs });
  }

  async #authorize(
    endpoint: Endpoint,
    challenges: readonly Challenge[],
    request: { scope: string; auth: RegistryAuth | undefined; signal: AbortSignal | undefined },
  ): Promise<{ header: string; lifetimeMs: number } | undefined> {
    const { auth, signal } = request;
    const basic = auth === undefined ? undefined : basicHeader(auth);
    const bearer = challenges.find((challenge) => challenge.scheme === 'bearer');
    if (bearer === undefined) {
      const wantsBasic = challenges.some((challenge) => challenge.scheme === 'basic');
      return wantsBasic && basic !== undefined ? { header: basic, lifetimeMs: 3600_000 } : undefined;
    }
    const url = tokenUrl(bearer, request.scope, auth?.username);
    if (url === undefined) return undefined;
    const common = { insecure: endpoint.insecure, signal, headerTimeoutMs };
    const response =
      auth?.identityToken === undefined || auth.identityToken === ''
        ? await fetchHttp(this.#clock, {
            ...common,
            method: 'GET',
            url,
            headers: basic === undefined ? {} : { Authorization: basic },
          })
        : await fetchHttp(this.#clock, { ...common, method: 'POST', ...refreshForm(url, auth.identityToken) });
    const body = (await response.text(errorBytesMax)).toString('utf8');
    const token = response.status === 200 ? parseToken(body) : undefined;
    return token === undefined ? undefined : { header: `Bearer ${token.value}`, lifetimeMs: token.lifetimeMs };
  }

  #token(key: string): string | undefined {
    const known = this.#tokens.get(key);
    return known !== undefined && known.until > this.#clock.monotonic() ? known.header : undefined;
  }

  #remember(key: string, token: { header: string; lifetimeMs: number }): void {
    this.#tokens.delete(key);
    // A tenth is kept back for the way to the registry.
    this.#tokens.set(key, { header: token.header, until: this.#clock.monotonic() + token.lifetimeMs * 0.9 });
    const oldest = this.#tokens.keys().next().value;
    if (this.#tokens.size > tokensMax && oldest !== undefined) this.#tokens.delete(oldest);
  }

  #endpoints(reference: ImageReference): readonly Endpoint[] {
    const { registry } = reference;
    if (registry === 'docker.io') {
      return [...this.#mirrors, { base: new URL('https://registry-1.docker.io'), insecure: false, mirror: false }];
    }
    const secure = { base: new URL(`https://${registry}`), insecure: false, mirror: false };
    const loopback = isLoopback(registry);
    if (!loopback && !this.#insecure.has(registry)) return [secure];
    const plain = { base: new URL(`http://${registry}`), insecure: true, mirror: false };
    const addresses = loopback ? [plain, { ...secure, insecure: true }] : [{ ...secure, insecure: true }, plain];
    const answered = this.#answered.get(registry);
    return addresses.sort((a, b) => Number(b.base.origin === answered) - Number(a.base.origin === answered));
  }
}

function mirrorEndpoint(mirror: string): Endpoint {
  const text = mirror.includes('://') ? mirror : `https://${mirror}`;
  if (!URL.canParse(text)) throw new ClusterError('invalid', `invalid mirror: unable to parse URL: ${mirror}`);
  const base = new URL(text.endsWith('/') ? text : `${text}/`);
  if (base.protocol !== 'http:' && base.protocol !== 'https:') {
    throw new ClusterError(
      'invalid',
      `invalid mirror: unsupported scheme "${base.protocol.slice(0, -1)}" in "${mirror}"`,
    );
  }
  return { base, insecure: isLoopback(base.host), mirror: true };
}

function isLoopback(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/.test(host);
}

function mediaTypeOf(response: HttpResponse): string {
  return (response.header('content-type') ?? '').split(';')[0]?.trim() ?? '';
}

function refreshForm(url: URL, token: string): { url: URL; headers: Record<string, string>; body: string } {
  const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: token, client_id: 'tscluster' });
  for (const name of ['service', 'scope']) {
    const values = url.searchParams.getAll(name);
    if (values.length > 0) form.set(name, values.join(' '));
  }
  const target = new URL(url);
  target.search = '';
  return { url: target, headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: form.toString() };
}

async function errorBody(response: HttpResponse): Promise<string> {
  try {
    return (await response.text(errorBytesMax)).toString('utf8');
  } catch {
    return '';
  }
}

/** The registry's reason in Docker's words. */
function refusal(reference: ImageReference, base: URL, status: number, body: string): ClusterError {
  const name = familiarName(reference);
  const reason = registryReason(body);
  if (status === 404) return new ClusterError('not_found', `No such image: ${name}`);
  if (status === 401 || status === 403) {
    const detail = reason ?? (status === 401 ? 'unauthorized' : 'denied');
    const text = `pull access denied for ${familiarRepository(reference)}, repository does not exist or may require authorization: ${detail}`;
    return new ClusterError('permission_denied', text);
  }
  const text = `${base.host} answered ${status} for ${name}${reason === undefined ? '' : `: ${reason}`}`;
  return new ClusterError(status === 429 || status >= 500 ? 'unavailable' : 'failed_precondition', text);
}

function registryReason(body: string): string | undefined {
  try {
    const answer = JSON.parse(body) as { errors?: readonly { code?: unknown; message?: unknown }[]; details?: unknown };
    const first = answer.errors?.[0];
    if (first === undefined) return typeof answer.details === 'string' ? answer.details.slice(0, 200) : undefined;
    const code = String(first.code ?? '').toLowerCase();
    return `${code}: ${String(first.message ?? '')}`.slice(0, 200);
  } catch {
    return undefined;
  }
}

function mismatch(wanted: string, got: string): ClusterError {
  return new ClusterError('failed_precondition', `digest mismatch: asked for ${wanted}, got ${got}`, {
    retryable: true,
  });
}
