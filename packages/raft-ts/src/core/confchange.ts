/**
 * Membership arithmetic: pure functions from a configuration and a change to the next configuration [thesis §4]. A
 * configuration is in force from the moment its entry is applied.
 */
import { RaftFault } from './errors.ts';
import type { ConfChange, ConfOp, ConfState, NodeId } from './types.ts';

/** Nobody: what a node begins with that joins later. */
export const emptyConf: ConfState = { voters: [], outgoing: [], learners: [], learnersNext: [], autoLeave: false };

/** The next configuration, or why there is none. */
export type ConfResult = { readonly ok: true; readonly conf: ConfState } | { readonly ok: false; readonly why: string };

function sorted(ids: Iterable<NodeId>): NodeId[] {
  return [...new Set(ids)].sort((a, b) => a - b);
}

/** Ids ascending and each once, so that equal configurations look equal. */
export function normalConf(conf: ConfState): ConfState {
  return {
    voters: sorted(conf.voters),
    outgoing: sorted(conf.outgoing),
    learners: sorted(conf.learners),
    learnersNext: sorted(conf.learnersNext),
    autoLeave: conf.autoLeave,
  };
}

/** Two majorities are needed, one of the old voters and one of the new [thesis §4.3]. */
export function isJoint(conf: ConfState): boolean {
  return conf.outgoing.length > 0;
}

/** Everyone the leader replicates to. */
export function members(conf: ConfState): NodeId[] {
  return sorted([...conf.voters, ...conf.outgoing, ...conf.learners, ...conf.learnersNext]);
}

/** What is wrong with a configuration; undefined when it is sound. */
export function checkConf(conf: ConfState): string | undefined {
  const voting = new Set([...conf.voters, ...conf.outgoing]);
  if (conf.learners.some((id) => voting.has(id))) return 'a learner is also a voter';
  const outgoing = new Set(conf.outgoing);
  const learners = new Set(conf.learners);
  if (conf.learnersNext.some((id) => !outgoing.has(id))) return 'a future learner is not an outgoing voter';
  if (conf.learnersNext.some((id) => learners.has(id))) return 'a future learner is a learner already';
  if (conf.voters.length === 0 && isJoint(conf)) return 'removed all voters';
  if (!isJoint(conf) && conf.learnersNext.length > 0) return 'future learners outside a joint config';
  if (!isJoint(conf) && conf.autoLeave) return 'autoLeave outside a joint config';
  return undefined;
}

interface Draft {
  readonly voters: Set<NodeId>;
  readonly outgoing: ReadonlySet<NodeId>;
  readonly learners: Set<NodeId>;
  readonly learnersNext: Set<NodeId>;
}

function draftOf(conf: ConfState, outgoing: readonly NodeId[]): Draft {
  return {
    voters: new Set(conf.voters),
    outgoing: new Set(outgoing),
    learners: new Set(conf.learners),
    learnersNext: new Set(conf.learnersNext),
  };
}

function applyOp(draft: Draft, { op, id }: ConfOp): void {
  if (id === 0 || op === 'update') return;
  if (op === 'learner' && draft.learners.has(id)) return;
  draft.voters.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  if (op === 'voter') draft.voters.add(id);
  // An outgoing voter may not be a learner at the same time, so it becomes one when the joint configuration is left.
  if (op === 'learner') (draft.outgoing.has(id) ? draft.learnersNext : draft.learners).add(id);
}

function finish(draft: Draft, autoLeave: boolean): ConfResult {
  if (draft.voters.size === 0) return { ok: false, why: 'removed all voters' };
  const conf = normalConf({
    voters: [...draft.voters],
    outgoing: [...draft.outgoing],
    learners: [...draft.learners],
    learnersNext: [...draft.learnersNext],
    autoLeave,
  });
  const why = checkConf(conf);
  return why === undefined ? { ok: true, conf } : { ok: false, why };
}

/** At most one voter may come or go: then old and new majorities overlap. */
export function simpleChange(conf: ConfState, ops: readonly ConfOp[]): ConfResult {
  if (isJoint(conf)) return { ok: false, why: "can't apply simple config change in joint config" };
  const draft = draftOf(conf, []);
  for (const op of ops) applyOp(draft, op);
  const result = finish(draft, false);
  if (!result.ok) return result;
  const before = new Set(conf.voters);
  const changed = [...draft.voters].filter((id) => !before.has(id)).length;
  const gone = conf.voters.filter((id) => !draft.voters.has(id)).length;
  if (changed + gone > 1) return { ok: false, why: 'more than one voter changed without entering joint config' };
  return result;
}

