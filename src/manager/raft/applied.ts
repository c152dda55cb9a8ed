/** Who waits until this replica has applied an entry. */
import type { Clock } from '../../lib/clock.ts';
import { ClusterError } from '../../lib/errors.ts';

const waitersMax = 10_000;

interface Waiter {
  readonly version: number;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

export class AppliedWaiters {
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();
  #applied = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  reached(version: number): void {
    this.#applied = Math.max(this.#applied, version);
    for (const waiter of this.#waiters) if (waiter.version <= this.#applied) waiter.resolve();
  }

  wait(version: number, limitMs: number): Promise<void> {
    if (version <= this.#applied) return Promise.resolve();
    if (this.#waiters.size >= waitersMax)
      return Promise.reject(new ClusterError('exhausted', 'too many requests wait for this manager'));
    return new Promise((resolve, reject) => {
      const settle = (run: () => void) => () => {
        cancel();
        this.#waiters.delete(waiter);
        run();
      };
      const late = new ClusterError(
        'deadline',
        'this manager is behind the leader; the change was made but does not show here yet',
      );
      const cancel = this.#clock.timer(
        limitMs,
        settle(() => reject(late)),
      );
      const waiter: Waiter = { version, resolve: settle(resolve), reject: (reason) => settle(() => reject(reason))() };
      this.#waiters.add(waiter);
    });
  }

  close(reason: Error): void {
    for (const waiter of this.#waiters) waiter.reject(reason);
  }
}
