/** How a follower takes what a leader sends [paper fig. 2, AppendEntries and InstallSnapshot]. */
import { must } from './errors.ts';
import type { CoreState } from './state.ts';
import type { Append, Heartbeat, InstallSnapshot, SnapshotMeta } from './types.ts';

export function onAppend(s: CoreState, m: Append): void {
  const { log } = s;
  if (m.prev.index < log.commit) {
    s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, match: log.commit });
    return;
  }
  if (!log.matches(m.prev)) {
    const last = Math.min(m.prev.index, log.lastIndex);
    const hint = log.lastWithTermAtMost(last, m.prev.term, log.commit);
    if (s.tracing) {
      s.trace('append-rejected', { from: m.from, prev: m.prev, ownTerm: log.term(m.prev.index) ?? 0, hint });
    }
    s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, reject: { prev: m.prev.index, hint } });
    return;
  }
  mustFollow(m);
  if (s.tracing) traceConflict(s, m);
  log.merge(m.prev, m.entries);
  const match = m.prev.index + m.entries.length;
  // Never with our own last index: what lies behind `match` is not known to be the leader's.
  if (log.commitTo(Math.min(m.commit, match)) && s.tracing) s.trace('commit', { index: log.commit });
  s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, match });
}

function traceConflict(s: CoreState, m: Append): void {
  const { log } = s;
  const entry = m.entries.find((candidate) => !log.matches(candidate));
  if (entry === undefined) return;
  const { index, term } = entry;
  if (index <= log.lastIndex) s.trace('conflict', { index, existing: log.term(index) ?? 0, conflicting: term });
  const { offset, count } = log.unstable;
  if (index !== offset + count) s.trace('cut', { index, whole: index <= offset });
}

function mustFollow(m: Append): void {
  let index = m.prev.index;
  let { term } = m.prev;
  for (const entry of m.entries) {
    index += 1;
    must(entry.index === index && entry.term >= term && entry.term <= m.term, 'append message with a broken sequence');
    term = entry.term;
  }
}

export function onHeartbeat(s: CoreState, m: Heartbeat): void {
  if (s.log.commitTo(m.commit) && s.tracing) s.trace('commit', { index: s.log.commit });
  s.send({ type: 'heartbeat-ack', ...s.head(m.from), read: m.read });
}

/**
 * A node that the snapshot's configuration does not name takes it all the same: it was added by an entry behind it, and
 * until that is applied it cannot campaign.
 */
export function onSnapshot(s: CoreState, m: InstallSnapshot): void {
  const { log } = s;
  const { snapshot } = m;
  const { index, term } = snapshot;
  if (index <= log.commit) {
    if (s.tracing) s.trace('snapshot-ignored', { index, snapshotTerm: term, commit: log.commit });
  } else if (log.matches(snapshot)) {
    if (s.tracing) s.trace('fast-forward', { index, snapshotTerm: term, commit: log.commit, own: log.last() });
    // Everything is here already; a longer matching log must not be thrown away.
    log.commitTo(index);
    if (s.tracing) s.trace('snapshot-ignored', { index, snapshotTerm: term, commit: log.commit });
  } else {
    restore(s, snapshot);
  }
  s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, match: log.commit });
}

function restore(s: CoreState, snapshot: SnapshotMeta): void {
  const { log } = s;
  const { index, term, conf } = snapshot;
  if (s.tracing) {
    const { commit, applied, applying } = log;
    const { offset, handedOut, count } = log.unstable;
    s.trace('restoring', { index, snapshotTerm: term, commit, applied, applying, offset, handedOut, count });
  }
  log.restore(snapshot);
  s.tracker.setConf(conf, { epoch: index, lastIndex: index });
  s.confIndex = index;
  if (!s.tracing) return;
  s.trace('conf', { index, conf: s.tracker.conf });
  s.trace('restored', { index, snapshotTerm: term, commit: log.commit, own: log.last() });
}
