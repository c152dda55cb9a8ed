/** Packs many small concerns into few entries, with several entries under way at a time. */
import { ClusterError } from '../../lib/errors.ts';
import type { Change } from '../../model/view.ts';
import { entryBytesMax } from './codec.ts';
import type { Transaction } from './port.ts';
import { SizeMeter } from './size.ts';
import type { State } from './state.ts';
import { OpenTransaction } from './transaction.ts';

/** SwarmKit's numbers (manager/state/store/memory.go): small enough not to hold up heartbeats. */
export const batchChangesMax = 200;
export const batchBytesMax = (entryBytesMax * 3) / 4;
const entriesInFlightMax = 4;
const retriesInFlightMax = 16;

export interface BatchPort {
  readonly state: State;
  now(): number;
  propose(changes: readonly Change[], now: number): Promise<{ readonly applied: boolean }>;
  /** Gives others a turn. */
  pause(): Promise<void> | undefined;
  /** One transaction by itself, with retries. */
  transact(build: (tx: Transaction) => void): Promise<void>;
}

export class Batch<I> {
  readonly #port: BatchPort;
  readonly #items: readonly I[];
  readonly #build: (tx: Transaction, item: I) => void;
  readonly #inFlight = new Set<Promise<void>>();
  #next = 0;
  #refused = 0;
  #failure: { readonly reason: unknown } | undefined;

  constructor(port: BatchPort, items: readonly I[], build: (tx: Transaction, item: I) => void) {
    this.#port = port;
    this.#items = items;
    this.#build = build;
  }

  async run(): Promise<{ refused: number }> {
    while (this.#next < this.#items.length && this.#failure === undefined) {
      this.#startEntry();
      if (this.#inFlight.size >= entriesInFlightMax) await Promise.race(this.#inFlight);
      const pause = this.#next < this.#items.length ? this.#port.pause() : undefined;
      if (pause !== undefined) await pause;
    }
    while (this.#inFlight.size > 0) await Promise.race(this.#inFlight);
    if (this.#failure !== undefined) throw this.#failure.reason;
    return { refused: this.#refused };
  }

  #startEntry(): void {
    try {
      const { packed, changes, now } = this.#pack();
      if (changes.length === 0) return;
      const done: Promise<void> = this.#commit(packed, changes, now)
        .catch((reason: unknown) => {
          this.#failure ??= { reason };
        })
        .finally(() => this.#inFlight.delete(done));
      this.#inFlight.add(done);
    } catch (reason) {
      this.#failure ??= { reason };
    }
  }

  #pack(): { packed: readonly I[]; changes: readonly Change[]; now: number } {
    const now = this.#port.now();
    const tx = new OpenTransaction(this.#port.state, now);
    const size = new SizeMeter();
    const packed: I[] = [];
    while (this.#next < this.#items.length && tx.size < batchChangesMax) {
      const item = this.#items[this.#next] as I;
      tx.mark();
      if (this.#buildItem(tx, item, size)) {
        const full = tx.size > batchChangesMax || size.bytes > batchBytesMax;
        if (full && packed.length > 0) {
          tx.rollback();
          break;
        }
        packed.push(item);
      }
      this.#next += 1;
      if (size.bytes > batchBytesMax) break;
    }
    return { packed, changes: tx.changes(), now };
  }

  #buildItem(tx: OpenTransaction, item: I, size: SizeMeter): boolean {
    try {
      this.#build(tx, item);
      size.add(tx.written(), entryBytesMax, this.#port.state);
      return true;
    } catch (error) {
      tx.rollback();
      if (!(error instanceof ClusterError)) throw error;
      this.#refused += 1;
      return false;
    }
  }

  async #commit(packed: readonly I[], changes: readonly Change[], now: number): Promise<void> {
    const { applied } = await this.#port.propose(changes, now);
    if (applied) return;
    for (let at = 0; at < packed.length; at += retriesInFlightMax) {
      await Promise.all(packed.slice(at, at + retriesInFlightMax).map((item) => this.#retry(item)));
    }
  }

  async #retry(item: I): Promise<void> {
    let refusedByBuild = false;
    try {
      await this.#port.transact((tx) => {
        refusedByBuild = false;
        try {
          this.#build(tx, item);
        } catch (error) {
          refusedByBuild = error instanceof ClusterError;
          throw error;
        }
      });
    } catch (error) {
      const conflict = error instanceof ClusterError && error.kind === 'conflict';
      if (!refusedByBuild && !conflict) throw error;
      this.#refused += 1;
    }
  }
}
