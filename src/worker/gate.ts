import type { Cancel } from '../lib/clock.ts';

/** At most `limit` holders at a time; the others wait in order. */
export class Slots {
  readonly #limit: number;
  readonly #waiting = new Set<() => void>();
  #held = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves with the function that gives the place back; rejects with the signal's reason when aborted while waiting. */
  async take(signal: AbortSignal): Promise<() => void> {
    while (this.#held >= this.#limit) {
      await waitTurn(signal, (wake) => {
        this.#waiting.add(wake);
        return () => this.#waiting.delete(wake);
      });
    }
    if (signal.aborted) {
      this.#wakeNext(); // the turn it was given is another's now
      throw signal.reason;
    }
    this.#held += 1;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#held -= 1;
      this.#wakeNext();
    };
  }

  #wakeNext(): void {
    const [next] = this.#waiting;
    next?.();
  }
}

/** Resolves when woken; rejects when aborted first. `register` gets the wake function and returns how to take it back. */
export function waitTurn(signal: AbortSignal, register: (wake: () => void) => Cancel): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const done = () => {
      signal.removeEventListener('abort', onAbort);
      cancel();
      resolve();
    };
    const onAbort = () => {
      cancel();
      reject(signal.reason);
    };
    const cancel = register(done);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** A condition that many may wait for. */
export class Gate {
  readonly #waiting = new Set<() => void>();

  /** Everyone who waits looks again. */
  signal(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  async until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    while (!holds()) {
      await waitTurn(signal, (wake) => {
        this.#waiting.add(wake);
        return () => this.#waiting.delete(wake);
      });
    }
  }
}
