/** Invariants on what leaves a node: no promise that its disk does not keep at that instant. */
import type { Append, AppendAck, Message, NodeId, Vote, VoteAck } from '../../core/types.ts';
import type { Observed, Watch } from './ledger.ts';

/** 7. One vote per node and term, ever, also across restarts. */
export function oneVote(w: Watch, from: NodeId, vote: { readonly term: number; readonly for: NodeId }): void {
  const key = `${from}@${vote.term}`;
  const known = w.ledger.votes.get(key);
  if (known === undefined) w.ledger.votes.set(key, vote.for);
  else if (known !== vote.for) w.violate(7, `node ${from} voted for ${known} and ${vote.for} in term ${vote.term}`);
}

/** 8. An answer is justified by what is durable when it leaves. */
export function durablePromise(w: Watch, o: Observed, m: AppendAck | Vote | VoteAck): void {
  const { durable } = o.disk.inspector;
  const { hardState } = durable;
  const grantsBefore = m.type === 'vote-ack' && m.pre && m.granted;
  if (grantsBefore) return;
  o.promisedTerm = Math.max(o.promisedTerm, m.term);
  if (hardState.term < m.term) {
    w.violate(8, `node ${o.id} sent ${m.type} of term ${m.term} while its disk is at term ${hardState.term}`);
    return;
  }
  // Later writes may have become durable together with the ones that the answer was waiting for.
  if (hardState.term > m.term) return;
  if (m.type === 'append-ack') {
    if (m.match !== undefined) durableMatch(w, o, m.match);
    return;
  }
  const vote = m.type === 'vote' ? m.from : m.to;
  if (m.type === 'vote-ack' && !m.granted) return;
  if (hardState.vote !== vote) {
    w.violate(8, `node ${o.id} sent ${m.type} for ${vote} in term ${m.term}, its disk says ${hardState.vote}`);
  }
  if (m.type === 'vote' && durable.lastIndex < m.last.index) {
    w.violate(8, `node ${o.id} asks for votes with entry ${m.last.index}, its disk ends at ${durable.lastIndex}`);
  }
}

function durableMatch(w: Watch, o: Observed, match: number): void {
  const { durable } = o.disk.inspector;
  if (durable.snapshotIndex >= match) return;
  const has = durable.hashAt(match);
  // A snapshot may have replaced the view meanwhile; it covers committed entries only.
  const expected = o.view.hashAt(match) ?? (match <= o.view.snapshotIndex ? w.ledger.hashAt(match) : undefined);
  // Writes of a later term, which may replace the entry, are on their way already.
  const replaced = o.view.hardState.term > durable.hardState.term;
  if (has === undefined || (has !== expected && !replaced)) {
    w.violate(8, `node ${o.id} acknowledged ${match}, its disk ends at ${durable.lastIndex}`);
  }
}

/** 12. Append messages keep to their size, unless one entry alone exceeds it. */
export function boundedMessage(w: Watch, m: Append): void {
  if (m.entries.length < 2) return;
  let bytes = 0;
  for (const { data } of m.entries) bytes += data.length;
  if (bytes > w.limits.maxMessageBytes) w.violate(12, `append message of ${bytes} bytes to ${m.to}`);
}

export function checkMessage(w: Watch, o: Observed, m: Message): void {
  if (m.type === 'append') return boundedMessage(w, m);
  if (m.type === 'vote' && !m.pre) {
    oneVote(w, m.from, { term: m.term, for: m.from });
    durablePromise(w, o, m);
  } else if (m.type === 'vote-ack') {
    if (m.granted && !m.pre) oneVote(w, m.from, { term: m.term, for: m.to });
    durablePromise(w, o, m);
  } else if (m.type === 'append-ack') {
    durablePromise(w, o, m);
  }
}
