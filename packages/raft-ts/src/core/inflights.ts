/** Append messages sent but not acknowledged: a sliding window bounded by count and by payload bytes. */
import { must } from './errors.ts';
import type { Index } from './types.ts';

interface Sent {
  readonly last: Index;
  readonly bytes: number;
}

export class Inflights {
  readonly #maxCount: number;
  readonly #maxBytes: number;
  #sent: Sent[] = [];
  #bytes = 0;

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#sent.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** One message may overshoot the byte limit; nothing follows it until room is made. */
  full(): boolean {
    return this.#sent.length >= this.#maxCount || (this.#maxBytes > 0 && this.#bytes >= this.#maxBytes);
  }

  add(last: Index, bytes: number): void {
    must(!this.full(), 'append message added to a full window');
    this.#sent.push({ last, bytes });
    this.#bytes += bytes;
  }

  /** Forgets every message whose last entry is at or below `index`. */
  freeTo(index: Index): void {
    let done = 0;
    for (const sent of this.#sent) {
      if (sent.last > index) break;
      this.#bytes -= sent.bytes;
      done += 1;
    }
    if (done > 0) this.#sent.splice(0, done);
  }

  reset(): void {
    this.#sent = [];
    this.#bytes = 0;
  }
}
