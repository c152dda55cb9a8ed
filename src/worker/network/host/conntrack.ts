/**
 * Connections that the kernel remembers outlive the maps they were made by: a flow of datagrams, or a connection attempt that is being
 * repeated, would stay with a task that is gone. Established connections are left alone while their task may still be stopping,
 * and cut when it is known to be gone, so that clients learn of it at their next packet.
 */
import type { Clock } from '../../../lib/clock.ts';
import { isKind, messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import type { Kernel } from './kernel.ts';

/** Answers that are on their way when a task leaves the maps still find their connection. */
const graceMs = 500;
/** Addresses waiting; beyond it the oldest is dropped, and the kernel's own time limits apply to it. */
const waitingMax = 1024;
/** Each is a pass over the kernel's whole table. */
const perRoundMax = 32;

type Extent = 'pending' | 'all';

export class StaleConnections {
  readonly #kernel: Kernel;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #waiting = new Map<string, { readonly extent: Extent; readonly at: number }>();
  #cancel: (() => void) | undefined;
  #round: Promise<void> = Promise.resolve();
  #isMissing = false;

  constructor(kernel: Kernel, { clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#kernel = kernel;
    this.#clock = clock;
    this.#log = log;
  }

  /** True when the `conntrack` program is not there. */
  get isMissing(): boolean {
    return this.#isMissing;
  }

  /** A task left the maps; it may go on with what it has. */
  leaves(address: string): void {
    if (this.#waiting.get(address)?.extent !== 'all') this.#wait(address, 'pending', graceMs);
  }

  /** A task is gone, or its node is. */
  isGone(address: string): void {
    this.#wait(address, 'all', 0);
  }

  /** It is back in the maps. */
  returns(address: string): void {
    this.#waiting.delete(address);
  }

  close(): Promise<void> {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#waiting.clear();
    return this.#round;
  }

  #wait(address: string, extent: Extent, delayMs: number): void {
    this.#waiting.delete(address);
    this.#waiting.set(address, { extent, at: this.#clock.monotonic() + delayMs });
    const [oldest] = this.#waiting.keys();
    if (this.#waiting.size > waitingMax && oldest !== undefined) this.#waiting.delete(oldest);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#cancel !== undefined || this.#waiting.size === 0) return;
    const next = Math.min(...[...this.#waiting.values()].map(({ at }) => at));
    this.#cancel = this.#clock.timer(Math.max(0, next - this.#clock.monotonic()), () => {
      this.#round = this.#round.then(() => this.#run());
    });
  }

  async #run(): Promise<void> {
    const now = this.#clock.monotonic();
    const due = [...this.#waiting].filter(([, { at }]) => at <= now).slice(0, perRoundMax);
    for (const [address, { extent }] of due) {
      if (!this.#waiting.delete(address)) continue;
      for (const args of deletions(address, extent)) await this.#delete(args);
    }
    this.#cancel = undefined;
    this.#schedule();
  }

  async #delete(args: readonly string[]): Promise<void> {
    try {
      await this.#kernel.change('conntrack', args);
      this.#isMissing = false;
    } catch (error) {
      this.#isMissing = isKind(error, 'failed_precondition');
      // "0 flow entries have been deleted" is an exit code of its own: there were none.
      if (!this.#isMissing && !/0 flow entries/.test(messageOf(error))) this.#log.warn(messageOf(error));
    }
  }
}

function deletions(address: string, extent: Extent): readonly (readonly string[])[] {
  if (extent === 'all') return [['-D', '--reply-src', address]];
  return [
    ['-D', '-p', 'udp', '--reply-src', address],
    ['-D', '-p', 'tcp', '--state', 'SYN_SENT', '--reply-src', address],
  ];
}
