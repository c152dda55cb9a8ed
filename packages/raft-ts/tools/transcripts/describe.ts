/** Messages, entries, Readys and progress in the notation of the transcripts. */
import type {
  ConfChange,
  ConfState,
  Entry,
  HardState,
  Message,
  NodeId,
  PeerProgress,
  Role,
  SnapshotMeta,
} from '../../src/core/index.ts';
import { decodeConfChange, EntryKind, isJoint } from '../../src/core/index.ts';

export const appendThread = 'AppendThread';
export const applyThread = 'ApplyThread';
export type Target = NodeId | typeof appendThread | typeof applyThread;

/** Marks a change that was proposed in the older of the two encodings. */
export const v1Mark = new Uint8Array([1]);

const stateNames: Readonly<Record<Role, string>> = {
  follower: 'StateFollower',
  precandidate: 'StatePreCandidate',
  candidate: 'StateCandidate',
  leader: 'StateLeader',
};

export function stateName(role: Role): string {
  return stateNames[role];
}

const progressNames: Readonly<Record<PeerProgress['state'], string>> = {
  probe: 'StateProbe',
  replicate: 'StateReplicate',
  snapshot: 'StateSnapshot',
};

const letters: Readonly<Record<ConfChange['ops'][number]['op'], string>> = {
  voter: 'v',
  learner: 'l',
  remove: 'r',
  update: 'u',
};

const typeNames: Readonly<Record<Exclude<Message['type'], 'vote' | 'vote-ack'>, string>> = {
  append: 'MsgApp',
  'append-ack': 'MsgAppResp',
  heartbeat: 'MsgHeartbeat',
  'heartbeat-ack': 'MsgHeartbeatResp',
  snapshot: 'MsgSnap',
  'timeout-now': 'MsgTimeoutNow',
  'read-query': 'MsgReadIndex',
  'read-answer': 'MsgReadIndexResp',
  forward: 'MsgProp',
};

export function typeName(type: Message['type'], pre: boolean): string {
  if (type === 'vote') return pre ? 'MsgPreVote' : 'MsgVote';
  if (type === 'vote-ack') return pre ? 'MsgPreVoteResp' : 'MsgVoteResp';
  return typeNames[type];
}

export function nameOf(m: Message): string {
  return typeName(m.type, (m.type === 'vote' || m.type === 'vote-ack') && m.pre);
}

export function hex(id: number): string {
  return id.toString(16);
}

function targetName(target: Target): string {
  return typeof target === 'number' ? hex(target) : target;
}

export function describeConf(conf: ConfState): string {
  const { voters, outgoing, learners, learnersNext, autoLeave } = conf;
  const parts = [`voters=(${voters.join(' ')})${isJoint(conf) ? `&&(${outgoing.join(' ')})` : ''}`];
  if (learners.length > 0) parts.push(`learners=(${learners.join(' ')})`);
  if (learnersNext.length > 0) parts.push(`learners_next=(${learnersNext.join(' ')})`);
  if (autoLeave) parts.push('autoleave');
  return parts.join(' ');
}

export function describeEntry(entry: Entry): string {
  const id = `${String(entry.term)}/${String(entry.index)}`;
  if (entry.kind === EntryKind.Normal) {
    return `${id} EntryNormal ${JSON.stringify(new TextDecoder().decode(entry.data))}`;
  }
  const change = decodeConfChange(entry.data);
  const ops = change.ops.map(({ op, id: node }) => ` ${letters[op]}${String(node)}`).join('');
  return `${id} ${change.context ? 'EntryConfChange' : 'EntryConfChangeV2'}${ops}`;
}

export function describeSnapshot({ index, term, conf }: Pick<SnapshotMeta, 'index' | 'term' | 'conf'>): string {
  const list = (ids: readonly NodeId[]): string => `[${ids.join(' ')}]`;
  const { voters, outgoing, learners, learnersNext, autoLeave } = conf;
  return (
    `Index:${String(index)} Term:${String(term)} ConfState:Voters:${list(voters)} VotersOutgoing:${list(outgoing)} ` +
    `Learners:${list(learners)} LearnersNext:${list(learnersNext)} AutoLeave:${String(autoLeave)}`
  );
}

