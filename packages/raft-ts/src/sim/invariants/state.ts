/** Invariants on the state of a node, checked after each of its steps; numbers as in docs/simulation.md. */
import type { ConfState, Index, NodeId, Status } from '../../core/types.ts';
import { type LogView, prefixHash, type ViewedBatch } from '../log-view.ts';
import type { Observed, Watch } from './ledger.ts';
import { quorumHolds } from './ledger.ts';

/** 1. At most one leader per term, over all time. */
export function electionSafety(w: Watch, o: Observed, now: Status): void {
  if (now.role !== 'leader') return;
  const known = w.ledger.leaders.get(now.term);
  if (known === undefined) w.ledger.leaders.set(now.term, o.id);
  else if (known !== o.id) w.violate(1, `nodes ${known} and ${o.id} both lead term ${now.term}`);
}

/** 2. A leader never overwrites or removes entries of its log. */
export function leaderAppendOnly(
  w: Watch,
  o: Observed,
  change: { readonly cut: Index | undefined; now: Status },
): void {
  const before = o.status;
  if (change.cut === undefined || before?.role !== 'leader') return;
  if (change.now.role === 'leader' && change.now.term === before.term) {
    w.violate(2, `leader ${o.id} of term ${before.term} replaced its log from ${change.cut} on`);
  }
}

/** 3. The same index and term mean the same entry and the same log before it. */
export function logMatching(w: Watch, o: Observed, batch: ViewedBatch): void {
  for (const entry of batch.entries) {
    const { index, term } = entry;
    const key = term * 2 ** 26 + index;
    const before = o.view.hashAt(index - 1);
    if (before === undefined) continue;
    const hash = prefixHash(before, entry);
    const known = w.ledger.prefixes.get(key);
    if (known === undefined) w.ledger.prefixes.set(key, hash);
    else if (known !== hash)
      w.violate(3, `two logs with entry ${index} of term ${term} differ up to it (node ${o.id})`);
  }
}

/** 4. A new leader's log holds whatever was committed in earlier terms. */
export function leaderCompleteness(w: Watch, o: Observed, now: Status): void {
  if (now.role !== 'leader' || (o.status?.role === 'leader' && o.status.term === now.term)) return;
  const index = w.ledger.committedBefore(now.term);
  const has = o.view.hashAt(index) ?? (o.view.snapshotIndex > index ? w.ledger.hashAt(index) : undefined);
  if (has !== w.ledger.hashAt(index)) {
    w.violate(
      4,
      `node ${o.id} leads term ${now.term} without the committed entry ${index} (its log ends at ${o.view.lastIndex})`,
    );
  }
}

/** 6. Term, commit and applied never move backwards in a running node. */
export function monotone(w: Watch, o: Observed, now: Status): void {
  const before = o.status;
  if (before === undefined) return;
  const back = (['term', 'commit', 'applied'] as const).find((field) => now[field] < before[field]);
  if (back !== undefined) w.violate(6, `node ${o.id}: ${back} moved from ${before[back]} to ${now[back]}`);
  if (now.term === before.term && before.vote !== 0 && now.vote !== before.vote) {
    w.violate(7, `node ${o.id} changed its vote in term ${now.term} from ${before.vote} to ${now.vote}`);
  }
}

function durableAt(o: Observed | undefined, index: Index, hash: number | undefined): boolean {
  const durable = o?.disk.inspector.durable;
  return durable !== undefined && (durable.snapshotIndex >= index || durable.hashAt(index) === hash);
}

/** 9. What is committed is durable at a quorum of the configuration in force. */
export function committedIsDurable(w: Watch, o: Observed, now: Status): void {
  const { ledger } = w;
  const top = Math.min(now.commit, o.view.lastIndex);
  if (now.commit > o.view.lastIndex && now.commit > ledger.commit) {
    w.violate(9, `node ${o.id} commits ${now.commit}, beyond its log's end ${o.view.lastIndex}`);
  }
  while (ledger.commit < top) {
    const index = ledger.commit + 1;
    const seen = o.view.at(index);
    if (seen === undefined) return;
    const holds = (id: NodeId): boolean => durableAt(w.observed.get(id), index, seen.hash);
    const confs = o.status === undefined ? [now.conf] : [o.status.conf, now.conf];
    // A configuration entry may have been committed by the old configuration and applied in the same step.
    if (!confs.some((conf) => conf.voters.length > 0 && quorumHolds(conf, holds))) {
      w.violate(9, `node ${o.id} committed ${index} in term ${now.term}, but it is not durable at a quorum`);
    }
    ledger.advance(index, seen, now.term);
  }
}

/** 10a. All nodes have the same configuration at the same index. */
export function sameConf(w: Watch, o: Observed, now: Status): void {
  if (o.status?.conf === now.conf && o.status.applied === now.applied) return;
  const text = JSON.stringify(now.conf);
  if (now.conf.voters.length === 0 || text === w.ledger.confAt(now.applied).text) return;
  // A snapshot on its way to the disk, or an entry whose application shows a moment later.
  if (text !== w.ledger.confAt(now.commit).text) {
    w.violate(
      10,
      `node ${o.id} has configuration ${text} at ${now.applied}, others ${w.ledger.confAt(now.applied).text}`,
    );
  }
}