/** The first half of a change of several voters: both voter sets decide from here on [thesis §4.3]. */
export function enterJoint(conf: ConfState, ops: readonly ConfOp[], autoLeave: boolean): ConfResult {
  if (isJoint(conf)) return { ok: false, why: 'config is already joint' };
  if (conf.voters.length === 0) return { ok: false, why: "can't make a zero-voter config joint" };
  const draft = draftOf(conf, conf.voters);
  for (const op of ops) applyOp(draft, op);
  return finish(draft, autoLeave);
}

/** The second half: the old voters are let go, and those who were to become learners become it. */
export function leaveJoint(conf: ConfState): ConfResult {
  if (!isJoint(conf)) return { ok: false, why: "can't leave a non-joint config" };
  const draft = draftOf(conf, []);
  for (const id of conf.learnersNext) draft.learners.add(id);
  draft.learnersNext.clear();
  return finish(draft, false);
}

/** What `change` makes of `conf`, the same on every node, or why it is refused. */
export function changeConf(conf: ConfState, change: ConfChange): ConfResult {
  if (change.ops.length === 0) return leaveJoint(conf);
  if (change.transition === 'auto' && change.ops.length === 1) return simpleChange(conf, change.ops);
  return enterJoint(conf, change.ops, change.transition !== 'joint-explicit');
}

const codecVersion = 1;
const transitions = ['auto', 'joint-implicit', 'joint-explicit'] as const;
const operations = ['voter', 'learner', 'remove', 'update'] as const;

function putVarint(out: number[], value: number): void {
  let rest = value;
  while (rest >= 128) {
    out.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
}

/** Layout: version, transition, number of ops, (op, id)…, 0 or 1 for a context, context to the end. */
export function encodeConfChange(change: ConfChange): Uint8Array {
  const head: number[] = [codecVersion, transitions.indexOf(change.transition)];
  putVarint(head, change.ops.length);
  for (const { op, id } of change.ops) {
    head.push(operations.indexOf(op));
    putVarint(head, id);
  }
  head.push(change.context ? 1 : 0);
  const bytes = new Uint8Array(head.length + (change.context?.byteLength ?? 0));
  bytes.set(head);
  if (change.context) bytes.set(change.context, head.length);
  return bytes;
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined) throw new RaftFault('Cannot decode configuration change: truncated');
    this.#at += 1;
    return value;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.byte();
      value += (byte % 128) * scale;
      if (byte < 128 && Number.isSafeInteger(value)) return value;
    }
    throw new RaftFault('Cannot decode configuration change: number too large');
  }

  choice<T>(choices: readonly T[]): T {
    const value = choices[this.byte()];
    if (value === undefined) throw new RaftFault('Cannot decode configuration change: unknown code');
    return value;
  }

  rest(): Uint8Array {
    return this.#bytes.slice(this.#at);
  }

  get left(): number {
    return this.#bytes.byteLength - this.#at;
  }
}

/** Throws RaftFault: a committed entry that cannot be read must stop the node. */
export function decodeConfChange(bytes: Uint8Array): ConfChange {
  const reader = new Reader(bytes);
  const version = reader.byte();
  if (version !== codecVersion) {
    throw new RaftFault(`Cannot decode configuration change: version ${String(version)} is not known`);
  }
  const transition = reader.choice(transitions);
  const count = reader.varint();
  if (count > reader.left) throw new RaftFault('Cannot decode configuration change: truncated');
  const ops: ConfOp[] = [];
  for (let i = 0; i < count; i += 1) ops.push({ op: reader.choice(operations), id: reader.varint() });
  if (reader.choice([false, true])) return { transition, ops, context: reader.rest() };
  if (reader.left > 0) throw new RaftFault('Cannot decode configuration change: trailing bytes');
  return { transition, ops };
}

/** For bytes from the network, which may be anything. */
export function tryDecodeConfChange(bytes: Uint8Array): ConfChange | undefined {
  try {
    return decodeConfChange(bytes);
  } catch {
    return undefined;
  }
}
