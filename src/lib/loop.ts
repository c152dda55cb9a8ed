import type { Clock } from './clock.ts';

/**
 * A loop that works when told to: any number of `trigger()` calls before it runs make one run, runs never overlap, and a
 * trigger during a run makes exactly one more. Event handlers only record and trigger; the work happens here, in batches.
 */
export class Loop {
  readonly #clock: Clock;
  readonly #run: () => void | Promise<void>;
  readonly #onError: (error: unknown) => void;
  #state: 'idle' | 'scheduled' | 'running' | 'again' | 'stopped' = 'idle';
  #done: Promise<void> = Promise.resolve();

  constructor(clock: Clock, run: () => void | Promise<void>, onError: (error: unknown) => void) {
    this.#clock = clock;
    this.#run = run;
    this.#onError = onError;
  }

  trigger(): void {
    if (this.#state === 'idle') {
      this.#state = 'scheduled';
      this.#clock.defer(() => this.#start());
    } else if (this.#state === 'running') {
      this.#state = 'again';
    }
  }

  /** No run starts after this; resolves when the one under way has ended. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    await this.#done;
  }

  #start(): void {
    if (this.#state !== 'scheduled') return;
    this.#state = 'running';
    this.#done = this.#work();
  }

  async #work(): Promise<void> {
    try {
      await this.#run();
    } catch (error) {
      this.#onError(error);
    }
    const again = this.#state === 'again';
    if (this.#state !== 'stopped') this.#state = 'idle';
    if (again) this.trigger();
  }
}
