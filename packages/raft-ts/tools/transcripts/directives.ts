/** The directives of transcripts. */
import type { ConfChange, ConfOp, ConfState } from '../../src/core/index.ts';
import { appendConfChange } from '../../src/core/proposals.ts';
import { describeEntry, hex, typeName, v1Mark } from './describe.ts';
import type { Recipient } from './environment.ts';
import { DirectiveError, Environment } from './environment.ts';
import type { NodeOptions, Parcel, TranscriptNode } from './node.ts';
import { electionTicks, heartbeatTicks, proposalDropped } from './node.ts';
import type { Arg, Directive } from './script.ts';
import { parseLine } from './script.ts';

type Handler = (env: Environment, args: readonly Arg[], input: readonly string[]) => void;

function toNumber(text: string | undefined): number {
  const value = Number(text);
  if (text === undefined || text === '' || !Number.isSafeInteger(value) || value < 0) {
    throw new DirectiveError(`not a number: ${String(text)}`);
  }
  return value;
}

function toBoolean(text: string | undefined): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new DirectiveError(`strconv.ParseBool: parsing "${String(text)}": invalid syntax`);
}

/** Arguments without a value are node numbers. */
function idsIn(args: readonly Arg[]): number[] {
  return args.filter(({ values }) => values.length === 0).map(({ key }) => toNumber(key));
}

function valuesOf(args: readonly Arg[], key: string): readonly string[] {
  return args.find((arg) => arg.key === key)?.values ?? [];
}

function firstNode(env: Environment, args: readonly Arg[]): TranscriptNode {
  return env.node(toNumber(args[0]?.key));
}

function each(env: Environment, args: readonly Arg[], title: string, act: (node: TranscriptNode) => void): void {
  const ids = idsIn(args);
  for (const id of ids) {
    const node = env.node(id);
    if (ids.length === 1) {
      act(node);
      continue;
    }
    env.write(`> ${String(id)} ${title}\n`);
    env.indent(() => act(node));
  }
}

const nodesMax = 1000;

/** What `add-nodes` may be told. */
const nodeSettings: ReadonlySet<string> = new Set([
  ...['voters', 'learners', 'index', 'content', 'inflight', 'max-committed-size-per-ready', 'read-only'],
  ...['async-storage-writes', 'prevote', 'checkquorum', 'step-down-on-removal', 'disable-conf-change-validation'],
]);

function addNodes(env: Environment, args: readonly Arg[]): void {
  const unknown = args.slice(1).find(({ key }) => !nodeSettings.has(key));
  if (unknown) throw new Error(`unknown setting ${JSON.stringify(unknown.key)}`);
  const count = toNumber(args[0]?.key);
  if (env.nodes.length + count > nodesMax) throw new Error(`more than ${String(nodesMax)} nodes`);
  const numbers = (key: string): number[] => valuesOf(args, key).map(toNumber);
  const flag = (key: string): boolean => valuesOf(args, key).some(toBoolean);
  const [index = 0] = numbers('index');
  const [window = 2 ** 31 - 1] = numbers('inflight');
  const [maxApplyBytes = Number.MAX_SAFE_INTEGER] = numbers('max-committed-size-per-ready');
  const conf: ConfState = {
    voters: numbers('voters'),
    outgoing: [],
    learners: numbers('learners'),
    learnersNext: [],
    autoLeave: false,
  };
  const bootstrapped =
    valuesOf(args, 'content').length > 0 || index > 0 || conf.voters.length > 0 || conf.learners.length > 0;
  if (bootstrapped && index <= 1) throw new DirectiveError('index must be specified as > 1 due to bootstrap');
  const [reads] = valuesOf(args, 'read-only');
  if (reads !== undefined && reads !== 'safe' && reads !== 'lease-based') {
    throw new DirectiveError(`invalid read-only option "${reads}"`);
  }
  const options: Omit<NodeOptions, 'id' | 'trace'> = {
    snapshot: bootstrapped ? { index, term: 1, conf, id: '' } : undefined,
    async: flag('async-storage-writes'),
    preVote: flag('prevote'),
    checkQuorum: flag('checkquorum'),
    leaseReads: reads === 'lease-based',
    stepDownOnRemoval: flag('step-down-on-removal'),
    checkConfChanges: !flag('disable-conf-change-validation'),
    window,
    maxApplyBytes,
  };
  for (let i = 0; i < count; i += 1) env.addNode(options);
}

const ops: Readonly<Record<string, ConfOp['op']>> = { v: 'voter', l: 'learner', r: 'remove', u: 'update' };

