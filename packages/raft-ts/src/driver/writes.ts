/**
 * Batches on their way to the disk. They become durable in the order given and are reported in that order. One that holds
 * nothing but a commit index need not reach the disk at all: it is reported with its elders, at once if there are none.
 */
import type { AppendTask } from '../core/types.ts';
import type { LogBatch, LogStore } from '../ports.ts';
import { storageFault } from './errors.ts';
import type { Metrics } from './metrics.ts';

interface Write {
  readonly task: AppendTask;
  readonly batch: LogBatch;
  done: boolean;
}

export interface WritesHost {
  readonly log: LogStore;
  readonly metrics: Metrics;
  /** Some batch has become durable: `report` has something to say. Not called for a batch done at once. */
  readonly done: () => void;
  readonly fail: (error: unknown) => void;
}

export class Writes {
  readonly #host: WritesHost;
  readonly #writes: Write[] = [];
  /** Those not yet given to the store, oldest first. */
  #unbegun: Write[] = [];

  constructor(host: WritesHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#writes.length;
  }

  get hasUnbegun(): boolean {
    return this.#unbegun.length > 0;
  }

  /** Takes the task; `begin` gives it to the store. */
  add(task: AppendTask): void {
    const { hardState, snapshot, entries, mustSync } = task;
    const batch: LogBatch = {
      entries,
      sync: mustSync || snapshot !== undefined,
      ...(hardState === undefined ? {} : { hardState }),
      ...(snapshot === undefined ? {} : { snapshot }),
    };
    this.#count(batch);
    const write: Write = { task, batch, done: !batch.sync && entries.length === 0 };
    this.#writes.push(write);
    this.#unbegun.push(write);
  }

  begin(): void {
    const unbegun = this.#unbegun;
    this.#unbegun = [];
    for (const write of unbegun) {
      const finish = () => {
        if (write.done) return;
        write.done = true;
        this.#host.done();
      };
      this.#host.log.append(write.batch).then(finish, (error: unknown) => this.#host.fail(storageFault(error)));
    }
  }

  /** Takes out the next task whose batch and all before it are durable. */
  next(): AppendTask | undefined {
    return this.#writes[0]?.done === true ? this.#writes.shift()?.task : undefined;
  }

  #count({ entries, sync }: LogBatch): void {
    const { metrics } = this.#host;
    metrics.logBatches += 1;
    if (sync) metrics.logSyncs += 1;
    metrics.entriesAppended += entries.length;
    for (const entry of entries) metrics.entryBytesAppended += entry.data.length;
  }
}
