/** The leader's side of log replication [paper §5.3, thesis §10.2]. */
import { must } from './errors.ts';
import type { Progress } from './progress.ts';
import { onHeartbeatRead, releaseParkedReads, tallyReads } from './reads.ts';
import type { CoreState } from './state.ts';
import type { AppendAck, Entry, HeartbeatAck, NodeId, PeerProgress } from './types.ts';

/** What the host may see of a peer's progress. */
export function viewOf(peer: Progress): PeerProgress {
  const { id, match, next, state, recentlyActive, learner, blocked, pendingSnapshot, inflights } = peer;
  return {
    id,
    match,
    next,
    state,
    recentlyActive,
    learner,
    paused: blocked,
    pendingSnapshot,
    inflight: inflights.count,
  };
}

export function payloadBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.data.byteLength;
  return bytes;
}

/** Everybody may have something to get. */
export function broadcast(s: CoreState): void {
  if (s.compat) for (const peer of s.tracker.progress) sendNow(s, peer, true);
  else s.flushDue = true;
}

/** `peer` may have something to get. */
export function sendNow(s: CoreState, peer: Progress, allowEmpty: boolean): void {
  if (!s.compat) s.flushDue = true;
  else if (peer.id !== s.id) sendAppend(s, peer, allowEmpty);
}

/** After a change of membership: newcomers need not wait for the next heartbeat. */
export function probeAll(s: CoreState): void {
  for (const peer of s.tracker.progress) sendNow(s, peer, false);
}

/** Sends whatever peers may get now; called once per Ready, so that what came together travels together. */
export function flush(s: CoreState): void {
  if (s.role !== 'leader') return;
  if (s.heartbeatDue) broadcastHeartbeat(s);
  if (!s.flushDue) return;
  s.flushDue = false;
  for (const peer of s.tracker.progress) {
    if (peer.id === s.id) continue;
    while (sendAppend(s, peer, false));
    if (s.log.commit > peer.sentCommit && peer.sentCommit < peer.next - 1) sendAppend(s, peer, true);
  }
}

/** One append message or a snapshot, unless the peer is paused or has all; an empty one only when asked for. */
function sendAppend(s: CoreState, peer: Progress, allowEmpty: boolean): boolean {
  if (peer.blocked) return false;
  const prevIndex = peer.next - 1;
  const prevTerm = s.log.term(prevIndex);
  if (prevTerm === undefined) return sendSnapshot(s, peer);
  let entries: readonly Entry[] | 'compacted' = [];
  if (peer.state !== 'replicate' || !peer.inflights.full()) {
    entries = s.log.from(peer.next, s.config.limits.maxMessageBytes);
  }
  if (entries === 'compacted') return sendSnapshot(s, peer);
  if (entries.length === 0 && !allowEmpty) return false;
  const { commit } = s.log;
  const prev = { index: prevIndex, term: prevTerm };
  s.send({ type: 'append', ...s.head(peer.id), prev, entries, commit, epoch: peer.epoch });
  peer.sent(entries.length, payloadBytes(entries));
  peer.sentCommit = commit;
  return true;
}

function sendSnapshot(s: CoreState, peer: Progress): boolean {
  if (!peer.recentlyActive) {
    if (s.tracing) s.trace('snapshot-inactive', { to: peer.id });
    return false;
  }
  const snapshot = s.log.storedSnapshot();
  if (snapshot === 'not-ready') {
    if (s.tracing) s.trace('snapshot-not-ready', { to: peer.id });
    return false;
  }
  must(snapshot.index + 1 >= s.log.firstIndex, 'the stored snapshot does not reach the log');
  const before = s.tracing ? viewOf(peer) : undefined;
  peer.becomeSnapshot(snapshot.index);
  s.send({ type: 'snapshot', ...s.head(peer.id), snapshot, epoch: peer.epoch });
  if (s.tracing) {
    const { index, term } = snapshot;
    const { firstIndex, commit } = s.log;
    s.trace('snapshot', { to: peer.id, index, snapshotTerm: term, firstIndex, commit, before, progress: viewOf(peer) });
  }
  return true;
}

export function broadcastHeartbeat(s: CoreState): void {
  s.heartbeatDue = false;
  const proves = s.config.leaseReads === true || s.reads.waiting;
  const read = proves ? (s.round += 1) : 0;
  if (s.config.leaseReads) s.roundSent = read;
  for (const peer of s.tracker.progress) {
    if (peer.id === s.id) continue;
    // What the peer has not acknowledged may differ from ours, so it must not commit it.
    const commit = Math.min(peer.match, s.log.commit);
    s.send({ type: 'heartbeat', ...s.head(peer.id), commit, read });
    peer.sentCommit = s.compat ? commit : Math.max(peer.sentCommit, commit);
  }
  // A group of one voter has just confirmed itself.
  if (s.config.leaseReads) tallyReads(s);
}

