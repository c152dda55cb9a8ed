/** A scripted Docker-compatible server on a unix socket, and a world around one command line. For tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '../../client/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { World } from '../context.ts';
import { run } from '../run.ts';

export interface Recorded {
  readonly method: string;
  /** Without the version prefix. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** The X-Registry-Auth header, decoded. */
  readonly registryAuth?: unknown;
}

export type Reply = { readonly status: number; readonly body: unknown } | { readonly raw: Buffer };
export type Handler = (request: Recorded) => Reply | undefined;

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class FakeDaemon {
  readonly requests: Recorded[] = [];
  readonly dir = mkdtempSync(join(tmpdir(), 'tsc-cli-'));
  readonly socket = join(this.dir, 'api.sock');
  readonly #server: Server;
  readonly #handlers: Handler[] = [];

  private constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const url = new URL(request.url ?? '/', 'http://x');
        const text = Buffer.concat(chunks).toString('utf8');
        const auth = request.headers['x-registry-auth'];
        const recorded: Recorded = {
          method: request.method ?? 'GET',
          path: url.pathname.replace(/^\/v1\.\d+/, ''),
          query: Object.fromEntries(url.searchParams),
          body: text === '' ? undefined : JSON.parse(text),
          ...(typeof auth === 'string' ? { registryAuth: JSON.parse(Buffer.from(auth, 'base64').toString()) } : {}),
        };
        this.requests.push(recorded);
        const reply = this.#answer(recorded);
        response.statusCode = 'raw' in reply ? 200 : reply.status;
        response.setHeader('Content-Type', 'application/json');
        response.end('raw' in reply ? reply.raw : JSON.stringify(reply.body));
      });
    });
  }

  static async start(): Promise<FakeDaemon> {
    const daemon = new FakeDaemon();
    await new Promise<void>((resolve) => daemon.#server.listen(daemon.socket, resolve));
    return daemon;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Later handlers are asked first. */
  on(method: string, path: string | RegExp, reply: (request: Recorded) => unknown): this {
    this.#handlers.unshift((request) => {
      const fits =
        request.method === method && (typeof path === 'string' ? request.path === path : path.test(request.path));
      if (!fits) return undefined;
      const body = reply(request);
      return isReply(body) ? body : { status: 200, body };
    });
    return this;
  }

  posts(): Recorded[] {
    return this.requests.filter((request) => request.method !== 'GET');
  }

  /** Runs one command line against this daemon. */
  run(line: readonly string[], options: Partial<World> & { readonly stdin?: string } = {}): Promise<CommandResult> {
    return runCommand(line, { env: { TSCLUSTER_HOST: `unix://${this.socket}` }, cwd: this.dir, ...options });
  }

  #answer(request: Recorded): Reply {
    for (const handler of this.#handlers) {
      const reply = handler(request);
      if (reply !== undefined) return reply;
    }
    return { status: 404, body: { message: `no handler for ${request.method} ${request.path}` } };
  }
}

function isReply(body: unknown): body is Reply {
  return typeof body === 'object' && body !== null && ('raw' in body || ('status' in body && 'body' in body));
}

export function fail(status: number, message: string): Reply {
  return { status, body: { message } };
}

export async function runCommand(
  line: readonly string[],
  options: Partial<World> & { readonly stdin?: string },
): Promise<CommandResult> {
  let stdout = '';
  let stderr = '';
  const text = (chunk: string | Uint8Array) =>
    typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8');
  const world: World = {
    stdout: { write: (chunk) => (stdout += text(chunk)) },
    stderr: { write: (chunk) => (stderr += text(chunk)) },
    env: {},
    cwd: '/',
    clock: leapingClock(Date.parse('2026-01-01T00:01:00Z')),
    readStdin: async () => Buffer.from(options.stdin ?? ''),
    createClient: async (host) => createClient({ host }),
    onInterrupt: () => () => {},
    startDaemon: async () => {
      throw new Error('no daemon may be started here');
    },
    ...options,
  };
  const code = await run(line, world);
  return { code, stdout, stderr };
}

/** Time passes only while something waits, and then at once. */
export function leapingClock(startMs: number): Clock {
  let elapsedMs = 0;
  return {
    now: () => startMs,
    monotonic: () => elapsedMs,
    timer(delayMs, act) {
      const handle = setImmediate(() => {
        elapsedMs += delayMs;
        act();
      });
      return () => clearImmediate(handle);
    },
    defer: (act) => void setImmediate(act),
  };
}
