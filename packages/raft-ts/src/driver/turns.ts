/**
 * Says when the node takes its next turn: right behind the running callback (`soon`), for what somebody waits for and
 * nothing would be gained by waiting; or after the current turn of the event loop (`later`), so that whatever else arrives
 * in it shares a message and a disk write. An idle node is thus quick and a busy one batches.
 */
import type { Runtime } from '../ports.ts';

export class Turns {
  readonly #runtime: Runtime;
  readonly #run: () => void;
  #soon = false;
  #later = false;

  constructor(runtime: Runtime, run: () => void) {
    this.#runtime = runtime;
    this.#run = run;
  }

  soon(): void {
    if (this.#soon) return;
    this.#soon = true;
    queueMicrotask(this.#now);
  }

  later(): void {
    if (this.#soon || this.#later) return;
    this.#later = true;
    this.#runtime.defer(this.#deferred);
  }

  readonly #now = (): void => {
    this.#soon = false;
    this.#later = false;
    this.#run();
  };

  readonly #deferred = (): void => {
    // A turn that came sooner has done the work.
    if (!this.#later) return;
    this.#later = false;
    this.#run();
  };
}
