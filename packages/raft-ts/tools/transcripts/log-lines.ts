/** The log lines that etcd's library writes, made from our trace events. */
import type { ConfChange, ConfState, EntryId, Message, PeerProgress, Role, TraceEvent } from '../../src/core/index.ts';
import { describeConf, describeProgress, hex, typeName } from './describe.ts';

export const levels = ['DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'NONE'] as const;
export type Level = (typeof levels)[number];
export type Line = readonly [Level, string];

/** All that any event tells; each kind sets its own. */
interface Detail {
  readonly why: string;
  readonly obstacle: string | undefined;
  readonly type: Message['type'];
  readonly pre: boolean;
  readonly from: number;
  readonly to: number;
  readonly by: number;
  readonly lead: number;
  readonly leader: number;
  readonly transferee: number;
  readonly role: Role;
  readonly newTerm: number;
  readonly oldTerm: number;
  readonly ownTerm: number;
  readonly last: EntryId;
  readonly own: EntryId;
  readonly prev: EntryId & number;
  readonly hint: EntryId;
  readonly vote: number;
  readonly ticks: number;
  readonly granted: boolean;
  readonly yes: number;
  readonly no: number;
  readonly index: number;
  readonly existing: number;
  readonly conflicting: number;
  readonly whole: boolean;
  readonly snapshotTerm: number;
  readonly commit: number;
  readonly applied: number;
  readonly applying: number;
  readonly offset: number;
  readonly handedOut: number;
  readonly count: number;
  readonly firstIndex: number;
  readonly before: PeerProgress;
  readonly progress: PeerProgress;
  readonly stale: boolean;
  readonly ok: boolean;
  readonly atOnce: boolean;
  readonly conf: ConfState;
  readonly change: ConfChange;
  readonly reason: string;
  readonly known: boolean;
  readonly pending: number;
}

interface Context {
  readonly id: string;
  readonly term: number;
  readonly d: Detail;
  /** Size of the in-flight window. */
  readonly window: number;
}

type Format = (c: Context) => Line | readonly Line[] | undefined;

const n = String;

function info(text: string): Line {
  return ['INFO', text];
}

function debug(text: string): Line {
  return ['DEBUG', text];
}

function at(id: EntryId): string {
  return `[logterm: ${n(id.term)}, index: ${n(id.index)}]`;
}

function snapshotAt(d: Detail): string {
  return `snapshot [index: ${n(d.index)}, term: ${n(d.snapshotTerm)}]`;
}

function voter({ id, d }: Context): string {
  return `${id} [logterm: ${n(d.own.term)}, index: ${n(d.own.index)}, vote: ${hex(d.vote)}]`;
}

const opNames = {
  voter: 'ConfChangeAddNode',
  learner: 'ConfChangeAddLearnerNode',
  remove: 'ConfChangeRemoveNode',
  update: 'ConfChangeUpdateNode',
} as const;

const transitionNames = {
  auto: 'ConfChangeTransitionAuto',
  'joint-implicit': 'ConfChangeTransitionJointImplicit',
  'joint-explicit': 'ConfChangeTransitionJointExplicit',
} as const;

function describeChange(change: ConfChange): string {
  const ops = change.ops.map(({ op, id }) => `type:${opNames[op]} node_id:${n(id)}`);
  if (change.context) return ops.join(' ');
  return [`transition:${transitionNames[change.transition]}`, ...ops.map((op) => `changes:{${op}}`)].join(' ');
}

function whyRefused(d: Detail): string {
  if (d.why === 'pending')
    return `possible unapplied conf change at index ${n(d.pending)} (applied to ${n(d.applied)})`;
  if (d.why === 'joint') return 'must transition out of joint config first';
  return 'not in joint state; refusing empty conf change';
}

function held({ id, term, d }: Context): Line | undefined {
  if (d.obstacle === 'leader') return debug(`${id} ignoring MsgHup because already leader`);
  if (d.obstacle === 'not-promotable') return ['WARN', `${id} is unpromotable and can not campaign`];
  const why = 'since there are still pending configuration changes to apply';
  return ['WARN', `${id} cannot campaign at term ${n(term)} ${why}`];
}

function dropped({ id, term, d }: Context): Line | undefined {
  if (d.reason === 'no-leader') return info(`${id} no leader at term ${n(term)}; dropping proposal`);
  if (d.reason === 'not-leader') {
    return info(`${id} not forwarding to leader ${hex(d.leader)} at term ${n(term)}; dropping proposal`);
  }
  if (d.reason !== 'transferring') return undefined;
  return debug(`${id} [term ${n(term)}] transfer leadership to ${hex(d.transferee)} is in progress; dropping proposal`);
}

const elections: Readonly<Record<string, Format>> = {
  follower: ({ id, term }) => info(`${id} became follower at term ${n(term)}`),
  precandidate: ({ id, term }) => info(`${id} became pre-candidate at term ${n(term)}`),
  candidate: ({ id, term }) => info(`${id} became candidate at term ${n(term)}`),
  leader: ({ id, term }) => info(`${id} became leader at term ${n(term)}`),
  campaign: ({ id, term }) => info(`${id} is starting a new election at term ${n(term)}`),
  'campaign-held': held,
  'vote-request': ({ id, term, d }) =>
    info(`${id} ${at(d.last)} sent ${typeName('vote', d.pre)} request to ${hex(d.to)} at term ${n(term)}`),
  'vote-ignored': (c) =>
    info(
      `${voter(c)} ignored ${typeName('vote', c.d.pre)} from ${hex(c.d.from)} ${at(c.d.last)} at term ${n(c.term)}: ` +
        `lease is not expired (remaining ticks: ${n(c.d.ticks)})`,
    ),
  vote: (c) => {
    const { d, term } = c;
    const verb = d.granted ? `cast ${typeName('vote', d.pre)} for` : `rejected ${typeName('vote', d.pre)} from`;
    return info(`${voter(c)} ${verb} ${hex(d.to)} ${at(d.last)} at term ${n(term)}`);
  },
  'vote-answer': ({ id, term, d }) => {
    const type = typeName('vote-ack', d.pre);
    return [
      info(`${id} received ${type}${d.granted ? '' : ' rejection'} from ${hex(d.by)} at term ${n(term)}`),
      info(`${id} has received ${n(d.yes)} ${type} votes and ${n(d.no)} vote rejections`),
    ];
  },
  'higher-term': ({ id, term, d }) =>
    info(
      `${id} [term: ${n(term)}] received a ${typeName(d.type, d.pre)} message with higher term from ` +
        `${hex(d.from)} [term: ${n(d.newTerm)}]`,
    ),
  stale: ({ id, term, d }) =>
    info(
      `${id} [term: ${n(term)}] ignored a ${typeName(d.type, d.pre)} message with lower term from ` +
        `${hex(d.from)} [term: ${n(d.oldTerm)}]`,
    ),
  'quorum-lost': ({ id }) => ['WARN', `${id} stepped down to follower since quorum is not active`],
  forget: ({ id, term, d }) => info(`${id} forgetting leader ${hex(d.lead)} at term ${n(term)}`),
  'forget-refused': () => ['ERROR', 'ignoring MsgForgetLeader due to ReadOnlyLeaseBased'],
};

const transfers: Readonly<Record<string, Format>> = {
  'told-to-campaign': ({ id, term, d }) => {
    if (d.role === 'follower') {
      return info(
        `${id} [term ${n(term)}] received MsgTimeoutNow from ${hex(d.from)} and starts an election to get leadership.`,
      );
    }
    if (d.role === 'leader') return undefined;
    const state = d.role === 'candidate' ? 'StateCandidate' : 'StatePreCandidate';
    return debug(`${id} [term ${n(term)} state ${state}] ignored MsgTimeoutNow from ${hex(d.from)}`);
  },
  transfer: ({ id, term, d }) => info(`${id} [term ${n(term)}] starts to transfer leadership to ${hex(d.to)}`),
  'transfer-running': ({ id, term, d }) =>
    info(
      `${id} [term ${n(term)}] transfer leadership to ${hex(d.to)} is in progress, ` +
        `ignores request to same node ${hex(d.to)}`,
    ),
  'transfer-replaced': ({ id, term, d }) =>
    info(`${id} [term ${n(term)}] abort previous transferring leadership to ${hex(d.to)}`),
  'timeout-now': ({ id, d }) =>
    info(
      d.atOnce
        ? `${id} sends MsgTimeoutNow to ${hex(d.to)} immediately as ${hex(d.to)} already has up-to-date log`
        : `${id} sent MsgTimeoutNow to ${hex(d.to)} after received MsgAppResp`,
    ),
};

const replication: Readonly<Record<string, Format>> = {
  'proposal-dropped': dropped,
  'append-rejected': ({ id, d }) =>
    debug(
      `${id} [logterm: ${n(d.ownTerm)}, index: ${n(d.prev.index)}] rejected MsgApp ${at(d.prev)} from ${hex(d.from)}`,
    ),
  'ack-ignored': ({ id, d }) => (d.known ? undefined : debug(`${id} no progress available for ${hex(d.from)}`)),
  refused: ({ id, d, window }) => {
    const hint = `(index ${n(d.hint.index)}, term ${n(d.hint.term)})`;
    const got = debug(`${id} received MsgAppResp(rejected, hint: ${hint}) from ${hex(d.by)} for index ${n(d.prev)}`);
    if (d.stale) return got;
    return [got, debug(`${id} decreased progress of ${hex(d.by)} to [${describeProgress(d.progress, window)}]`)];
  },
  conflict: ({ d }) =>
    info(
      `found conflict at index ${n(d.index)} ` +
        `[existing term: ${n(d.existing)}, conflicting term: ${n(d.conflicting)}]`,
    ),
  cut: ({ d }) =>
    info(
      d.whole
        ? `replace the unstable entries from index ${n(d.index)}`
        : `truncate the unstable entries before index ${n(d.index)}`,
    ),
  'attest-missing': ({ d }) => info(`entry at index ${n(d.index)} missing from unstable log; ignoring`),
  'attest-snapshot': ({ d }) => info(`entry at index ${n(d.index)} matched unstable snapshot; ignoring`),
  'attest-mismatch': ({ d }) =>
    info(
      `entry at (index,term)=(${n(d.last.index)},${n(d.last.term)}) mismatched with entry at ` +
        `(${n(d.own.index)},${n(d.own.term)}) in unstable log; ignoring`,
    ),
  'attest-stale': ({ id, term, d }) =>
    info(
      `${id} [term: ${n(term)}] ignored entry appends from a MsgStorageAppendResp message with lower term ` +
        `[term: ${n(d.oldTerm)}]`,
    ),
  unreachable: ({ id, d, window }) => {
    const progress = describeProgress(d.progress, window);
    return debug(`${id} failed to send message to ${hex(d.to)} because it is unreachable [${progress}]`);
  },
};

const snapshots: Readonly<Record<string, Format>> = {
  'snapshot-inactive': ({ d }) => debug(`ignore sending snapshot to ${hex(d.to)} since it is not recently active`),
  'snapshot-not-ready': ({ id, d }) =>
    debug(`${id} failed to send snapshot to ${hex(d.to)} because snapshot is temporarily unavailable`),
  snapshot: ({ id, d, window }) => [
    debug(
      `${id} [firstindex: ${n(d.firstIndex)}, commit: ${n(d.commit)}] sent snapshot[index: ${n(d.index)}, ` +
        `term: ${n(d.snapshotTerm)}] to ${hex(d.to)} [${describeProgress(d.before, window)}]`,
    ),
    debug(`${id} paused sending replication messages to ${hex(d.to)} [${describeProgress(d.progress, window)}]`),
  ],
  'snapshot-passed': ({ id, d, window }) =>
    debug(
      `${id} recovered from needing snapshot, resumed sending replication messages to ${hex(d.by)} ` +
        `[${describeProgress(d.progress, window)}]`,
    ),
  'snapshot-report': ({ id, d, window }) =>
    debug(
      `${id} snapshot ${d.ok ? 'succeeded' : 'failed'}, resumed sending replication messages to ${hex(d.to)} ` +
        `[${describeProgress(d.progress, window)}]`,
    ),
  'snapshot-ignored': ({ id, d }) => info(`${id} [commit: ${n(d.commit)}] ignored ${snapshotAt(d)}`),
  'fast-forward': ({ id, d }) =>
    info(
      `${id} [commit: ${n(d.commit)}, lastindex: ${n(d.own.index)}, lastterm: ${n(d.own.term)}] ` +
        `fast-forwarded commit to ${snapshotAt(d)}`,
    ),
  restoring: ({ d }) =>
    info(
      `log [committed=${n(d.commit)}, applied=${n(d.applied)}, applying=${n(d.applying)}, ` +
        `unstable.offset=${n(d.offset)}, unstable.offsetInProgress=${n(d.handedOut)}, ` +
        `len(unstable.Entries)=${n(d.count)}] starts to restore ${snapshotAt(d)}`,
    ),
  restored: ({ id, d }) => [
    info(
      `${id} [commit: ${n(d.commit)}, lastindex: ${n(d.own.index)}, lastterm: ${n(d.own.term)}] ` +
        `restored ${snapshotAt(d)}`,
    ),
    info(`${id} [commit: ${n(d.commit)}] restored ${snapshotAt(d)}`),
  ],
};

const membership: Readonly<Record<string, Format>> = {
  conf: ({ id, d }) => info(`${id} switched to configuration ${describeConf(d.conf)}`),
  'conf-refused': ({ id, d }) =>
    info(`${id} ignoring conf change ${describeChange(d.change)} at config ${describeConf(d.conf)}: ${whyRefused(d)}`),
  'auto-leave-held': (c) => {
    const conf = describeConf(c.d.conf);
    const held = debug(`not initiating automatic transition out of joint configuration ${conf}: raft proposal dropped`);
    const why = dropped(c);
    return why ? [why, held] : held;
  },
  'auto-leave': ({ d }) => info(`initiating automatic transition out of joint configuration ${describeConf(d.conf)}`),
};

const formats: Readonly<Record<string, Format>> = {
  ...elections,
  ...transfers,
  ...replication,
  ...snapshots,
  ...membership,
};

/** No lines for events that etcd's library passes over in silence. */
export function logLines(event: TraceEvent, window: number): readonly Line[] {
  // The kind says which details are there; both ends are tested together by the transcripts.
  const d = event.detail as unknown as Detail;
  const lines = formats[event.kind]?.({ id: hex(event.node), term: event.term, d, window });
  if (lines === undefined) return [];
  return typeof lines[0] === 'string' ? [lines as Line] : (lines as readonly Line[]);
}
