/**
 * One gRPC channel to the local containerd. Every answer is typed, every error a ClusterError, every unary call has a
 * deadline unless it says otherwise. The channel reconnects by itself; streams and waits fail with `unavailable` when the
 * daemon goes and are opened again by whoever needs them.
 */
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Clock } from '../../lib/clock.ts';
import { ClusterError, type ErrorKind } from '../../lib/errors.ts';
import { IntrospectionService } from './gen/containerd/introspection.ts';
import { VersionService } from './gen/containerd/version.ts';

/** A method of a generated service description. */
export interface Method<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (value: Buffer) => Response;
}

export interface CallOptions {
  /** Content, ingests and snapshots made by the call belong to this lease. */
  readonly lease?: string;
  /** 0 = no deadline. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const messageBytesMax = 16 * 1024 * 1024;
const defaultTimeoutMs = 60_000;

const kinds: Partial<Record<number, ErrorKind>> = {
  [status.CANCELLED]: 'cancelled',
  [status.INVALID_ARGUMENT]: 'invalid',
  [status.DEADLINE_EXCEEDED]: 'deadline',
  [status.NOT_FOUND]: 'not_found',
  [status.ALREADY_EXISTS]: 'already_exists',
  [status.FAILED_PRECONDITION]: 'failed_precondition',
  [status.OUT_OF_RANGE]: 'conflict',
  [status.UNIMPLEMENTED]: 'unimplemented',
  [status.UNAVAILABLE]: 'unavailable',
  [status.RESOURCE_EXHAUSTED]: 'exhausted',
};

export interface ContainerdOptions {
  /** Path of the socket, with or without `unix://`. */
  readonly address: string;
  readonly namespace: string;
  readonly clock: Clock;
}

export class Containerd {
  readonly address: string;
  readonly namespace: string;
  readonly #client: Client;
  readonly #clock: Clock;

  constructor(options: ContainerdOptions) {
    this.address = options.address.replace(/^unix:(\/\/)?/, '');
    this.namespace = options.namespace;
    this.#clock = options.clock;
    this.#client = new Client(`unix:${this.address}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': messageBytesMax,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 500,
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions = {},
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) return reject(cancelled());
      const onAbort = () => call.cancel();
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(options),
        this.#deadline(options),
        (error, response) => {
          options.signal?.removeEventListener('abort', onAbort);
          if (error !== null) return reject(this.#error(error));
          if (response === undefined) return reject(new ClusterError('internal', `${method.path}: empty answer`));
          resolve(response);
        },
      );
      options.signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The messages of a server stream, in order. */
  async *stream<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions = {},
  ): AsyncIterable<Response> {
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      this.#metadata(options),
      this.#deadline(options),
    );
    const onAbort = () => call.cancel();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      for await (const message of call) yield message as Response;
    } catch (error) {
      throw this.#error(error);
    } finally {
      options.signal?.removeEventListener('abort', onAbort);
      call.cancel();
    }
  }

  duplex<Request, Response>(
    method: Method<Request, Response>,
    options: CallOptions = {},
  ): ClientDuplexStream<Request, Response> {
    return this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      this.#metadata(options),
    );
  }

  /** A raw error of a duplex stream as a ClusterError. */
  errorOf(error: unknown): ClusterError {
    return this.#error(error);
  }

  /** The daemon's version; an error that says what to do when none answers. */
  async probe(): Promise<string> {
    try {
      const answer = await this.call(VersionService.version, {}, { timeoutMs: 3_000 });
      return answer.version;
    } catch (error) {
      if (error instanceof ClusterError && (error.kind === 'unavailable' || error.kind === 'deadline')) {
        throw unreachableDaemon(this.address, error);
      }
      throw error;
    }
  }

  /** Ids of the snapshotters that work on this host. */
  async snapshotters(): Promise<readonly string[]> {
    const answer = await this.call(IntrospectionService.plugins, { filters: ['type==io.containerd.snapshotter.v1'] });
    return answer.plugins.filter((plugin) => plugin.initErr === undefined).map((plugin) => plugin.id);
  }

  close(): void {
    this.#client.close();
  }

  #deadline(options: CallOptions): { deadline?: number } {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    return timeoutMs === 0 ? {} : { deadline: this.#clock.now() + timeoutMs };
  }

  #metadata(options: CallOptions): Metadata {
    const metadata = new Metadata();
    metadata.set('containerd-namespace', this.namespace);
    if (options.lease !== undefined) metadata.set('containerd-lease', options.lease);
    return metadata;
  }

  #error(error: unknown): ClusterError {
    if (error instanceof ClusterError) return error;
    const failure = error as Partial<ServiceError>;
    const text = failure.details ?? failure.message ?? String(error);
    const kind = failure.code === undefined ? 'internal' : (kinds[failure.code] ?? 'internal');
    if (kind === 'unavailable' && /ENOENT|ECONNREFUSED|EACCES/.test(text))
      return unreachableDaemon(this.address, error);
    return new ClusterError(kind, text, { cause: error });
  }
}

function unreachableDaemon(address: string, cause: unknown): ClusterError {
  const text = `Cannot connect to containerd at unix://${address}: is it running? Install it with: apt-get install containerd`;
  return new ClusterError('unavailable', text, { cause });
}

function cancelled(): ClusterError {
  return new ClusterError('cancelled', 'the call was cancelled');
}
