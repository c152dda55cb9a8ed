/** How a node becomes a member of the Raft group: it asks a manager, follows it to the leader, and waits out an election. */
import { type Clock, sleep } from '../../lib/clock.ts';
import { ClusterError, messageOf } from '../../lib/errors.ts';
import type { Dialer, RaftJoinResponse } from '../../rpc/port.ts';

export interface JoinOptions {
  readonly dialer: Dialer;
  readonly clock: Clock;
  /** Managers to ask, best first. */
  readonly known: readonly string[];
  /** Where the others reach this node. */
  readonly addr: string;
  /** Throws when the joining is of no use any more; asked before every try. */
  readonly check: () => void;
}

const attemptMs = 1_000;
const attemptsMax = 20;
/** Redirects in a row before a pause: managers that point at each other have an election under way. */
const redirectsMax = 3;

/** Errors: `permission_denied` for a node that is not to be a manager; `unavailable` when nobody could say. */
export async function joinGroup(options: JoinOptions): Promise<RaftJoinResponse> {
  const { dialer, clock, known } = options;
  let addr = known[0] ?? '';
  let last: unknown = 'no manager is known';
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    options.check();
    const peer = dialer.dial(addr);
    try {
      const answer = await peer.joinRaft({ addr: options.addr });
      if (answer.redirect === undefined) return answer;
      addr = answer.redirect;
      if (attempt >= redirectsMax) await sleep(clock, attemptMs);
    } catch (error) {
      last = error;
      if (!(error instanceof ClusterError) || !error.retryable) throw error;
      addr = known[(attempt + 1) % known.length] ?? addr;
      await sleep(clock, attemptMs);
    } finally {
      peer.close();
    }
  }
  throw new ClusterError('unavailable', `Cannot join as a manager: ${messageOf(last)}`, { cause: last });
}
