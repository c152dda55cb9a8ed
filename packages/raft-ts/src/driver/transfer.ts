import type { NodeId } from '../core/types.ts';
import { TransferFailed } from './errors.ts';
import type { Waiter } from './pending.ts';

/** The caller that waits for leadership to move; a later one takes its place. */
export class Transfer {
  readonly #id: NodeId;
  #waiter: Waiter<NodeId> | undefined;

  constructor(id: NodeId) {
    this.#id = id;
  }

  begin(waiter: Waiter<NodeId>): void {
    this.fail(new TransferFailed());
    this.#waiter = waiter;
  }

  /** Somebody else leads: done. We lead and no longer try to hand over: it came to nothing. */
  saw(leader: NodeId | 0, transferee: NodeId | 0): void {
    if (leader === 0 || this.#waiter === undefined) return;
    if (leader !== this.#id) this.#waiter.resolve(leader);
    else if (transferee === 0) this.#waiter.reject(new TransferFailed());
    if (this.#waiter.settled) this.#waiter = undefined;
  }

  expire(nowMs: number): void {
    if (this.#waiter !== undefined && this.#waiter.deadlineMs <= nowMs) this.fail(new TransferFailed());
  }

  fail(reason: Error): void {
    this.#waiter?.reject(reason);
    this.#waiter = undefined;
  }
}
