/** Linearizable reads: the leader's side and the follower's. */
import type { PendingRead } from './readindex.ts';
import type { CoreState } from './state.ts';
import type { DropReason, HeartbeatAck, Index, ReadAnswer, ReadQuery } from './types.ts';

export function committedInTerm(s: CoreState): boolean {
  return s.leaderSince > 0 && s.log.commit >= s.leaderSince;
}

/**
 * The host may answer a read at the returned index without asking anybody, provided that the send time of a confirmed
 * round is recent enough by its own clock (see `Ready.round`). 0: not now.
 */
export function leaseIndex(s: CoreState): Index {
  if (!s.config.leaseReads || s.role !== 'leader' || !committedInTerm(s)) return 0;
  if (s.transferee !== 0 || s.leaseLost || s.ticks < s.leaseVoidUntil || !s.tracker.isVoter(s.id)) return 0;
  return s.log.commit;
}

export function requestRead(s: CoreState, token: number): 'queued' | DropReason {
  const { maxPendingReads } = s.config.limits;
  if (s.role === 'leader') {
    if (s.reads.size >= maxPendingReads) return 'too-many-reads';
    accept(s, { from: 0, token });
    return 'queued';
  }
  if (s.lead === 0) return 'no-leader';
  if (s.queries.size >= maxPendingReads) return 'too-many-reads';
  const wire = s.queries.add(token, s.ticks + s.config.electionTicks);
  s.send({ type: 'read-query', ...s.head(s.lead), token: wire });
  return 'queued';
}

export function onReadQuery(s: CoreState, m: ReadQuery): void {
  const known = s.tracker.get(m.from) !== undefined;
  if (s.role === 'leader' && known && s.reads.size < s.config.limits.maxPendingReads) {
    accept(s, { from: m.from, token: m.token });
    return;
  }
  s.send({ type: 'read-answer', ...s.head(m.from), token: m.token, index: 0 });
}

export function onReadAnswer(s: CoreState, m: ReadAnswer): void {
  const token = s.queries.take(m.token);
  if (token === undefined) return;
  if (m.index > 0) s.readsDone.push({ token, index: m.index });
  else s.readsFailed.push(token);
}

export function onHeartbeatRead(s: CoreState, m: HeartbeatAck): void {
  if (m.read === 0) return;
  s.reads.acknowledge(m.from, m.read);
  tallyReads(s);
}

/** Also after a change of membership, which may have made the quorum smaller. */
export function tallyReads(s: CoreState): void {
  if (s.role !== 'leader' || !(s.reads.waiting || s.config.leaseReads)) return;
  const confirmed = s.tracker.quorumOf((id) => (id === s.id ? Number.MAX_SAFE_INTEGER : s.reads.acked(id)));
  s.confirmedRound = Math.max(s.confirmedRound, Math.min(confirmed, s.round));
  for (const read of s.reads.confirm(confirmed)) {
    if (s.tracing) s.trace('read-confirmed', { from: read.from, token: read.token, index: read.index });
    if (read.from === 0) s.readsDone.push({ token: read.token, index: read.index });
    else s.send({ type: 'read-answer', ...s.head(read.from), token: read.token, index: read.index });
  }
}

export function releaseParkedReads(s: CoreState): void {
  for (const read of s.reads.unpark()) accept(s, read);
}

function accept(s: CoreState, read: PendingRead): void {
  if (!committedInTerm(s)) {
    if (s.tracing) s.trace('read-parked', { from: read.from, token: read.token });
    s.reads.park(read);
    return;
  }
  s.reads.note(read, s.log.commit, s.round + 1);
  if (s.tracing) s.trace('read', { from: read.from, token: read.token, index: s.log.commit, round: s.round + 1 });
  s.heartbeatDue = true;
  tallyReads(s);
}
