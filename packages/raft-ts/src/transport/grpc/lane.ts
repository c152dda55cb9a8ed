/**
 * One stream of message batches to one peer. It reconnects by itself, with a pause that doubles up to a limit; what
 * is sent meanwhile is dropped. Bytes that the receiver has not given credit for are bounded: beyond that, dropped.
 */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { Runtime } from '../../ports.ts';
import { decodeCredit } from './frames.ts';

export interface LaneOptions {
  readonly runtime: Runtime;
  readonly connect: () => ClientDuplexStream<Buffer, Buffer>;
  /** Called whenever something was dropped, or the stream broke. */
  readonly unreachable: () => void;
  readonly outstandingBytesMax: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
}

export class Lane {
  readonly #options: LaneOptions;
  #stream: ClientDuplexStream<Buffer, Buffer> | undefined;
  #outstanding = 0;
  #pauseMs: number;
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#pauseMs = options.reconnectMinMs;
  }

  send(frame: Buffer): void {
    const stream = this.#open();
    if (stream === undefined || this.#isFull(frame.length)) return this.#options.unreachable();
    this.#outstanding += frame.length;
    stream.write(frame);
  }

  /** One frame larger than the bound still travels alone. */
  #isFull(bytes: number): boolean {
    return this.#outstanding > 0 && this.#outstanding + bytes > this.#options.outstandingBytesMax;
  }

  #open(): ClientDuplexStream<Buffer, Buffer> | undefined {
    if (this.#stream !== undefined || this.#closed || this.#cancelRetry !== undefined) return this.#stream;
    const stream = this.#options.connect();
    this.#stream = stream;
    this.#outstanding = 0;
    stream.on('data', (frame: Buffer) => this.#credited(stream, frame));
    // An error is always followed by 'end' or reported alone; either way the stream is over.
    stream.on('error', () => this.#broken(stream));
    stream.on('end', () => this.#broken(stream));
    return stream;
  }

  #credited(stream: ClientDuplexStream<Buffer, Buffer>, frame: Buffer): void {
    if (this.#stream !== stream) return;
    try {
      this.#outstanding = Math.max(0, this.#outstanding - decodeCredit(frame));
      this.#pauseMs = this.#options.reconnectMinMs;
    } catch {
      stream.cancel();
      this.#broken(stream);
    }
  }

  #broken(stream: ClientDuplexStream<Buffer, Buffer>): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    if (this.#closed) return;
    this.#cancelRetry = this.#options.runtime.setTimer(this.#pauseMs, () => {
      this.#cancelRetry = undefined;
    });
    this.#pauseMs = Math.min(this.#pauseMs * 2, this.#options.reconnectMaxMs);
    this.#options.unreachable();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRetry?.();
    this.#stream?.cancel();
    this.#stream = undefined;
  }
}
