/** Campaigns and votes [paper §5.2, §5.4.1; thesis §9.6 for the vote before the vote]. */
import { broadcast } from './replication.ts';
import { becomeCandidate, becomeFollower, becomeLeader, becomePrecandidate } from './roles.ts';
import type { CoreState } from './state.ts';
import type { EntryId, Vote, VoteAck } from './types.ts';

export type Campaign = 'timeout' | 'transfer';

export function campaign(s: CoreState, why: Campaign): void {
  const obstacle = obstacleTo(s, why);
  if (s.tracing) s.trace(obstacle === undefined ? 'campaign' : 'campaign-held', { why, obstacle });
  if (obstacle !== undefined) return;
  if (s.config.preVote && why !== 'transfer') askBefore(s);
  else askForVotes(s, why);
}

function obstacleTo(s: CoreState, why: Campaign): string | undefined {
  if (s.role === 'leader') return 'leader';
  if (!s.promotable) return 'not-promotable';
  if (why !== 'transfer' && leasePromised(s)) return 'lease';
  return s.log.hasUnappliedConfig(s.config.limits.maxApplyBytes) ? 'unapplied-config' : undefined;
}

function askBefore(s: CoreState): void {
  becomePrecandidate(s);
  request(s, { pre: true, transfer: false });
  if (s.compat) return;
  s.tracker.recordVote(s.id, true);
  tally(s);
}

/** Our own vote counts once it is durable (`onOwnVoteDurable`). */
function askForVotes(s: CoreState, why: Campaign): void {
  becomeCandidate(s);
  request(s, { pre: false, transfer: why === 'transfer' });
}

function request(s: CoreState, kind: { readonly pre: boolean; readonly transfer: boolean }): void {
  const last = s.log.last();
  const committed = s.log.committed();
  const term = kind.pre ? s.term + 1 : s.term;
  for (const to of s.tracker.voters()) {
    if (to === s.id) {
      if (s.compat) s.hold({ type: 'vote-ack', ...s.head(to), term, pre: kind.pre, granted: true, committed });
      continue;
    }
    if (s.tracing) s.trace('vote-request', { to, pre: kind.pre, last });
    const message: Vote = { type: 'vote', ...s.head(to), term, ...kind, last, committed };
    // A vote request reveals the end of our log at this term, so both must survive a crash; otherwise a grant for the
    // longer log could be counted for a shorter one after a restart.
    if (kind.pre || s.compat) s.send(message);
    else s.hold(message);
  }
}

export function onOwnVoteDurable(s: CoreState): void {
  if (s.role !== 'candidate') return;
  s.tracker.recordVote(s.id, true);
  tally(s);
}

function tally(s: CoreState): void {
  const result = s.tracker.tally();
  if (result === 'pending') return;
  if (result === 'lost') becomeFollower(s, s.term, 0);
  else if (s.role === 'precandidate') askForVotes(s, 'timeout');
  else {
    becomeLeader(s);
    broadcast(s);
  }
}

/**
 * Lease reads rest on a promise: who has answered a leader elects no other for one election timeout, itself included,
 * even if it has forgotten the leader or was started anew in between [thesis §6.4.1].
 */
function leasePromised(s: CoreState): boolean {
  if (s.compat) return false;
  return s.config.leaseReads === true && s.ticks - s.leaderHeardAt < s.config.electionTicks;
}

/** A leader was heard of within the last election timeout, so elections would only disturb [thesis §6.2]. */
export function leaderLives(s: CoreState, asker: number): boolean {
  if (leasePromised(s)) return true;
  // A leader that asks for votes has stepped down.
  if (s.lead === asker && !s.compat) return false;
  return s.config.checkQuorum && s.lead !== 0 && s.electionElapsed < s.config.electionTicks;
}

export function onVote(s: CoreState, m: Vote): void {
  commitByVote(s, m.committed);
  const free = s.vote === m.from || (s.vote === 0 && s.lead === 0) || (m.pre && m.term > s.term);
  const granted = free && s.log.isUpToDate(m.last);
  const committed = s.log.committed();
  const term = granted ? m.term : s.term;
  s.hold({ type: 'vote-ack', ...s.head(m.from), term, pre: m.pre, granted, committed });
  if (s.tracing) s.trace('vote', { to: m.from, pre: m.pre, granted, last: m.last, own: s.log.last(), vote: s.vote });
  if (!granted || m.pre) return;
  s.electionElapsed = 0;
  s.vote = m.from;
}

export function refuseVote(s: CoreState, m: Vote): void {
  if (s.tracing)
    s.trace('vote', { to: m.from, pre: m.pre, granted: false, last: m.last, own: s.log.last(), vote: s.vote });
  const committed = s.log.committed();
  s.hold({ type: 'vote-ack', ...s.head(m.from), pre: m.pre, granted: false, committed });
}

export function onVoteAck(s: CoreState, m: VoteAck): void {
  commitByVote(s, m.committed);
  if (s.role !== (m.pre ? 'precandidate' : 'candidate')) return;
  s.tracker.recordVote(m.from, m.granted);
  if (s.tracing) s.trace('vote-answer', { by: m.from, pre: m.pre, granted: m.granted, ...s.tracker.votes() });
  tally(s);
}

/**
 * Votes carry what is committed. Otherwise the node with the longest log could be barred from campaigning by a
 * membership change whose commitment only those know that cannot win.
 */
function commitByVote(s: CoreState, committed: EntryId): void {
  if (s.compat || s.role === 'leader' || committed.index <= s.log.commit || !s.log.matches(committed)) return;
  s.log.commitTo(committed.index);
  if (s.tracing) s.trace('commit', { index: committed.index });
  if (s.role === 'follower') return;
  if (s.log.hasUnappliedConfig(s.config.limits.maxApplyBytes)) becomeFollower(s, s.term, 0);
}
