/** What raft-ts says, in the words and kinds of the rest of the daemon. */
import { NodeClosed, NotLeaderError, OutcomeUnknown, ProposalDropped, TransferFailed } from 'raft-ts';
import { ClusterError } from '../../lib/errors.ts';
import { noLeaderMessage } from '../consensus.ts';

export { noLeaderMessage };

export const quorumLossMessage = "can't remove member from the raft: this would result in a loss of quorum";

export function fromRaft(error: unknown): unknown {
  if (error instanceof NotLeaderError) return new ClusterError('unavailable', noLeaderMessage, { cause: error });
  if (error instanceof ProposalDropped) return fromDropped(error);
  if (error instanceof OutcomeUnknown) return new ClusterError('deadline', noLeaderMessage, { cause: error });
  if (error instanceof NodeClosed) return new ClusterError('unavailable', 'this manager is stopping', { cause: error });
  if (error instanceof TransferFailed) {
    return new ClusterError('unavailable', 'no other manager took over the leadership in time', { cause: error });
  }
  return error;
}

function fromDropped(error: ProposalDropped): ClusterError {
  switch (error.reason) {
    case 'too-large':
      return new ClusterError('invalid', "raft: raft message is too large and can't be sent", { cause: error });
    case 'queue-full':
    case 'too-much-uncommitted':
    case 'too-many-reads':
      return new ClusterError('exhausted', 'too many requests are waiting for a majority of the managers', {
        cause: error,
      });
    case 'conf-invalid':
      return new ClusterError('failed_precondition', 'the managers cannot be changed in this way', { cause: error });
    case 'conf-pending':
      return new ClusterError('unavailable', 'another change of the managers is under way', { cause: error });
    case 'transferring':
    case 'not-member':
    case 'superseded':
      return new ClusterError('unavailable', noLeaderMessage, { cause: error });
  }
}

export function isConfPending(error: unknown): boolean {
  return error instanceof ProposalDropped && error.reason === 'conf-pending';
}
