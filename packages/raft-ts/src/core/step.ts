/** Terms first, then the message kind [paper fig. 2, rules for servers]. */
import { campaign, leaderLives, onVote, onVoteAck, refuseVote } from './election.ts';
import { must, unreachable } from './errors.ts';
import { onAppend, onHeartbeat, onSnapshot } from './follower.ts';
import { onForward } from './proposals.ts';
import { onReadAnswer, onReadQuery } from './reads.ts';
import { onAppendAck, onHeartbeatAck } from './replication.ts';
import { becomeFollower, setLead } from './roles.ts';
import type { CoreState } from './state.ts';
import type { Append, Heartbeat, InstallSnapshot, Message, TimeoutNow, Vote } from './types.ts';

export function step(s: CoreState, m: Message): void {
  const validFrom = Number.isSafeInteger(m.from) && m.from >= 1 && (m.from !== s.id || s.compat);
  if (!validFrom || m.to !== s.id || !Number.isSafeInteger(m.term) || m.term < 1) {
    if (s.tracing) s.trace('ignored', { type: m.type, from: m.from });
    return;
  }
  if (m.term < s.term) onLowerTerm(s, m);
  else if (m.term === s.term || onHigherTerm(s, m)) dispatch(s, m);
}

/** False when the message is to be dropped. */
function onHigherTerm(s: CoreState, m: Message): boolean {
  if (m.type === 'vote' && !m.transfer && leaderLives(s, m.from)) {
    if (s.tracing) traceIgnored(s, m);
    return false;
  }
  // A pre-vote talks about a term that nobody has entered yet.
  if (m.type === 'vote' && m.pre) return true;
  if (m.type === 'vote-ack' && m.pre && m.granted) return s.role === 'precandidate' && m.term === s.term + 1;
  if (s.tracing) s.trace('higher-term', { type: m.type, pre: preOf(m), from: m.from, newTerm: m.term });
  const leads = m.type === 'append' || m.type === 'heartbeat' || m.type === 'snapshot';
  becomeFollower(s, m.term, leads ? m.from : 0);
  return true;
}

function onLowerTerm(s: CoreState, m: Message): void {
  const { checkQuorum, preVote } = s.config;
  if (m.type === 'append' || m.type === 'heartbeat') {
    // Otherwise a leader that refuses our votes would never learn of our higher term; whether it does is its own setting.
    if (checkQuorum || preVote || !s.compat) s.hold({ type: 'append-ack', ...s.head(m.from), epoch: 0 });
    else if (s.tracing) traceStale(s, m);
  } else if (m.type === 'vote' && m.pre) {
    refuseVote(s, m);
  } else if (m.type === 'read-query') {
    s.send({ type: 'read-answer', ...s.head(m.from), token: m.token, index: 0 });
  } else if (m.type === 'forward') {
    // A proposal belongs to no term.
    onForward(s, m);
  } else if (s.tracing) {
    traceStale(s, m);
  }
}

function traceStale(s: CoreState, m: Message): void {
  s.trace('stale', { type: m.type, pre: preOf(m), from: m.from, oldTerm: m.term });
}

function preOf(m: Message): boolean {
  return (m.type === 'vote' || m.type === 'vote-ack') && m.pre;
}

function traceIgnored(s: CoreState, m: Vote): void {
  const ticks = s.config.electionTicks - s.electionElapsed;
  s.trace('vote-ignored', { from: m.from, pre: m.pre, last: m.last, own: s.log.last(), vote: s.vote, ticks });
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
      return onTimeoutNow(s, m);
    case 'read-query':
      return onReadQuery(s, m);
    case 'read-answer':
      return onReadAnswer(s, m);
    case 'forward':
      return onForward(s, m);
    default:
      return unreachable(m);
  }
}

function onTimeoutNow(s: CoreState, m: TimeoutNow): void {
  if (s.tracing) s.trace('told-to-campaign', { from: m.from, role: s.role });
  if (s.role === 'follower') campaign(s, 'transfer');
}

function fromLeader(s: CoreState, m: Append | Heartbeat | InstallSnapshot): void {
  const rival = s.role === 'leader' || (s.lead !== 0 && s.lead !== m.from);
  must(!rival, `two leaders in term ${String(s.term)}: ${String(s.lead)} and ${String(m.from)}`);
  if (s.role !== 'follower') becomeFollower(s, m.term, m.from);
  setLead(s, m.from);
  s.electionElapsed = 0;
  s.leaderHeardAt = s.ticks;
  if (m.type === 'append') onAppend(s, m);
  else if (m.type === 'heartbeat') onHeartbeat(s, m);
  else onSnapshot(s, m);
}
