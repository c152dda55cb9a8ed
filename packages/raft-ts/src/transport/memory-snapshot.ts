/**
 * A snapshot stream of the memory transport. The receiver asks for one piece at a time, so it is never sent more than it
 * takes; pieces and questions are parcels of their own, which may be lost (then the stream stalls, and its user gives it
 * up), late or doubled.
 */
import { approximateSize } from '../codec/message.ts';
import type { InstallSnapshot } from '../core/types.ts';
import type { IncomingSnapshot } from '../ports.ts';
import { SnapshotMismatch } from '../wal/errors.ts';
import { behind, PayloadSum } from './checksum.ts';
import type { Network } from './memory.ts';

export type SnapshotHandler = (message: InstallSnapshot, chunks: IncomingSnapshot) => Promise<void>;

/** One incarnation of a node's transport. */
export interface SnapshotEnd {
  /** Undefined once it is closed. */
  readonly snapshotHandler: SnapshotHandler | undefined;
}

export interface SnapshotWay {
  readonly network: Network;
  readonly sender: SnapshotEnd;
  readonly find: () => SnapshotEnd | undefined;
}

type Piece =
  | { readonly number: number; readonly data: Uint8Array }
  | { readonly number: number; readonly total: { readonly bytes: number; readonly crc: number } };

/** What the receiver says: give me this piece (the first one behind `offset`), or how it ended. */
type Wish = { readonly want: number; readonly offset: number } | { readonly ended: true; readonly error?: unknown };

const ackBytes = 64;

export class OutgoingSnapshot {
  readonly #message: InstallSnapshot;
  readonly #way: SnapshotWay;
  readonly #chunks: AsyncIterable<Uint8Array>;
  readonly #sum = new PayloadSum();
  #rest: AsyncGenerator<Uint8Array, void> | undefined;
  /** Pieces given out so far; each number is answered once. */
  #given = 0;
  #receiver: { readonly end: SnapshotEnd; readonly pieces: IncomingPieces } | undefined;
  #settle: (error?: unknown) => void = () => {};
  #over = false;

  constructor(message: InstallSnapshot, chunks: AsyncIterable<Uint8Array>, way: SnapshotWay) {
    this.#message = message;
    this.#chunks = chunks;
    this.#way = way;
  }

  /** Resolves when the receiver has taken the snapshot. */
  async run(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const onAbort = () => this.#settle(signal.reason);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = (error) => {
          this.#over = true;
          if (error === undefined) resolve();
          else reject(error);
        };
        signal.addEventListener('abort', onAbort, { once: true });
        this.#send(approximateSize(this.#message), () => this.#arrived());
      });
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#rest?.return().catch(() => {});
    }
  }

  #send(bytes: number, deliver: () => void): void {
    const { from, to } = this.#message;
    const { network, sender } = this.#way;
    const parcel = { from, to, kind: 'snapshot', bytes, messages: [this.#message], deliver } as const;
    if (this.#over || (sender.snapshotHandler !== undefined && network(parcel))) return;
    this.#settle(new Error(`Cannot send snapshot: node ${String(to)} is unreachable`));
  }

  /** At the receiver: the stream begins. */
  #arrived(): void {
    const end = this.#way.find();
    const handler = end?.snapshotHandler;
    if (this.#receiver !== undefined || end === undefined || handler === undefined) return;
    const { from, to } = this.#message;
    const say = (wish: Wish) => {
      const deliver = () => this.#hear(wish);
      // What a node does after it has crashed reaches nobody.
      if (end.snapshotHandler === undefined) return;
      this.#way.network({ from: to, to: from, kind: 'snapshot-ack', bytes: ackBytes, messages: [], deliver });
    };
    const pieces = new IncomingPieces((want, offset) => say({ want, offset }));
    this.#receiver = { end, pieces };
    handler(this.#message, pieces).then(
      () => say({ ended: true }),
      (error: unknown) => say({ ended: true, error }),
    );
  }

  /** Back at the sender. */
  #hear(wish: Wish): void {
    if (this.#over) return;
    if ('ended' in wish) return this.#settle(wish.error);
    if (wish.want !== this.#given) return;
    this.#given += 1;
    this.#rest ??= behind(this.#chunks, wish.offset, this.#sum);
    this.#rest.next().then(
      (next) => this.#give(wish.want, next.done === true ? undefined : next.value),
      (error: unknown) => this.#settle(error),
    );
  }

  #give(number: number, data: Uint8Array | undefined): void {
    const { bytes, crc = 0 } = this.#sum;
    const piece: Piece = data === undefined ? { number, total: { bytes, crc } } : { number, data };
    this.#send((data?.length ?? 0) + ackBytes, () => {
      // A receiver that was started anew knows nothing of the stream.
      if (this.#way.find() === this.#receiver?.end) this.#receiver?.pieces.arrive(piece);
    });
  }
}

/** The receiver's end. */
class IncomingPieces implements IncomingSnapshot {
  readonly #ask: (want: number, offset: number) => void;
  #sum = new PayloadSum();
  #offset = 0;
  #wanted = 0;
  #take: ((piece: Piece) => void) | undefined;

  constructor(ask: (want: number, offset: number) => void) {
    this.#ask = ask;
  }

  resumeAt(offset: number, checksum?: number): void {
    this.#offset = offset;
    this.#sum = offset === 0 ? new PayloadSum() : new PayloadSum(offset, checksum);
  }

  arrive(piece: Piece): void {
    if (piece.number !== this.#wanted) return;
    const take = this.#take;
    this.#take = undefined;
    take?.(piece);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (; ; this.#wanted += 1) {
      const piece = await new Promise<Piece>((resolve) => {
        this.#take = resolve;
        this.#ask(this.#wanted, this.#offset);
      });
      if ('total' in piece) {
        this.#sum.mustBe(piece.total);
        return;
      }
      if (piece.data.length === 0) throw new SnapshotMismatch('Cannot receive snapshot: an empty piece');
      this.#sum.add(piece.data);
      yield piece.data;
    }
  }
}
