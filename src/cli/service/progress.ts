/**
 * Waits until a service runs as its spec says and stays so for the monitor time. Task states have no events in the API,
 * so they are read every 200 ms, as Docker's client does; an event about the service makes it look at once.
 */
import type { ApiService, Client } from '../../client/index.ts';
import { formatDuration } from '../../stack/values.ts';
import type { Context } from '../context.ts';
import { describeError } from '../describe-error.ts';
import { CliError } from '../failure.ts';
import { type Progress, progressOf } from './converge.ts';

const pollMs = 200;
const defaultMonitorNanos = 5_000_000_000;

export interface WaitOptions {
  readonly quiet: boolean;
  /** The update was paused before: that is no failure of what is waited for, and tasks of any version count. */
  readonly paused?: boolean;
}

type Outcome = 'done' | 'interrupted';

export async function waitForService(ctx: Context, ref: string, options: WaitOptions): Promise<Outcome> {
  const waker = new Waker(ctx, await ctx.client());
  const display = new Display(ctx, options.quiet);
  try {
    return await watch(ctx, ref, { waker, display, paused: options.paused === true });
  } finally {
    waker.stop();
  }
}

interface Watch {
  readonly waker: Waker;
  readonly display: Display;
  readonly paused: boolean;
}

async function watch(ctx: Context, ref: string, { waker, display, paused }: Watch): Promise<Outcome> {
  const client = await ctx.client();
  let convergedAt: number | undefined;
  let rollbackSaid = false;
  for (;;) {
    const { service, progress } = await read(client, ref, paused);
    if (!paused) checkUpdate(service);
    if (service.UpdateStatus?.State === 'rollback_started' && !rollbackSaid) {
      rollbackSaid = true;
      display.say(`rollback: ${service.UpdateStatus.Message ?? ''}`);
    }
    display.show(progress);
    const now = ctx.clock.monotonic();
    if (!progress.converged) {
      if (convergedAt !== undefined) display.say('verify: Detected task failure');
      convergedAt = undefined;
    } else if (progress.job) {
      display.say('job complete');
      return 'done';
    }
    const monitorMs = (service.Spec.UpdateConfig?.Monitor || defaultMonitorNanos) / 1e6;
    if (progress.converged && convergedAt === undefined) {
      convergedAt = now;
      display.say(`verify: Waiting ${words(monitorMs)} to verify that tasks are stable...`);
    }
    if (convergedAt !== undefined && now - convergedAt >= monitorMs) {
      display.say(`verify: Service ${ref} converged`);
      return 'done';
    }
    const remaining = convergedAt === undefined ? pollMs : convergedAt + monitorMs - now;
    if (!(await waker.wait(Math.min(pollMs, remaining)))) {
      display.say(`Operation continuing in background.\nUse \`tscluster service ps ${ref}\` to check progress.`);
      return 'interrupted';
    }
  }
}

async function read(
  client: Client,
  ref: string,
  paused: boolean,
): Promise<{ service: ApiService; progress: Progress }> {
  const service = await client.service(ref);
  const [tasks, nodes] = await Promise.all([
    client.tasks({ service: [service.ID], ...(paused ? {} : { '_up-to-date': ['true'] }) }),
    client.nodes(),
  ]);
  return { service, progress: progressOf(service, tasks, nodes) };
}

function checkUpdate(service: ApiService): void {
  const { State, Message } = service.UpdateStatus ?? {};
  if (State === 'paused') throw new CliError(`Error: service update paused: ${Message ?? ''}`);
  if (State === 'rollback_paused') throw new CliError(`Error: service rollback paused: ${Message ?? ''}`);
}

function words(durationMs: number): string {
  const seconds = durationMs / 1000;
  return Number.isInteger(seconds) ? `${seconds} second${seconds === 1 ? '' : 's'}` : formatDuration(durationMs * 1e6);
}

/** Sleeps until the time is over, something happened to a service, or the user pressed Ctrl-C. */
class Waker {
  readonly #ctx: Context;
  readonly #abort = new AbortController();
  readonly #cancelInterrupt: () => void;
  #interrupted = false;
  #wake = () => {};

  constructor(ctx: Context, client: Client) {
    this.#ctx = ctx;
    this.#cancelInterrupt = ctx.onInterrupt(() => {
      this.#interrupted = true;
      this.#wake();
    });
    void this.#listen(client);
  }

  /** False when the user wants to stop waiting. */
  async wait(limitMs: number): Promise<boolean> {
    if (!this.#interrupted) {
      await new Promise<void>((resolve) => {
        const cancel = this.#ctx.clock.timer(limitMs, resolve);
        this.#wake = () => {
          cancel();
          resolve();
        };
      });
    }
    return !this.#interrupted;
  }

  stop(): void {
    this.#cancelInterrupt();
    this.#abort.abort();
  }

  async #listen(client: Client): Promise<void> {
    try {
      for await (const _ of client.events({ type: ['service'] }, this.#abort.signal)) this.#wake();
    } catch {
      // Without events the timer alone decides when to look.
    }
  }
}

/** Lines on standard error: only what changed, or a block that is redrawn when a person watches. */
class Display {
  readonly #ctx: Context;
  readonly #quiet: boolean;
  readonly #redraws: boolean;
  #last = new Map<string, string>();
  #drawn = 0;

  constructor(ctx: Context, quiet: boolean) {
    this.#ctx = ctx;
    this.#quiet = quiet;
    this.#redraws = ctx.stderr.isTTY === true;
  }

  say(text: string): void {
    if (this.#quiet) return;
    this.#ctx.stderr.write(`${text}\n`);
    this.#drawn = 0;
  }

  show(progress: Progress): void {
    if (this.#quiet) return;
    const lines = [
      ['header', progress.header] as const,
      ...progress.slots.map((slot) => [slot.label, `${slot.label}: ${slot.text}`] as const),
    ];
    const changed = lines.filter(([key, text]) => this.#last.get(key) !== text);
    if (changed.length === 0 && lines.length === this.#last.size) return;
    this.#last = new Map(lines);
    if (this.#redraws) this.#redraw(lines.map(([, text]) => text));
    else for (const [, text] of changed) this.#ctx.stderr.write(`${text}\n`);
  }

  #redraw(lines: readonly string[]): void {
    const up = this.#drawn === 0 ? '' : `\u001B[${this.#drawn}A\u001B[J`;
    this.#ctx.stderr.write(`${up}${lines.join('\n')}\n`);
    this.#drawn = lines.length;
  }
}

/** Waits for several services, one after the other: all of them move on meanwhile. Problems make the exit code 1. */
export async function waitForServices(ctx: Context, refs: readonly string[], options: WaitOptions): Promise<void> {
  for (const ref of refs) {
    try {
      if ((await waitForService(ctx, ref, options)) === 'interrupted') return;
    } catch (error) {
      ctx.stderr.write(`${ref}: ${error instanceof CliError ? error.message : describeError(error)}\n`);
      ctx.fail(1);
    }
  }
}
