/** Messages received since the last turn. Losing some is allowed; holding ever more of them is not. */
import { approximateSize } from '../codec/message.ts';
import type { Message } from '../core/types.ts';
import type { Metrics } from './metrics.ts';
import type { Settings } from './options.ts';

type Limits = Pick<Settings<never>, 'id' | 'bounds'>;

export class Inbox {
  readonly #limits: Limits;
  readonly #metrics: Metrics;
  #messages: Message[] = [];
  #bytes = 0;

  constructor(limits: Limits, metrics: Metrics) {
    this.#limits = limits;
    this.#metrics = metrics;
  }

  get size(): number {
    return this.#messages.length;
  }

  push(messages: readonly Message[]): void {
    const { bounds } = this.#limits;
    for (const message of messages) {
      const full = this.#messages.length >= bounds.maxInboxMessages || this.#bytes >= bounds.maxInboxBytes;
      if (full || !this.#isForUs(message)) {
        this.#metrics.messagesDropped += 1;
        continue;
      }
      this.#metrics.messagesIn[message.type] += 1;
      this.#messages.push(message);
      this.#bytes += approximateSize(message);
    }
  }

  take(): readonly Message[] {
    const messages = this.#messages;
    if (messages.length === 0) return messages;
    this.#messages = [];
    this.#bytes = 0;
    return messages;
  }

  /** A snapshot without its bytes is no snapshot: those come through the snapshotter. */
  #isForUs({ to, from, type }: Message): boolean {
    return to === this.#limits.id && from !== to && type !== 'snapshot';
  }
}