/** 10b. At most one configuration entry lies beyond the commit index that is known where the entry is. */
export function oneUnknownConf(w: Watch, who: string, log: { readonly view: LogView; readonly commit: Index }): void {
  const beyond = log.view.configsAfter(Math.max(log.commit, log.view.snapshotIndex));
  if (beyond > 1) w.violate(10, `${who}: ${beyond} configuration entries lie beyond its commit index ${log.commit}`);
}

/** 10c. Nodes that may campaign and hold all that is committed have configurations whose quorums intersect. */
export function quorumsIntersect(w: Watch): void {
  const { ledger } = w;
  const confs = new Map<string, ConfState>();
  for (const o of w.observed.values()) {
    const { status } = o;
    if (status === undefined || o.view.hashAt(ledger.commit) !== ledger.hashAt(ledger.commit)) continue;
    const votes = status.conf.voters.includes(o.id) || status.conf.outgoing.includes(o.id);
    const unapplied = ledger.confAt(status.commit).index > status.applied;
    if (votes && !unapplied) confs.set(JSON.stringify(status.conf), status.conf);
  }
  if (confs.size < 2) return;
  const all = [...confs.values()];
  for (const [at, first] of all.entries()) {
    for (const second of all.slice(at + 1)) {
      if (!intersect(first, second)) {
        w.violate(10, `quorums of ${JSON.stringify(first)} and ${JSON.stringify(second)} need not meet`);
      }
    }
  }
}

/** No set of nodes is a quorum of one while the others are a quorum of the other. */
export function intersect(a: ConfState, b: ConfState): boolean {
  const ids = [...new Set([...a.voters, ...a.outgoing, ...b.voters, ...b.outgoing])];
  for (let mask = 0; mask < 2 ** ids.length; mask++) {
    const inside = (id: NodeId): boolean => (mask >> ids.indexOf(id)) % 2 === 1;
    if (quorumHolds(a, inside) && quorumHolds(b, (id) => !inside(id))) return false;
  }
  return true;
}

/** 10d. Nobody campaigns while a configuration that it knows to be committed is not in force with it. */
export function campaignsInForce(w: Watch, o: Observed, now: Status | undefined): void {
  if (now === undefined) return;
  const { index, conf } = w.ledger.confAt(now.commit);
  // After a snapshot it is in force at once, while the state machine is still being restored.
  if (index > now.applied && JSON.stringify(conf) !== JSON.stringify(now.conf)) {
    w.violate(10, `node ${o.id} campaigns at ${now.applied} and knows that configuration ${index} is committed`);
  }
}

/** 11. A leader believes of nobody more than is on that node's disk, and has sent what it believes acknowledged. */
export function progressIsTrue(w: Watch, o: Observed, now: Status): void {
  if (now.role !== 'leader') {
    o.matches.clear();
    return;
  }
  for (const { id, match, next } of now.progress) {
    if (match >= next) w.violate(11, `leader ${o.id}: match ${match} of node ${id} reaches next ${next}`);
    if (match === 0 || o.matches.get(id) === match) continue;
    o.matches.set(id, match);
    const peer = w.observed.get(id);
    if (peer === undefined || peer.disk.inspector.durable.hardState.term > now.term) continue;
    // After a restart the leader may serve entries from before its snapshot, which are committed.
    const own = o.view.hashAt(match) ?? (match <= o.view.snapshotIndex ? w.ledger.hashAt(match) : undefined);
    if (!durableAt(peer, match, own)) {
      w.violate(11, `leader ${o.id} believes that node ${id} holds ${match}, which is not on its disk`);
    }
  }
}

/** 12. A leader takes on no more uncommitted bytes of its term than it may. */
export function boundedTail(w: Watch, o: Observed, now: Status): void {
  if (now.role !== 'leader') return;
  let bytes = 0;
  for (let index = o.view.lastIndex; index > now.commit; index--) {
    const seen = o.view.at(index);
    if (seen === undefined || seen.term !== now.term) break;
    if (!seen.config) bytes += seen.entry.data.length;
  }
  const most = Math.max(w.limits.maxUncommittedBytes, w.limits.maxMessageBytes, w.largestProposal);
  if (bytes > most) w.violate(12, `leader ${o.id} holds ${bytes} uncommitted bytes`);
}

/** All of the above that concern one node, in an order in which each may rely on those before. */
export function checkNode(w: Watch, o: Observed, now: Status): void {
  electionSafety(w, o, now);
  monotone(w, o, now);
  leaderCompleteness(w, o, now);
  committedIsDurable(w, o, now);
  sameConf(w, o, now);
  progressIsTrue(w, o, now);
}
