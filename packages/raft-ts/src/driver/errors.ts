/** What a caller of RaftNode can be told. The distinction that matters: definitely not committed, or unknown. */
import type { DropReason, EntryId, NodeId } from '../core/types.ts';

/** This node does not lead; `leader` is its best knowledge, 0 if none. Nothing was committed. */
export class NotLeaderError extends Error {
  override readonly name = 'NotLeaderError';
  readonly leader: NodeId | 0;

  constructor(leader: NodeId | 0) {
    super(leader === 0 ? 'Cannot propose: no leader is known' : `Cannot propose: the leader is node ${String(leader)}`);
    this.leader = leader;
  }
}

export type Dropped = Exclude<DropReason, 'no-leader' | 'not-leader'> | 'superseded' | 'queue-full';

/** The proposal is certain never to be committed; proposing it again is safe. */
export class ProposalDropped extends Error {
  override readonly name = 'ProposalDropped';
  readonly reason: Dropped;

  constructor(reason: Dropped) {
    super(`Proposal was dropped: ${reason}`);
    this.reason = reason;
  }
}

/** The proposal may or may not be committed, now or later. */
export class OutcomeUnknown extends Error {
  override readonly name = 'OutcomeUnknown';
  readonly at: EntryId | undefined;

  constructor(at: EntryId | undefined, options?: ErrorOptions) {
    super(
      `Outcome is unknown${at === undefined ? '' : `: entry ${String(at.index)} of term ${String(at.term)}`}`,
      options,
    );
    this.at = at;
  }
}

/** Leadership stayed here; nothing else changed. */
export class TransferFailed extends Error {
  override readonly name = 'TransferFailed';

  constructor() {
    super('Cannot transfer leadership: the other node did not take over in time');
  }
}

export class NodeClosed extends Error {
  override readonly name = 'NodeClosed';

  constructor(options?: ErrorOptions) {
    super('Raft node is closed', options);
  }
}

export function dropError(reason: DropReason, leader: NodeId | 0): NotLeaderError | ProposalDropped {
  return reason === 'no-leader' || reason === 'not-leader' ? new NotLeaderError(leader) : new ProposalDropped(reason);
}
