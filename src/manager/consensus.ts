import type { RaftMemberInfo } from '../model/control.ts';

export interface Leader {
  readonly nodeId: string;
  readonly addr: string;
}

/** What the manager needs of its Raft group; `raft/` implements it on raft-ts. */
export interface Consensus {
  isLeader(): boolean;
  /** As far as this member knows; undefined during an election or behind a partition. */
  leader(): Leader | undefined;
  /** Called on every change of leader or of this member's role. Must only record. */
  onLeadership(handle: (isLeader: boolean, leader: Leader | undefined) => void): () => void;
  /** Resolves once everything committed before the call is applied here. Errors: `unavailable`. */
  readBarrier(): Promise<void>;
  /** Resolves once the local store shows `version`. Errors: `deadline`. */
  waitApplied(version: number, limitMs: number): Promise<void>;
  members(): readonly RaftMemberInfo[];
  addMember(nodeId: string, addr: string): Promise<{ raftId: number }>;
  /** Errors: `failed_precondition` when the quorum would be lost. */
  removeMember(nodeId: string): Promise<void>;
  transferLeadership(): Promise<void>;
}
