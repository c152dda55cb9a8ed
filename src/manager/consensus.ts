import type { RaftMemberInfo } from '../model/control.ts';

/** SwarmKit's wording (manager/controlapi and daemon/cluster/errors.go say it to every Docker client). */
export const noLeaderMessage =
  "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";

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