export function onAppendAck(s: CoreState, m: AppendAck): void {
  const peer = s.tracker.get(m.from);
  if (!peer || peer.epoch !== m.epoch) {
    if (s.tracing) s.trace('ack-ignored', { from: m.from, known: peer !== undefined, epoch: m.epoch });
    return;
  }
  peer.recentlyActive = true;
  if (!s.compat) s.flushDue = true;
  if (m.reject) onReject(s, peer, m.reject);
  else if (m.match !== undefined) onMatch(s, peer, m.match);
}

function onReject(s: CoreState, peer: Progress, reject: NonNullable<AppendAck['reject']>): void {
  let hint = reject.hint.index;
  if (reject.hint.term > 0) {
    // The refuser's entries up to the hint have at most this term; ours beyond it cannot match.
    hint = s.log.lastWithTermAtMost(Math.min(hint, s.log.lastIndex), reject.hint.term, 0).index;
  }
  const stale = !peer.refused(reject.prev, hint);
  if (s.tracing) {
    s.trace('refused', { by: peer.id, prev: reject.prev, hint: reject.hint, stale, progress: viewOf(peer) });
  }
  if (stale) return;
  if (peer.state === 'replicate') peer.becomeProbe();
  sendNow(s, peer, true);
}

function onMatch(s: CoreState, peer: Progress, match: number): void {
  must(match <= s.log.lastIndex, `node ${String(peer.id)} acknowledges ${String(match)}, which was never sent`);
  const moved = peer.acked(match);
  if (!moved && !(peer.state === 'probe' && match === peer.match)) return;
  if (peer.state === 'replicate') {
    peer.inflights.freeTo(match);
  } else if (peer.state === 'probe' || peer.match + 1 >= s.log.firstIndex) {
    if (s.tracing && peer.state === 'snapshot') s.trace('snapshot-passed', { by: peer.id, progress: viewOf(peer) });
    peer.becomeReplicate();
  }
  const committed = moved && maybeCommit(s);
  if (s.compat) sendRest(s, peer, committed);
  if (s.transferee === peer.id && peer.match === s.log.lastIndex) {
    if (s.tracing) s.trace('timeout-now', { to: peer.id, atOnce: false });
    sendTimeoutNow(s, peer.id);
  }
}

/** What `flush` does later, right away. */
function sendRest(s: CoreState, peer: Progress, committed: boolean): void {
  if (peer.id === s.id) return;
  if (!committed && s.log.commit > peer.sentCommit && peer.sentCommit < peer.next - 1) sendAppend(s, peer, true);
  while (sendAppend(s, peer, false));
}

export function onHeartbeatAck(s: CoreState, m: HeartbeatAck): void {
  const peer = s.tracker.get(m.from);
  if (!peer) return;
  peer.recentlyActive = true;
  if (peer.state !== 'snapshot') {
    peer.paused = false;
    // Even with a full window: lost appends show only when the next one is refused.
    if (peer.match < s.log.lastIndex || peer.state === 'probe') sendAppend(s, peer, true);
  }
  if (!s.compat) s.flushDue = true;
  onHeartbeatRead(s, m);
}

/** Our own log is durable up to `index`. */
export function onOwnDurable(s: CoreState, index: number): void {
  const self = s.tracker.get(s.id);
  if (self?.acked(index)) maybeCommit(s);
}

/** Only an entry of the current term is committed by counting [paper §5.4.2]. */
export function maybeCommit(s: CoreState): boolean {
  const index = Math.min(s.tracker.committed(), s.log.lastIndex);
  if (index <= s.log.commit || s.log.term(index) !== s.term) return false;
  const first = s.log.commit < s.leaderSince;
  s.log.commitTo(index);
  if (s.tracing) s.trace('commit', { index });
  if (first) releaseParkedReads(s);
  broadcast(s);
  return true;
}

export function onUnreachable(s: CoreState, id: NodeId): void {
  const peer = s.tracker.get(id);
  if (s.role !== 'leader' || id === s.id || !peer) return;
  if (peer.state === 'replicate') peer.becomeProbe();
  if (s.tracing) s.trace('unreachable', { to: id, progress: viewOf(peer) });
}

export function onSnapshotReport(s: CoreState, id: NodeId, ok: boolean): void {
  const peer = s.tracker.get(id);
  if (s.role !== 'leader' || peer?.state !== 'snapshot') return;
  if (!ok) peer.pendingSnapshot = 0;
  peer.becomeProbe();
  if (s.tracing) s.trace('snapshot-report', { to: id, ok, progress: viewOf(peer) });
  // Until it speaks up: after success its acknowledgement is on the way, after failure it should not be flooded.
  peer.paused = true;
}

export function sendTimeoutNow(s: CoreState, to: NodeId): void {
  s.leaseLost = true;
  s.send({ type: 'timeout-now', ...s.head(to) });
}
