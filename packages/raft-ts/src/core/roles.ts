/** The only functions that move a node from one role to another [paper fig. 4]. */
import { must } from './errors.ts';
import { ReadQueue } from './readindex.ts';
import type { CoreState } from './state.ts';
import type { NodeId, Term } from './types.ts';
import { EntryKind } from './types.ts';

export function setLead(s: CoreState, lead: NodeId | 0): void {
  if (s.lead === lead) return;
  s.lead = lead;
  s.readsFailed.push(...s.queries.drain());
}

/** A vote is cleared only together with a change of term: a second vote in a term would elect two leaders. */
function reset(s: CoreState, term: Term): void {
  must(term >= s.term, `term moved backwards: ${String(s.term)} to ${String(term)}`);
  must(Number.isSafeInteger(term), 'term out of range');
  if (term !== s.term) {
    s.term = term;
    s.vote = 0;
  }
  setLead(s, 0);
  s.electionElapsed = 0;
  s.heartbeatElapsed = 0;
  s.transferee = 0;
  s.pendingConfIndex = 0;
  s.uncommittedBytes = 0;
  s.leaderSince = 0;
  s.roundSent = 0;
  s.confirmedRound = 0;
  s.confirmedRoundShown = 0;
  s.leaseLost = false;
  s.leaseVoidUntil = 0;
  s.flushDue = false;
  s.heartbeatDue = false;
  s.redrawTimeout();
  s.tracker.resetVotes();
  for (const progress of s.tracker.progress) progress.reset(s.log.lastIndex);
  failReads(s);
}

function failReads(s: CoreState): void {
  for (const read of s.reads.drain()) {
    if (s.tracing) s.trace('read-failed', { from: read.from, token: read.token });
    if (read.from === 0) s.readsFailed.push(read.token);
    else s.send({ type: 'read-answer', ...s.head(read.from), token: read.token, index: 0 });
  }
  s.reads = new ReadQueue();
}

export function becomeFollower(s: CoreState, term: Term, lead: NodeId | 0): void {
  const from = s.role;
  reset(s, term);
  s.role = 'follower';
  setLead(s, lead);
  if (s.tracing) s.trace('follower', { from, lead });
}

/** Changes neither term nor vote: nothing has happened yet [thesis §9.6]. */
export function becomePrecandidate(s: CoreState): void {
  must(s.role !== 'leader', 'a leader cannot campaign');
  s.role = 'precandidate';
  setLead(s, 0);
  s.tracker.resetVotes();
  // Lest nodes that started together go on campaigning together.
  if (!s.compat) s.redrawTimeout();
  if (s.tracing) s.trace('precandidate');
}

export function becomeCandidate(s: CoreState): void {
  must(s.role !== 'leader', 'a leader cannot campaign');
  reset(s, s.term + 1);
  s.vote = s.id;
  s.role = 'candidate';
  if (s.tracing) s.trace('candidate');
}

/** The first entry is empty: only by committing it does the leader learn what is committed [paper §8]. */
export function becomeLeader(s: CoreState): void {
  must(s.role === 'candidate', `a ${s.role} cannot become leader`);
  const inherited = s.log.lastIndex;
  reset(s, s.term);
  s.role = 'leader';
  setLead(s, s.id);
  const self = s.tracker.get(s.id);
  if (self) {
    // All of it is durable: our vote is, and was written behind it.
    self.acked(inherited);
    self.becomeReplicate();
    self.recentlyActive = true;
  }
  const index = inherited + 1;
  s.log.append([{ term: s.term, index, kind: EntryKind.Normal, data: new Uint8Array(0) }]);
  s.leaderSince = index;
  // Not before everything inherited is applied, and an entry of this term with it, may the membership change.
  s.pendingConfIndex = s.compat ? inherited : index;
  if (s.compat) holdOwnAck(s, index);
  else s.flushDue = true;
  if (s.tracing) s.trace('leader', { last: index });
}

/** Compat: our own acknowledgement as a message that waits for the disk, where it shows. */
export function holdOwnAck(s: CoreState, match: number): void {
  s.hold({ type: 'append-ack', ...s.head(s.id), epoch: s.tracker.get(s.id)?.epoch ?? 0, match });
}
