/** containerd's content store: verified, resumable writes and small reads. */
import { type Clock, sleep } from '../../lib/clock.ts';
import { ClusterError, isKind } from '../../lib/errors.ts';
import type { Containerd } from './client.ts';
import type { WriteContentRequest } from './gen/containerd/content.ts';
import { ContentService, WriteAction, type WriteContentResponse } from './gen/containerd/content.ts';

export interface Blob {
  readonly digest: string;
  readonly size: number;
  /** Name of the write, the key under which an interrupted one goes on. */
  readonly ref: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The bytes from `offset` on. */
  open(offset: number): AsyncIterable<Uint8Array>;
}

export interface WriteOptions {
  readonly lease: string;
  readonly signal?: AbortSignal | undefined;
}

const attemptsMax = 6;
const retryDelayMs = 200;
const inFlightMax = 8;
const readBytesMax = 8 * 1024 * 1024;

export class ContentStore {
  readonly #containerd: Containerd;
  readonly #clock: Clock;
  /** Writers of one digest take turns: containerd refuses a second writer of the same ref. */
  readonly #writing = new Map<string, Promise<void>>();

  constructor(containerd: Containerd, clock: Clock) {
    this.#containerd = containerd;
    this.#clock = clock;
  }

  /** Blob whole; undefined when containerd does not have it in this namespace. */
  async read(digest: string): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    let sizeBytes = 0;
    try {
      for await (const part of this.#containerd.stream(ContentService.read, { digest, offset: 0, size: 0 })) {
        sizeBytes += part.data.length;
        if (sizeBytes > readBytesMax) throw new ClusterError('exhausted', `${digest} is too large to read`);
        parts.push(Buffer.from(part.data));
      }
    } catch (error) {
      if (isKind(error, 'not_found')) return undefined;
      throw error;
    }
    return Buffer.concat(parts);
  }

  async label(digest: string, labels: Readonly<Record<string, string>>, lease?: string): Promise<void> {
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    if (paths.length === 0) return;
    const request = { info: { digest, size: 0, labels: { ...labels } }, updateMask: paths };
    await this.#containerd.call(ContentService.update, request, lease === undefined ? {} : { lease });
  }

  /** Stores a blob; present ones only get their labels. Broken transfers go on where they stopped. */
  async write(blob: Blob, options: WriteOptions): Promise<void> {
    const before = this.#writing.get(blob.digest) ?? Promise.resolve();
    const turn = before.catch(() => {}).then(() => this.#writeWithRetries(blob, options));
    this.#writing.set(blob.digest, turn);
    try {
      await turn;
    } finally {
      if (this.#writing.get(blob.digest) === turn) this.#writing.delete(blob.digest);
    }
  }

  async #writeWithRetries(blob: Blob, options: WriteOptions): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#writeOnce(blob, options);
      } catch (error) {
        if (isKind(error, 'already_exists')) return this.label(blob.digest, blob.labels, options.lease);
        await this.#afterFailure(blob, error, attempt, options);
      }
    }
  }

  async #afterFailure(blob: Blob, error: unknown, attempt: number, options: WriteOptions): Promise<void> {
    const mismatch = isKind(error, 'failed_precondition');
    // What failed its digest would be resumed as it is: start over.
    if (mismatch) await this.#containerd.call(ContentService.abort, { ref: blob.ref }).catch(() => {});
    const retryable = error instanceof ClusterError && (error.retryable || error.kind === 'conflict');
    if (!retryable || attempt >= attemptsMax || options.signal?.aborted) throw error;
    await sleep(this.#clock, retryDelayMs * 2 ** (attempt - 1), options.signal);
  }

  async #writeOnce(blob: Blob, options: WriteOptions): Promise<void> {
    const writer = new Writer(this.#containerd, options);
    const base = { ref: blob.ref, total: blob.size, expected: blob.digest };
    try {
      writer.send(message({ ...base, action: WriteAction.STAT }));
      let offset = (await writer.reply()).offset;
      if (offset < blob.size) {
        for await (const data of blob.open(offset)) {
          writer.send(message({ ...base, action: WriteAction.WRITE, offset, data: Buffer.from(data) }));
          offset += data.length;
          if (writer.inFlight >= inFlightMax) await writer.reply();
        }
      }
      if (offset !== blob.size) {
        const text = `${blob.digest}: got ${offset} of ${blob.size} bytes`;
        throw new ClusterError('unavailable', text);
      }
      while (writer.inFlight > 0) await writer.reply();
      writer.send(message({ ...base, action: WriteAction.COMMIT, offset, labels: { ...blob.labels } }));
      await writer.reply();
    } finally {
      writer.close();
    }
  }
}

function message(
  fields: Partial<WriteContentRequest> & Pick<WriteContentRequest, 'action' | 'ref'>,
): WriteContentRequest {
  return { total: 0, expected: '', offset: 0, data: Buffer.alloc(0), labels: {}, ...fields };
}

/** The write stream as requests and their replies, which come in order. */
class Writer {
  readonly #call;
  readonly #replies: WriteContentResponse[] = [];
  #failure: ClusterError | undefined;
  #wake: () => void = () => {};
  inFlight = 0;

  constructor(containerd: Containerd, options: WriteOptions) {
    this.#call = containerd.duplex(ContentService.write, { lease: options.lease });
    const onAbort = () => this.#call.cancel();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    this.#call.on('data', (reply: WriteContentResponse) => {
      this.#replies.push(reply);
      this.#wake();
    });
    const end = (error: ClusterError) => {
      this.#failure ??= error;
      options.signal?.removeEventListener('abort', onAbort);
      this.#wake();
    };
    this.#call.on('error', (error) => end(containerd.errorOf(error)));
    this.#call.on('end', () => end(new ClusterError('unavailable', 'containerd ended the write')));
  }

  send(request: WriteContentRequest): void {
    this.inFlight += 1;
    this.#call.write(request);
  }

  async reply(): Promise<WriteContentResponse> {
    for (;;) {
      const reply = this.#replies.shift();
      if (reply !== undefined) {
        this.inFlight -= 1;
        return reply;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.#call.end();
    if (this.#failure === undefined && this.inFlight > 0) this.#call.cancel();
  }
}
