/** Stops a timer; calling it twice does no harm. */
export type Cancel = () => void;

/**
 * Time as a port: the real clock lives in `real.ts`, the simulator brings its own.
 * Nothing else in the project may read the time or set a timer.
 */
export interface Clock {
  /** Wall time, milliseconds since the epoch. */
  now(): number;
  /** Monotonic time in milliseconds; only differences mean something. */
  monotonic(): number;
  /** Calls `run` once, `delayMs` from now. */
  timer(delayMs: number, run: () => void): Cancel;
  /** Calls `run` after the current turn, before any timer: the batching point of every loop. */
  defer(run: () => void): void;
}

/** Resolves after `delayMs`; rejects with the signal's reason when aborted first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.timer(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Rejects with `error()` unless `work` settles within `limitMs`. The work itself is not stopped. */
export function deadline<T>(clock: Clock, limitMs: number, work: Promise<T>, error: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.timer(limitMs, () => reject(error()));
    work.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (reason) => {
        cancel();
        reject(reason);
      },
    );
  });
}
