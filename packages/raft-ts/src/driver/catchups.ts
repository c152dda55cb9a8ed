/** Callers who wait until a peer has, nearly, the leader's whole log. */
import type { RaftCore } from '../core/raft.ts';
import type { NodeId } from '../core/types.ts';
import { NotLeaderError, ProposalDropped } from './errors.ts';
import type { Waiter } from './pending.ts';

interface CatchUp {
  readonly id: NodeId;
  readonly maxLag: number;
  readonly waiter: Waiter<void>;
}

export class CatchUps {
  readonly #core: RaftCore;
  #waiting: CatchUp[] = [];

  constructor(core: RaftCore) {
    this.#core = core;
  }

  get size(): number {
    return this.#waiting.length;
  }

  add(catchUp: CatchUp): void {
    this.#waiting.push(catchUp);
  }

  check(nowMs: number): void {
    if (this.#waiting.length === 0) return;
    const { role, leader, progress, lastIndex } = this.#core.status();
    for (const { id, maxLag, waiter } of this.#waiting) {
      const peer = progress.find((candidate) => candidate.id === id);
      if (role !== 'leader') waiter.reject(new NotLeaderError(leader));
      else if (peer === undefined) waiter.reject(new ProposalDropped('not-member'));
      else if (peer.state === 'replicate' && lastIndex - peer.match <= maxLag) waiter.resolve();
      else if (waiter.deadlineMs <= nowMs) waiter.reject(new NotLeaderError(leader));
    }
    this.#waiting = this.#waiting.filter(({ waiter }) => !waiter.settled);
  }

  failAll(reason: unknown): void {
    for (const { waiter } of this.#waiting) waiter.reject(reason);
    this.#waiting = [];
  }
}
