import type { Cancel, Clock } from '../lib/clock.ts';
import { Loop } from '../lib/loop.ts';
import { reportsPerMessageMax, type TaskReport } from '../model/assignment.ts';
import type { TaskStatus } from '../model/objects.ts';
import { TaskState } from '../model/task-state.ts';

interface Entry {
  status: TaskStatus;
  sent: boolean;
  /** Newer than what was sent. */
  changed: boolean;
  /** Waits for what comes next. */
  held: boolean;
}

/**
 * How long a task may be on its way through a state before the managers hear of it: each report is an entry of their log, and mostly
 * the next state is the one that anybody waits for.
 */
const passingMs = 100;

/**
 * The newest status of each task, until the managers have stored it. A state that a task only passes through is told when it stays in
 * it. One report per task is on the way at a time; what happens meanwhile is told together when it is acknowledged. A new session is
 * told everything again.
 */
export class Reporter {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;
  readonly #loop: Loop;
  #cancelRelease: Cancel | undefined;
  #send: ((reports: readonly TaskReport[]) => void) | undefined;

  constructor(clock: Clock, onError: (error: unknown) => void) {
    this.#clock = clock;
    this.#loop = new Loop(clock, () => this.#flush(), onError);
  }

  get size(): number {
    return this.#entries.size;
  }

  put(taskId: string, status: TaskStatus): void {
    const entry = this.#entries.get(taskId);
    const held = isPassing(status);
    if (entry === undefined) {
      this.#entries.set(taskId, { status, sent: false, changed: false, held });
    } else {
      entry.status = status;
      entry.held = held;
      entry.changed = entry.sent;
    }
    if (held) this.#releaseLater();
    else this.#loop.trigger();
  }

  forget(taskId: string): void {
    this.#entries.delete(taskId);
  }

  acknowledged(reports: readonly { readonly taskId: string; readonly state: number }[]): void {
    for (const { taskId, state } of reports) {
      const entry = this.#entries.get(taskId);
      if (entry === undefined || !entry.sent) continue;
      if (!entry.changed && entry.status.state <= state) {
        this.#entries.delete(taskId);
      } else {
        entry.sent = false;
        entry.changed = false;
      }
    }
    this.#loop.trigger();
  }

  /** A session is there (or, without `send`, gone): nothing said before counts. */
  session(send: ((reports: readonly TaskReport[]) => void) | undefined): void {
    this.#send = send;
    for (const entry of this.#entries.values()) {
      entry.sent = false;
      entry.changed = false;
    }
    if (send !== undefined) this.#loop.trigger();
  }

  stop(): Promise<void> {
    this.#send = undefined;
    this.#cancelRelease?.();
    this.#cancelRelease = undefined;
    return this.#loop.stop();
  }

  /** One timer for all: who came last waits less. */
  #releaseLater(): void {
    this.#cancelRelease ??= this.#clock.timer(passingMs, () => {
      this.#cancelRelease = undefined;
      for (const entry of this.#entries.values()) entry.held = false;
      this.#loop.trigger();
    });
  }

  #flush(): void {
    const send = this.#send;
    if (send === undefined) return;
    const reports: TaskReport[] = [];
    for (const [taskId, entry] of this.#entries) {
      if (entry.sent || entry.held) continue;
      entry.sent = true;
      reports.push({ taskId, status: entry.status });
    }
    for (let at = 0; at < reports.length; at += reportsPerMessageMax)
      send(reports.slice(at, at + reportsPerMessageMax));
  }
}

/** It goes on by itself; `ready` is where a task waits for its predecessor's end. */
function isPassing({ state }: TaskStatus): boolean {
  return state < TaskState.running && state !== TaskState.ready;
}
