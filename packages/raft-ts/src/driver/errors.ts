/**
 * What a caller of RaftNode can be told. The distinction that matters is whether a proposal is certainly not committed:
 *  - NotLeaderError, ProposalDropped, Superseded, NodeClosed: certainly not, now or ever. Proposing it again is safe.
 *  - OutcomeUnknown: it may be committed already, or be later.
 * A node that stopped because something broke says so to `onFault` with a RaftFault; callers get NodeClosed or
 * OutcomeUnknown with that fault as their cause.
 */
import { RaftFault } from '../core/errors.ts';
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

/** Why a proposal is certain never to be committed. */
export type Dropped = Exclude<DropReason, 'no-leader' | 'not-leader'> | 'superseded' | 'queue-full';

/** The proposal is certain never to be committed; proposing it again is safe. */
export class ProposalDropped extends Error {
  override readonly name: string = 'ProposalDropped';
  readonly reason: Dropped;

  constructor(reason: Dropped, message = `Proposal was dropped: ${reason}`) {
    super(message);
    this.reason = reason;
  }
}

/** The log has another leader's entry, committed, where this node had put the proposal: it is certainly lost. */
export class Superseded extends ProposalDropped {
  override readonly name = 'Superseded';
  readonly at: EntryId;

  constructor(at: EntryId) {
    super('superseded', `Proposal was superseded: entry ${String(at.index)} is not the one of term ${String(at.term)}`);
    this.at = at;
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

/** The other node did not take over in time; it may still do so if it gets a late message. Nothing else changed. */
export class TransferFailed extends Error {
  override readonly name = 'TransferFailed';

  constructor() {
    super('Cannot transfer leadership: the other node did not take over in time');
  }
}

/** The node is closed or has stopped (then `cause` says why). What was asked was not begun. */
export class NodeClosed extends Error {
  override readonly name = 'NodeClosed';

  constructor(options?: ErrorOptions) {
    super('Raft node is closed', options);
  }
}

/** The disk failed. The node has stopped: what a failed write left behind is known only after a restart. */
export class StorageFault extends RaftFault {
  override readonly name = 'StorageFault';
}

/** Whatever broke, as the fault that stops the node; the message stays. */
export function faultOf(error: unknown): RaftFault {
  if (error instanceof RaftFault) return error;
  return new RaftFault(error instanceof Error ? error.message : 'raft node broke', { cause: error });
}

/** Whatever the disk threw, as the fault that stops the node. */
export function storageFault(error: unknown): RaftFault {
  if (error instanceof RaftFault) return error;
  return new StorageFault(error instanceof Error ? error.message : 'storage broke', { cause: error });
}

/** The core's reason as the error that callers get. */
export function dropError(reason: DropReason, leader: NodeId | 0): NotLeaderError | ProposalDropped {
  return reason === 'no-leader' || reason === 'not-leader' ? new NotLeaderError(leader) : new ProposalDropped(reason);
}
