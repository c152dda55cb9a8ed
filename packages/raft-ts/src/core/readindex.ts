/**
 * Reads confirmed by a quorum [paper §8, thesis §6.4]. Each broadcast of heartbeats that has to prove something is a round
 * with a number of its own, larger than all before it; an echo of round n confirms the reads noted before round n was sent.
 * The host's tokens never travel as proof: a retried token could be confirmed by an answer to its first try.
 */
import type { Index, NodeId } from './types.ts';

export interface PendingRead {
  /** 0: asked on this node. */
  readonly from: NodeId | 0;
  readonly token: number;
}

export interface NotedRead extends PendingRead {
  readonly index: Index;
  /** The first round sent after the read was noted. */
  readonly round: number;
}

export class ReadQueue {
  #parked: PendingRead[] = [];
  #noted: NotedRead[] = [];
  #acks = new Map<NodeId, number>();

  get size(): number {
    return this.#parked.length + this.#noted.length;
  }

  /** A read waits for a quorum. */
  get waiting(): boolean {
    return this.#noted.length > 0;
  }

  /** Kept until the leader has committed an entry of its own term: before, its commit index may lag. */
  park(read: PendingRead): void {
    this.#parked.push(read);
  }

  unpark(): readonly PendingRead[] {
    const parked = this.#parked;
    this.#parked = [];
    return parked;
  }

  note(read: PendingRead, index: Index, round: number): void {
    this.#noted.push({ from: read.from, token: read.token, index, round });
  }

  acknowledge(id: NodeId, round: number): void {
    if (round > (this.#acks.get(id) ?? 0)) this.#acks.set(id, round);
  }

  acked(id: NodeId): number | undefined {
    return this.#acks.get(id);
  }

  /** Takes out the reads that `round` proves. */
  confirm(round: number): readonly NotedRead[] {
    let count = 0;
    for (const read of this.#noted) {
      if (read.round > round) break;
      count += 1;
    }
    return this.#noted.splice(0, count);
  }

  /** Everything that will not be answered any more. */
  drain(): readonly PendingRead[] {
    const all = [...this.#parked, ...this.#noted];
    this.#parked = [];
    this.#noted = [];
    return all;
  }
}

interface Query {
  readonly token: number;
  readonly deadline: number;
}

/**
 * Reads that a follower has asked its leader for. On the wire they carry numbers that start at a random place, since an
 * answer from before a restart must not match a new query.
 */
export class QueryList {
  #next: number;
  #queries = new Map<number, Query>();

  constructor(random: number) {
    this.#next = random * 2 ** 20 + 1;
  }

  get size(): number {
    return this.#queries.size;
  }

  add(token: number, deadline: number): number {
    const wire = this.#next;
    this.#next += 1;
    this.#queries.set(wire, { token, deadline });
    return wire;
  }

  take(wire: number): number | undefined {
    const query = this.#queries.get(wire);
    this.#queries.delete(wire);
    return query?.token;
  }

  /** Deadlines grow with insertion, so the oldest come first. */
  expire(now: number): number[] {
    const tokens: number[] = [];
    for (const [wire, query] of this.#queries) {
      if (query.deadline > now) break;
      this.#queries.delete(wire);
      tokens.push(query.token);
    }
    return tokens;
  }

  drain(): number[] {
    const tokens = [...this.#queries.values()].map((query) => query.token);
    this.#queries.clear();
    return tokens;
  }
}
