/**
 * The server's face towards clients: unary gRPC calls, straight on HTTP/2. What is measured is raft-ts; a thin front keeps
 * what is not out of the figures.
 */
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { frame } from './protocol.ts';

export type Answer = (request: Buffer) => Promise<Buffer>;

/** A gRPC status code and what to say with it. */
export interface Refusal {
  readonly code: number;
  readonly details: string;
}

export interface FrontOptions {
  readonly host: string;
  readonly port: number;
  readonly methods: ReadonlyMap<string, Answer>;
  readonly refusalOf: (error: unknown) => Refusal;
}

const requestBytesMax = 4 << 20;
const head = { ':status': 200, 'content-type': 'application/grpc' };
const unimplemented: Refusal = { code: 12, details: 'unknown method' };
const tooLarge: Refusal = { code: 8, details: 'the request is too large' };
const malformed: Refusal = { code: 3, details: 'the body is not one gRPC message' };

/** Resolves once it listens; the returned function stops it at once. */
export function serveFront(options: FrontOptions): Promise<() => void> {
  const server = createServer();
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers) => receive(options, stream, headers));
  const { port, host } = options;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () =>
      resolve(() => {
        server.close();
        for (const session of sessions) session.destroy();
      }),
    );
  });
}

function receive(options: FrontOptions, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const answer = options.methods.get(headers[':path'] ?? '');
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Clients that go away are nobody's fault.
  stream.on('error', () => {});
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= requestBytesMax) chunks.push(chunk);
  });
  stream.on('end', () => {
    if (answer === undefined) return refuse(stream, unimplemented);
    if (bytes > requestBytesMax) return refuse(stream, tooLarge);
    const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    if (body.length < 5 || body.readUInt32BE(1) !== body.length - 5) return refuse(stream, malformed);
    answer(body.subarray(5)).then(
      (response) => reply(stream, response),
      (error: unknown) => refuse(stream, options.refusalOf(error)),
    );
  });
}

function reply(stream: ServerHttp2Stream, response: Buffer): void {
  if (stream.destroyed) return;
  stream.respond(head, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(frame(response));
}

function refuse(stream: ServerHttp2Stream, { code, details }: Refusal): void {
  if (stream.destroyed) return;
  const status = { 'grpc-status': String(code), 'grpc-message': encodeURIComponent(details) };
  stream.respond({ ...head, ...status }, { endStream: true });
}