function parseOps(input: readonly string[]): ConfOp[] {
  const words = input.join(' ').split(/\s+/);
  return words.filter(Boolean).map((word) => {
    if (word.length < 2) throw new DirectiveError(`unknown token ${word}`);
    const op = ops[word.charAt(0)];
    if (op === undefined) throw new DirectiveError(`unknown input: ${word}`);
    return { op, id: toNumber(word.slice(1)) };
  });
}

const transitions: Readonly<Record<string, ConfChange['transition']>> = {
  auto: 'auto',
  implicit: 'joint-implicit',
  explicit: 'joint-explicit',
};

function parseTransition(name: string): ConfChange['transition'] {
  const transition = transitions[name];
  if (transition === undefined) throw new DirectiveError(`unknown transition ${name}`);
  return transition;
}

function proposeConfChange(env: Environment, args: readonly Arg[], input: readonly string[]): void {
  const node = firstNode(env, args);
  const unknown = args.slice(1).find(({ key, values }) => values.length > 0 && key !== 'v1' && key !== 'transition');
  if (unknown) throw new DirectiveError(`unknown command ${unknown.key}`);
  const v1 = valuesOf(args, 'v1').some(toBoolean);
  const [transition = 'auto'] = valuesOf(args, 'transition').map(parseTransition);
  const list = parseOps(input);
  if (v1 && (list.length > 1 || transition !== 'auto')) {
    throw new DirectiveError('v1 conf change can only have one operation and no transition');
  }
  const change: ConfChange = { transition, ops: list, ...(v1 && { context: v1Mark }) };
  const checked = node.options.checkConfChanges || node.state.role !== 'leader';
  const proposed = checked ? node.core.proposeConfChange(change) : appendConfChange(node.state, change);
  if (!proposed.ok && !proposed.forwarded) throw new DirectiveError(proposalDropped);
}

function propose(env: Environment, args: readonly Arg[]): void {
  const proposed = firstNode(env, args).core.propose([new TextEncoder().encode(args[1]?.key ?? '')]);
  if (!proposed.ok && !proposed.forwarded) throw new DirectiveError(proposalDropped);
}

const knownTypes = new Set([
  ...(['append', 'append-ack', 'heartbeat', 'heartbeat-ack', 'snapshot', 'timeout-now', 'forward'] as const).map(
    (type) => typeName(type, false),
  ),
  ...['MsgVote', 'MsgVoteResp', 'MsgPreVote', 'MsgPreVoteResp', 'MsgReadIndex', 'MsgReadIndexResp'],
  ...['MsgStorageAppendResp', 'MsgStorageApplyResp', 'MsgTransferLeader'],
]);

function deliver(env: Environment, args: readonly Arg[]): void {
  const recipients: Recipient[] = [];
  for (const { key, values } of args) {
    if (values.length === 0) recipients.push({ id: toNumber(key), drop: false });
    if (key !== 'drop') continue;
    for (const id of values.map(toNumber)) {
      if (recipients.some((other) => other.id === id)) {
        throw new DirectiveError(`can't both deliver and drop msgs to ${String(id)}`);
      }
      recipients.push({ id, drop: true });
    }
  }
  const [type] = valuesOf(args, 'type');
  if (type !== undefined && !knownTypes.has(type)) throw new DirectiveError(`unknown message type ${type}`);
  if (env.deliver(recipients, type) === 0) env.write('no messages\n');
}

function raftLog(env: Environment, node: TranscriptNode): void {
  const { storage } = node;
  const [first, last] = [storage.firstIndex(), storage.lastIndex()];
  if (last < first) env.write(`log is empty: first index=${String(first)}, last index=${String(last)}`);
  for (const entry of storage.entries) env.write(`${describeEntry(entry)}\n`);
}

function compact(env: Environment, args: readonly Arg[]): void {
  const node = firstNode(env, args);
  const error = node.storage.compact(toNumber(args[1]?.key));
  if (error !== undefined) throw new DirectiveError(error);
  raftLog(env, node);
}

function transfer(env: Environment, args: readonly Arg[]): void {
  const from = env.node(toNumber(valuesOf(args, 'from')[0]));
  transferTo(env, from, toNumber(valuesOf(args, 'to')[0]));
}

