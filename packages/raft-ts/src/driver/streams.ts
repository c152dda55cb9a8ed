/** Ways to give up on streams and promises that may hang. */
import type { Runtime } from '../ports.ts';

/** Calls `expire` when nothing has shown life for `limitMs`. */
export class Watchdog {
  readonly #runtime: Runtime;
  readonly #limitMs: number;
  readonly #expire: () => void;
  #aliveMs: number;
  #cancel: (() => void) | undefined;

  constructor(runtime: Runtime, limitMs: number, expire: () => void) {
    this.#runtime = runtime;
    this.#limitMs = limitMs;
    this.#expire = expire;
    this.#aliveMs = runtime.now();
    this.#arm(limitMs);
  }

  /** Cheap: called for each chunk. */
  alive(): void {
    this.#aliveMs = this.#runtime.now();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(delayMs: number): void {
    this.#cancel = this.#runtime.setTimer(delayMs, () => {
      const leftMs = this.#aliveMs + this.#limitMs - this.#runtime.now();
      if (leftMs > 0) this.#arm(leftMs);
      else this.#expire();
    });
  }
}

/** Settles like `work`, or rejects with the signal's reason if that comes first. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { aborted, stop } = abortOf(signal);
  work.catch(() => {});
  try {
    return await Promise.race([work, aborted]);
  } finally {
    stop();
  }
}

/** Ends with the signal's reason even while the source is silent. */
export async function* abortable(
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const { aborted, stop } = abortOf(signal);
  const source = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([source.next(), aborted]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    stop();
    // Not awaited: a source that hangs would hold us as well.
    source.return?.().catch(() => {});
  }
}

/** Tells of each chunk, and of a source that breaks. */
export async function* observed(
  chunks: AsyncIterable<Uint8Array>,
  tell: { readonly noticed: (bytes: number) => void; readonly broken: (error: unknown) => never },
): AsyncGenerator<Uint8Array, void> {
  const source = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await source.next().catch(tell.broken);
      tell.noticed(next.done === true ? 0 : next.value.length);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await source.return?.();
  }
}

function abortOf(signal: AbortSignal): { readonly aborted: Promise<never>; readonly stop: () => void } {
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  aborted.catch(() => {});
  return { aborted, stop: () => signal.removeEventListener('abort', onAbort) };
}
