import { ClusterError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Random } from '../../lib/random.ts';
import type { ControlMethod, ControlRequest, ControlResponse, RaftMemberInfo } from '../../model/control.ts';
import type { Meta } from '../../model/objects.ts';
import type { Store } from '../store/port.ts';

export interface ControlApiOptions {
  readonly store: Store;
  readonly random: Random;
  readonly log: Log;
  /** A new join token for one role, pinning the given root certificate. */
  readonly makeJoinToken: (caPem: string) => string;
  /** The Raft group as the leader sees it: guards demotions. Absent = the check for quorum is left out (tests, one manager). */
  readonly members?: () => readonly RaftMemberInfo[];
}

/** Carries out one method on the leader. */
export type Handler<M extends ControlMethod> = (
  options: ControlApiOptions,
  request: ControlRequest<M>,
) => Promise<ControlResponse<M>>;

/**
 * Optimistic concurrency: a write names the version that it has read. What counts is that the spec is still the one that was read:
 * the steps of an update and the beats of a node write the object, too, and must not make a user's command fail.
 */
export function checkVersion({ meta }: { readonly meta: Meta }, version: number): void {
  const since = meta.specIndex ?? meta.version;
  if (version < since || version > meta.version) throw new ClusterError('conflict', 'update out of sequence');
}

export function invalid(message: string): ClusterError {
  return new ClusterError('invalid', message);
}

/** `thing` ends in its verb: `templates are`. */
export function unsupported(thing: string, advice = ''): ClusterError {
  return new ClusterError('unimplemented', `${thing} not supported yet${advice}`);
}
