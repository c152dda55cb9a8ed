/** A configuration comes into force when its entry is applied [thesis §4; raft.md §3.13]; leadership moves by request. */
import { changeConf } from './confchange.ts';
import { maybeAutoLeave } from './proposals.ts';
import { tallyReads } from './reads.ts';
import { maybeCommit, sendTimeoutNow } from './replication.ts';
import { becomeFollower } from './roles.ts';
import type { CoreState } from './state.ts';
import type { ConfChange, ConfState, DropReason, EntryId, Index, NodeId } from './types.ts';

export function applyConfChange(s: CoreState, change: ConfChange | 'skip', at: EntryId): ConfState {
  if (at.index <= s.appliedConfIndex) return s.appliedConf;
  s.appliedConfIndex = at.index;
  if (change === 'skip') return s.appliedConf;
  const result = changeConf(s.appliedConf, change);
  if (!result.ok) {
    // Every node finds the same fault at this index and passes over it in the same way.
    s.trace('conf-refused', { index: at.index, why: result.why });
    return s.appliedConf;
  }
  s.appliedConf = result.conf;
  // A snapshot that waits for the disk has put a later configuration in force.
  if (at.index > s.confIndex) switchTo(s, result.conf, at.index);
  return result.conf;
}

function switchTo(s: CoreState, conf: ConfState, index: Index): void {
  s.confIndex = index;
  s.tracker.setConf(conf, { epoch: index, lastIndex: s.log.lastIndex });
  s.trace('conf', { index, conf });
  if (s.role === 'leader') afterSwitch(s);
}

function afterSwitch(s: CoreState): void {
  if (s.config.stepDownOnRemoval && !s.tracker.isVoter(s.id)) {
    becomeFollower(s, s.term, 0);
    return;
  }
  s.flushDue = true;
  maybeCommit(s);
  tallyReads(s);
  if (s.transferee !== 0 && !s.tracker.conf.voters.includes(s.transferee)) abortTransfer(s);
}

export function abortTransfer(s: CoreState): void {
  s.trace('transfer-aborted', { to: s.transferee });
  s.transferee = 0;
  maybeAutoLeave(s);
}

export function transferLeadership(s: CoreState, to: NodeId | 'best'): 'started' | DropReason {
  if (s.role !== 'leader') return s.lead === 0 ? 'no-leader' : 'not-leader';
  const target = to === 'best' ? bestTarget(s) : to;
  const peer = s.tracker.get(target);
  if (!peer || target === s.id || !s.tracker.conf.voters.includes(target)) return 'not-member';
  if (s.transferee === target) return 'started';
  s.electionElapsed = 0;
  s.transferee = target;
  s.trace('transfer', { to: target });
  if (peer.match === s.log.lastIndex) sendTimeoutNow(s, target);
  else s.flushDue = true;
  return 'started';
}

/** The live voter with the longest log; 0 when there is none. */
function bestTarget(s: CoreState): NodeId | 0 {
  let best: NodeId | 0 = 0;
  let match = -1;
  for (const peer of s.tracker.progress) {
    const fits = peer.id !== s.id && peer.recentlyActive && s.tracker.conf.voters.includes(peer.id);
    if (!fits || peer.match <= match) continue;
    best = peer.id;
    match = peer.match;
  }
  return best;
}
