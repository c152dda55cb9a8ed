import type { Clock } from '../clock.ts';
import { ClusterError } from '../errors.ts';
import type { Duplex } from '../stream.ts';

export interface MemoryDuplexOptions {
  /** One-way delay of a message, asked per message; order is kept. Default: delivered in the next turn. */
  readonly delayMs?: () => number;
  /** Messages on the way in one direction; one more closes the stream. */
  readonly limit?: number;
}

export interface MemoryDuplexPair<A, B> {
  readonly left: Duplex<A, B>;
  readonly right: Duplex<B, A>;
  /** Breaks the connection: both ends see the error. */
  cut(error?: Error): void;
  /** A pulled cable: nothing passes in either direction, not even the news of a close, until it is plugged in again. */
  stall(stalled: boolean): void;
}

const defaultLimit = 1024;

/** Two ends of a stream in memory. Closing tells both ends' `onClose`, each in a turn of its own; what was sent before arrives first. */
export function memoryDuplex<A, B>(clock: Clock, options: MemoryDuplexOptions = {}): MemoryDuplexPair<A, B> {
  const left = new End<A, B>(clock, options);
  const right = new End<B, A>(clock, options);
  left.join(right);
  right.join(left);
  return {
    left,
    right,
    cut(error = new ClusterError('unavailable', 'connection reset')) {
      left.ended(error);
      right.ended(error);
    },
    stall(stalled) {
      left.stall(stalled);
      right.stall(stalled);
    },
  };
}

type Event<T> =
  | { readonly kind: 'message'; readonly message: T }
  | { readonly kind: 'close'; readonly error: Error | undefined };

class End<Out, In> implements Duplex<Out, In> {
  readonly #clock: Clock;
  readonly #options: MemoryDuplexOptions;
  #other: End<In, Out> | undefined;
  /** On the way to this end, in order. */
  #arriving: Event<In>[] = [];
  #lastDue = 0;
  #closed = false;
  #stalled = false;
  #handle: ((message: In) => void) | undefined;
  #handleClose: ((error: Error | undefined) => void) | undefined;
  #outcome: { readonly error: Error | undefined } | undefined;

  constructor(clock: Clock, options: MemoryDuplexOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  join(other: End<In, Out>): void {
    this.#other = other;
  }

  send(message: Out): boolean {
    if (this.#closed || this.#other === undefined) return false;
    if (this.#other.#arriving.length >= (this.#options.limit ?? defaultLimit)) {
      this.close(new ClusterError('exhausted', 'the stream has too many messages on the way'));
      return false;
    }
    this.#other.#arrive({ kind: 'message', message });
    return true;
  }

  onMessage(handle: (message: In) => void): void {
    this.#handle = handle;
    this.#schedule(0);
  }

  onClose(handle: (error: Error | undefined) => void): void {
    this.#handleClose = handle;
    if (this.#outcome !== undefined) this.#clock.defer(() => this.#tellClosed());
  }

  close(error?: Error): void {
    if (this.#closed) return;
    this.ended(error);
    const other = this.#other;
    if (other !== undefined) other.#arrive({ kind: 'close', error });
  }

  /** The end as this side sees it; nothing arrives after it. */
  ended(error: Error | undefined): void {
    if (this.#outcome !== undefined) return;
    this.#closed = true;
    this.#arriving = [];
    this.#outcome = { error };
    this.#clock.defer(() => this.#tellClosed());
  }

  stall(stalled: boolean): void {
    this.#stalled = stalled;
    if (!stalled) this.#schedule(0);
  }

  #arrive(event: Event<In>): void {
    if (this.#outcome !== undefined) return;
    this.#arriving.push(event);
    const now = this.#clock.monotonic();
    this.#lastDue = Math.max(this.#lastDue, now + (this.#options.delayMs?.() ?? 0));
    this.#schedule(this.#lastDue - now);
  }

  #schedule(delayMs: number): void {
    if (this.#arriving.length === 0) return;
    if (delayMs > 0) this.#clock.timer(delayMs, () => this.#deliver());
    else this.#clock.defer(() => this.#deliver());
  }

  /** One event per call: each has its own turn, as with a socket. */
  #deliver(): void {
    if (this.#stalled || this.#handle === undefined) return;
    const event = this.#arriving.shift();
    if (event === undefined) return;
    if (event.kind === 'close') this.ended(event.error);
    else this.#handle(event.message);
    // Whatever waited for a handler or for the cable has no turn of its own any more.
    if (this.#lastDue <= this.#clock.monotonic()) this.#schedule(0);
  }

  #tellClosed(): void {
    const handle = this.#handleClose;
    if (handle === undefined || this.#outcome === undefined) return;
    this.#handleClose = undefined;
    handle(this.#outcome.error);
  }
}