/** A follower hands the wish on to its leader. */
function transferTo(env: Environment, from: TranscriptNode, to: number): void {
  const { state, core, id } = from;
  if (state.role === 'leader') {
    const peer = state.tracker.get(to);
    if (!peer) env.log('DEBUG', `${hex(id)} no progress available for ${hex(to)}`);
    else if (peer.learner) env.log('DEBUG', `${hex(id)} is learner. Ignored transferring leadership`);
    else if (to === id) env.log('DEBUG', `${hex(id)} is already leader. Ignored transferring leadership to self`);
    else core.transferLeadership(to);
  } else if (state.lead === 0) {
    if (state.role !== 'follower') return;
    env.log('INFO', `${hex(id)} no leader at term ${String(state.term)}; dropping leader transfer msg`);
  } else {
    const text = `${hex(to)}->${hex(state.lead)} MsgTransferLeader Term:${String(state.term)} Log:0/0`;
    const deliverTo = (node: TranscriptNode): undefined => {
      transferTo(env, node, to);
    };
    const parcel: Parcel = { name: 'MsgTransferLeader', to: state.lead, local: false, text, deliver: deliverTo };
    env.send(parcel);
  }
}

function tick(env: Environment, args: readonly Arg[], times: number): void {
  const { core } = firstNode(env, args);
  for (let i = 0; i < times; i += 1) core.tick();
}

function stabilize(env: Environment, args: readonly Arg[]): void {
  const ids = idsIn(args);
  const nodes = ids.length > 0 ? ids.map((id) => env.node(id)) : env.nodes;
  env.withLevel(valuesOf(args, 'log-level')[0], () => env.stabilize(nodes));
}

function twoNodes(env: Environment, args: readonly Arg[]): readonly [TranscriptNode, number] {
  const [from, to] = idsIn(args);
  if (from === undefined || to === undefined) throw new DirectiveError('two nodes are needed');
  return [env.node(from), to];
}

const handlers: Readonly<Record<string, Handler>> = {
  _breakpoint: () => undefined,
  'add-nodes': addNodes,
  campaign: (env, args) => firstNode(env, args).core.campaign(),
  compact,
  'deliver-msgs': deliver,
  'forget-leader': (env, args) => void firstNode(env, args).core.forgetLeader(),
  'log-level': (env, args) => env.setLevel(args[0]?.key ?? ''),
  'process-append-thread': (env, args) =>
    each(env, args, 'processing append thread', (node) => env.processThread(node, 'append')),
  'process-apply-thread': (env, args) =>
    each(env, args, 'processing apply thread', (node) => env.processThread(node, 'apply')),
  'process-ready': (env, args) => each(env, args, 'handling Ready', (node) => env.processReady(node)),
  propose,
  'propose-conf-change': proposeConfChange,
  'raft-log': (env, args) => raftLog(env, firstNode(env, args)),
  'raft-state': (env) => env.raftState(),
  'report-unreachable': (env, args) => {
    const [node, to] = twoNodes(env, args);
    node.core.peerUnreachable(to);
  },
  'send-snapshot': (env, args) => {
    const [node, to] = twoNodes(env, args);
    env.sendSnapshot(node, to);
  },
  'set-randomized-election-timeout': (env, args) => {
    firstNode(env, args).state.randomTimeout = toNumber(valuesOf(args, 'timeout')[0]);
  },
  stabilize,
  status: (env, args) => env.status(firstNode(env, args)),
  'tick-election': (env, args) => tick(env, args, electionTicks),
  'tick-heartbeat': (env, args) => tick(env, args, heartbeatTicks),
  'transfer-leadership': transfer,
};

export const transcriptDirectives: ReadonlySet<string> = new Set(Object.keys(handlers));

function runOne(env: Environment, name: string, args: readonly Arg[], input: readonly string[]): void {
  const handler = handlers[name];
  if (!handler) throw new DirectiveError('unknown command');
  handler(env, args, input);
}

/** Only a change of membership takes input; elsewhere further lines are further directives. */
function runAll(env: Environment, { name, args, input, line }: Directive): void {
  if (name === 'propose-conf-change') {
    runOne(env, name, args, input);
    return;
  }
  runOne(env, name, args, []);
  for (const text of input) {
    const next = parseLine(text, line);
    if (next.name !== '') runFurther(env, next);
  }
}

function runFurther(env: Environment, { name, args }: Pick<Directive, 'name' | 'args'>): void {
  try {
    runOne(env, name, args, []);
  } catch (error) {
    // Errors show even when nothing else does.
    if (!(error instanceof DirectiveError) || env.quiet) throw error;
    env.write(error.message);
  }
}

export function transcriptOutput(): (directive: Directive) => string {
  const env = new Environment();
  return (directive) => {
    let failure = '';
    try {
      runAll(env, directive);
    } catch (error) {
      if (!(error instanceof DirectiveError)) throw error;
      failure = error.message;
    }
    const output = env.takeOutput() + failure;
    return output === '' ? 'ok' : output;
  };
}