/** The one wide record that all messages of the transcripts share. */
export interface Wire {
  readonly from: Target;
  readonly to: Target;
  readonly name: string;
  readonly term: number;
  readonly log?: { readonly term: number; readonly index: number };
  readonly rejected?: { readonly hint: number };
  readonly commit?: number;
  readonly vote?: number;
  readonly entries?: readonly Entry[];
  readonly snapshot?: SnapshotMeta | undefined;
  readonly responses?: readonly string[];
}

export function indented(text: string): string {
  return text.replace(/^/gm, '  ');
}

export function describeWire(w: Wire): string {
  const log = w.log ?? { term: 0, index: 0 };
  let text =
    `${targetName(w.from)}->${targetName(w.to)} ${w.name} Term:${String(w.term)} ` +
    `Log:${String(log.term)}/${String(log.index)}`;
  if (w.rejected) text += ` Rejected (Hint: ${String(w.rejected.hint)})`;
  if (w.commit) text += ` Commit:${String(w.commit)}`;
  if (w.vote) text += ` Vote:${String(w.vote)}`;
  const entries = (w.entries ?? []).map(describeEntry);
  if (entries.length === 1) text += ` Entries:[${entries.join()}]`;
  else if (entries.length > 1) text += ` Entries:[\n${indented(entries.join('\n'))}\n]`;
  if (w.snapshot) text += `\n  Snapshot: ${describeSnapshot(w.snapshot)}`;
  if (w.responses && w.responses.length > 0) text += ` Responses:[\n${indented(w.responses.join('\n'))}\n]`;
  return text;
}

export function describeMessage(m: Message): string {
  const head = { from: m.from, to: m.to, name: nameOf(m), term: m.term };
  switch (m.type) {
    case 'append':
      return describeWire({ ...head, log: m.prev, entries: m.entries, commit: m.commit });
    case 'append-ack': {
      const { match, reject } = m;
      if (!reject) return describeWire({ ...head, log: { term: 0, index: match ?? 0 } });
      const log = { term: reject.hint.term, index: reject.prev };
      return describeWire({ ...head, log, rejected: { hint: reject.hint.index } });
    }
    case 'vote':
      return describeWire({ ...head, log: m.last });
    case 'vote-ack':
      return describeWire({ ...head, ...(!m.granted && { rejected: { hint: 0 } }) });
    case 'heartbeat':
      return describeWire({ ...head, commit: m.commit });
    case 'snapshot':
      return describeWire({ ...head, snapshot: m.snapshot });
    case 'forward':
      // A proposal has neither term nor index yet.
      return describeWire({
        ...head,
        term: 0,
        entries: m.payloads.map((data) => ({ term: 0, index: 0, kind: m.kind, data })),
      });
    default:
      return describeWire(head);
  }
}

export function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${String(term)}${vote === 0 ? '' : ` Vote:${String(vote)}`} Commit:${String(commit)}`;
}

export function describeProgress(peer: PeerProgress, window: number): string {
  let text = `${progressNames[peer.state]} match=${String(peer.match)} next=${String(peer.next)}`;
  if (peer.learner) text += ' learner';
  if (peer.paused) text += ' paused';
  if (peer.pendingSnapshot > 0) text += ` pendingSnap=${String(peer.pendingSnapshot)}`;
  if (!peer.recentlyActive) text += ' inactive';
  if (peer.inflight > 0) text += ` inflight=${String(peer.inflight)}${peer.inflight >= window ? '[full]' : ''}`;
  return text;
}

export interface ReadyView {
  readonly soft?: { readonly lead: NodeId | 0; readonly role: Role };
  readonly hardState?: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot?: SnapshotMeta | undefined;
  readonly committed: readonly Entry[];
  readonly messages: readonly string[];
  readonly mustSync: boolean;
}

export function describeReady(ready: ReadyView): string {
  const lines: string[] = [];
  if (ready.soft) lines.push(`Lead:${String(ready.soft.lead)} State:${stateName(ready.soft.role)}`);
  if (ready.hardState) lines.push(`HardState ${describeHardState(ready.hardState)}`);
  if (ready.entries.length > 0) lines.push('Entries:', ...ready.entries.map(describeEntry));
  if (ready.snapshot) lines.push(`Snapshot ${describeSnapshot(ready.snapshot)}`);
  if (ready.committed.length > 0) lines.push('CommittedEntries:', ...ready.committed.map(describeEntry));
  if (ready.messages.length > 0) lines.push('Messages:', ...ready.messages);
  if (lines.length === 0) return '<empty Ready>';
  return `Ready MustSync=${String(ready.mustSync)}:\n${lines.join('\n')}\n`;
}
