import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { Loop } from '../../lib/loop.ts';
import type { ChangeEvent } from '../../model/view.ts';
import type { LeaderLoop, Store } from './port.ts';

export interface CommitLoopOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** For the log, when a run failed: what it was about to do. */
  readonly doing: string;
  /** A run that failed (no quorum, no answer) is made up for after this. */
  readonly retryMs: number;
  /** The changes of one commit, which it only writes down. True: there is something to do. */
  readonly record: (events: readonly ChangeEvent[]) => boolean;
  /** Everything is to be looked at: at the beginning, and after a run failed, since what it had taken up is lost. */
  readonly markAll?: () => void | Promise<void>;
  /** Looks and writes; ends early once `isStopped`. */
  readonly run: () => Promise<void>;
}

/**
 * What the leader's loops have in common: hear commits, work in runs that never overlap, look at everything first and again
 * after a failure, and be gone when `stop` has resolved. What to write down and what to do about it is its user's.
 */
export class CommitLoop implements Pick<LeaderLoop, 'start' | 'stop'> {
  readonly #options: CommitLoopOptions;
  readonly #loop: Loop;
  #isNew = true;
  #isStopped = false;
  #unsubscribe = () => {};
  #cancelRetry = () => {};

  constructor(options: CommitLoopOptions) {
    this.#options = options;
    this.#loop = new Loop(
      options.clock,
      () => this.#run(),
      (error) => this.#retryLater(error),
    );
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  start(): void {
    const { store, record } = this.#options;
    this.#unsubscribe = store.subscribe(({ events }) => {
      if (record(events)) this.#loop.trigger();
    });
    this.#loop.trigger();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#unsubscribe();
    this.#cancelRetry();
    await this.#loop.stop();
  }

  trigger(): void {
    this.#loop.trigger();
  }

  /** Has everything looked at again. */
  renew(): void {
    this.#isNew = true;
    this.#loop.trigger();
  }

  async #run(): Promise<void> {
    if (this.#isNew) {
      this.#isNew = false;
      await this.#options.markAll?.();
    }
    if (!this.#isStopped) await this.#options.run();
  }

  #retryLater(error: unknown): void {
    if (this.#isStopped) return;
    const { clock, log, doing, retryMs } = this.#options;
    log.warn(doing, { error: messageOf(error) });
    this.#cancelRetry();
    this.#cancelRetry = clock.timer(retryMs, () => this.renew());
  }
}
