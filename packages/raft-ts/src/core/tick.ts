/** What time does: election timeouts, heartbeats, the leader's check that a quorum still answers. */
import { campaign } from './election.ts';
import { abortTransfer } from './membership.ts';
import { broadcastHeartbeat } from './replication.ts';
import { becomeFollower } from './roles.ts';
import type { CoreState } from './state.ts';

export function tick(s: CoreState): void {
  s.ticks += 1;
  s.electionElapsed += 1;
  if (s.role === 'leader') {
    tickLeader(s);
    return;
  }
  s.readsFailed.push(...s.queries.expire(s.ticks));
  if (s.electionElapsed < s.randomTimeout || !s.promotable) return;
  s.electionElapsed = 0;
  campaign(s, 'timeout');
}

function tickLeader(s: CoreState): void {
  if (s.electionElapsed >= s.config.electionTicks) {
    s.electionElapsed = 0;
    if (s.config.checkQuorum && !checkQuorum(s)) return;
    if (s.transferee !== 0) abortTransfer(s);
  }
  s.heartbeatElapsed += 1;
  if (s.heartbeatElapsed < s.config.heartbeatTicks) return;
  s.heartbeatElapsed = 0;
  broadcastHeartbeat(s);
  // A peer may be waiting for a snapshot that was not ready, or was not active when it was.
  if (!s.compat) s.flushDue = true;
}

/** A leader that a quorum does not answer must not hold off elections elsewhere [thesis §6.2]. */
function checkQuorum(s: CoreState): boolean {
  const self = s.tracker.get(s.id);
  if (self) self.recentlyActive = true;
  const active = s.tracker.quorumActive();
  if (!active) {
    if (s.tracing) s.trace('quorum-lost');
    becomeFollower(s, s.term, 0);
    return false;
  }
  for (const peer of s.tracker.progress) {
    if (peer.id === s.id) continue;
    peer.activeBefore = peer.recentlyActive;
    peer.recentlyActive = false;
  }
  return true;
}
