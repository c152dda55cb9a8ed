/** How a follower takes what a leader sends [paper fig. 2, AppendEntries and InstallSnapshot]. */
import { must } from './errors.ts';
import type { CoreState } from './state.ts';
import type { Append, Heartbeat, InstallSnapshot } from './types.ts';

export function onAppend(s: CoreState, m: Append): void {
  const { log } = s;
  if (m.prev.index < log.commit) {
    s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, match: log.commit });
    return;
  }
  if (!log.matches(m.prev)) {
    const last = Math.min(m.prev.index, log.lastIndex);
    const hint = log.lastWithTermAtMost(last, m.prev.term, log.commit);
    s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, reject: { prev: m.prev.index, hint } });
    return;
  }
  mustFollow(m);
  log.merge(m.prev, m.entries);
  const match = m.prev.index + m.entries.length;
  // Never with our own last index: what lies behind `match` is not known to be the leader's.
  if (log.commitTo(Math.min(m.commit, match))) s.trace('commit', { index: log.commit });
  s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, match });
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
  if (s.log.commitTo(m.commit)) s.trace('commit', { index: s.log.commit });
  s.send({ type: 'heartbeat-ack', ...s.head(m.from), read: m.read });
}

/**
 * A node that the snapshot's configuration does not name takes it all the same: it was added by an entry behind it, and
 * until that is applied it cannot campaign.
 */
export function onSnapshot(s: CoreState, m: InstallSnapshot): void {
  const { log } = s;
  const { snapshot } = m;
  if (snapshot.index > log.commit) {
    if (log.matches(snapshot)) {
      // Everything is here already; a longer matching log must not be thrown away.
      log.commitTo(snapshot.index);
    } else {
      log.restore(snapshot);
      s.tracker.setConf(snapshot.conf, { epoch: snapshot.index, lastIndex: snapshot.index });
      s.confIndex = snapshot.index;
      s.trace('restore', { index: snapshot.index });
    }
  }
  s.hold({ type: 'append-ack', ...s.head(m.from), epoch: m.epoch, match: log.commit });
}
