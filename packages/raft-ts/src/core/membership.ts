/** A configuration comes into force when its entry is applied [thesis §4]; leadership moves by request. */
import { changeConf } from './confchange.ts';
import type { Progress } from './progress.ts';
import { maybeAutoLeave } from './proposals.ts';
import { tallyReads } from './reads.ts';
import { maybeCommit, probeAll, sendNow, sendTimeoutNow } from './replication.ts';
import { becomeFollower, setLead } from './roles.ts';
import type { CoreState } from './state.ts';
import type { ConfChange, ConfState, DropReason, EntryId, Index, NodeId } from './types.ts';

export function applyConfChange(s: CoreState, change: ConfChange | 'skip', at: EntryId): ConfState {
  if (at.index <= s.appliedConfIndex) return s.appliedConf;
  s.appliedConfIndex = at.index;
  if (change === 'skip') return s.appliedConf;
  const result = changeConf(s.appliedConf, change);
  if (!result.ok) {
    // Every node finds the same fault at this index and passes over it in the same way.
    if (s.tracing) s.trace('conf-passed-over', { index: at.index, why: result.why });
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
  if (s.tracing) s.trace('conf', { index, conf: s.tracker.conf });
  if (s.role === 'leader') afterSwitch(s);
}

function afterSwitch(s: CoreState): void {
  const voter = s.tracker.isVoter(s.id);
  if (s.config.stepDownOnRemoval && !voter) {
    becomeFollower(s, s.term, 0);
    return;
  }
  if (!voter && s.compat) return;
  if (!maybeCommit(s)) probeAll(s);
  tallyReads(s);
  if (s.transferee !== 0 && !s.tracker.conf.voters.includes(s.transferee)) abortTransfer(s);
}

export function abortTransfer(s: CoreState): void {
  dropTransfer(s);
  if (!s.compat) maybeAutoLeave(s);
}

function dropTransfer(s: CoreState): void {
  s.leaseVoidUntil = s.ticks + s.config.electionTicks;
  if (s.tracing) s.trace('transfer-aborted', { to: s.transferee });
  s.transferee = 0;
}

export function transferLeadership(s: CoreState, to: NodeId | 'best'): 'started' | DropReason {
  if (s.role !== 'leader') return s.lead === 0 ? 'no-leader' : 'not-leader';
  const target = to === 'best' ? bestTarget(s) : to;
  const peer = s.tracker.get(target);
  if (!peer || target === s.id || !s.tracker.conf.voters.includes(target)) return 'not-member';
  if (s.transferee === target) {
    if (s.tracing) s.trace('transfer-running', { to: target });
    return 'started';
  }
  if (s.transferee !== 0) {
    if (s.tracing) s.trace('transfer-replaced', { to: s.transferee });
    dropTransfer(s);
  }
  s.electionElapsed = 0;
  s.transferee = target;
  if (s.tracing) s.trace('transfer', { to: target });
  if (peer.match === s.log.lastIndex) {
    if (s.tracing) s.trace('timeout-now', { to: target, atOnce: true });
    sendTimeoutNow(s, target);
  } else {
    sendNow(s, peer, true);
  }
  return 'started';
}

/** The voter that can take over soonest: heard from lately, then with the longest log. 0 when none has been heard from. */
function bestTarget(s: CoreState): NodeId | 0 {
  let best: Progress | undefined;
  for (const peer of s.tracker.progress) {
    // CheckQuorum has just begun a new round: what the last one heard still counts.
    const alive = peer.recentlyActive || peer.activeBefore;
    if (peer.id === s.id || !alive || !s.tracker.conf.voters.includes(peer.id)) continue;
    if (best === undefined || isBetter(peer, best)) best = peer;
  }
  return best?.id ?? 0;
}

function isBetter(a: Progress, b: Progress): boolean {
  return a.recentlyActive === b.recentlyActive ? a.match > b.match : a.recentlyActive;
}

/** The leader is gone for certain: we need not wait out the election timeout before we grant a vote. */
export function forgetLeader(s: CoreState): boolean {
  if (s.role !== 'follower') return false;
  if (s.config.leaseReads) {
    if (s.tracing) s.trace('forget-refused', { lead: s.lead });
    return false;
  }
  if (s.lead === 0) return false;
  if (s.tracing) s.trace('forget', { lead: s.lead });
  setLead(s, 0);
  return true;
}
