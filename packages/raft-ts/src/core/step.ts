/** Terms first, then the message kind [paper fig. 2, rules for servers; raft.md §3.3]. */
import { campaign, leaderLives, onVote, onVoteAck, refuseVote } from './election.ts';
import { must, unreachable } from './errors.ts';
import { onAppend, onHeartbeat, onSnapshot } from './follower.ts';
import { onReadAnswer, onReadQuery } from './reads.ts';
import { onAppendAck, onHeartbeatAck } from './replication.ts';
import { becomeFollower, setLead } from './roles.ts';
import type { CoreState } from './state.ts';
import type { Append, Heartbeat, InstallSnapshot, Message } from './types.ts';

export function step(s: CoreState, m: Message): void {
  const validIds = Number.isSafeInteger(m.from) && m.from >= 1 && m.from !== s.id && m.to === s.id;
  if (!validIds || !Number.isSafeInteger(m.term) || m.term < 1) {
    s.trace('ignored', { type: m.type, from: m.from });
    return;
  }
  if (m.term < s.term) onLowerTerm(s, m);
  else if (m.term === s.term || onHigherTerm(s, m)) dispatch(s, m);
}

/** False when the message is to be dropped. */
function onHigherTerm(s: CoreState, m: Message): boolean {
  if (m.type === 'vote' && !m.transfer && leaderLives(s, m.from)) {
    s.trace('vote-ignored', { from: m.from, pre: m.pre });
    return false;
  }
  // A pre-vote talks about a term that nobody has entered yet.
  if (m.type === 'vote' && m.pre) return true;
  if (m.type === 'vote-ack' && m.pre && m.granted) return s.role === 'precandidate' && m.term === s.term + 1;
  const leads = m.type === 'append' || m.type === 'heartbeat' || m.type === 'snapshot';
  becomeFollower(s, m.term, leads ? m.from : 0);
  return true;
}

function onLowerTerm(s: CoreState, m: Message): void {
  const { checkQuorum, preVote } = s.config;
  if (m.type === 'append' || m.type === 'heartbeat') {
    // Otherwise a leader that refuses our votes would never learn of our higher term.
    if (checkQuorum || preVote) s.hold({ type: 'append-ack', ...s.head(m.from), epoch: 0 });
  } else if (m.type === 'vote' && m.pre) {
    refuseVote(s, m);
  } else if (m.type === 'read-query') {
    s.send({ type: 'read-answer', ...s.head(m.from), token: m.token, index: 0 });
  }
}

function dispatch(s: CoreState, m: Message): void {
  switch (m.type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      return fromLeader(s, m);
    case 'append-ack':
      return s.role === 'leader' ? onAppendAck(s, m) : undefined;
    case 'heartbeat-ack':
      return s.role === 'leader' ? onHeartbeatAck(s, m) : undefined;
    case 'vote':
      return onVote(s, m);
    case 'vote-ack':
      return onVoteAck(s, m);
    case 'timeout-now':
      return s.role === 'follower' ? campaign(s, 'transfer') : undefined;
    case 'read-query':
      return onReadQuery(s, m);
    case 'read-answer':
      return onReadAnswer(s, m);
    default:
      return unreachable(m);
  }
}

function fromLeader(s: CoreState, m: Append | Heartbeat | InstallSnapshot): void {
  const rival = s.role === 'leader' || (s.lead !== 0 && s.lead !== m.from);
  must(!rival, `two leaders in term ${String(s.term)}: ${String(s.lead)} and ${String(m.from)}`);
  if (s.role !== 'follower') becomeFollower(s, m.term, m.from);
  setLead(s, m.from);
  s.electionElapsed = 0;
  if (m.type === 'append') onAppend(s, m);
  else if (m.type === 'heartbeat') onHeartbeat(s, m);
  else onSnapshot(s, m);
}
