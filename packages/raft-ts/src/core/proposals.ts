/** What enters the log: payloads and membership changes, and the limits on both. */
import { changeConf, encodeConfChange, isJoint, tryDecodeConfChange } from './confchange.ts';
import { broadcast } from './replication.ts';
import { holdOwnAck } from './roles.ts';
import type { CoreState } from './state.ts';
import type { ConfChange, DropReason, Entry, EntryId, Forward, Proposed } from './types.ts';
import { EntryKind } from './types.ts';

export function propose(s: CoreState, payloads: readonly Uint8Array[], kind: EntryKind = EntryKind.Normal): Proposed {
  const refusal = barred(s) ?? overLimit(s, payloads);
  if (refusal !== undefined) return drop(s, refusal, { kind, payloads });
  return { ok: true, at: append(s, payloads, kind) };
}

export function proposeConfChange(s: CoreState, change: ConfChange): Proposed {
  const closed = barred(s);
  if (closed !== undefined) return drop(s, closed, { kind: EntryKind.Config, payloads: [encodeConfChange(change)] });
  const refusal = confBarred(s, change);
  if (refusal === undefined) return appendConfChange(s, change);
  if (s.tracing) s.trace('conf-refused', { ...refusal, change, conf: s.tracker.conf });
  if (s.compat) return propose(s, [new Uint8Array(0)]);
  return { ok: false, reason: refusal.reason, leader: s.lead };
}

/** Without a look at what is in force; whether the change makes sense is decided again when it is applied. */
export function appendConfChange(s: CoreState, change: ConfChange): Proposed {
  const proposed = propose(s, [encodeConfChange(change)], EntryKind.Config);
  if (proposed.ok) s.pendingConfIndex = proposed.at.index;
  return proposed;
}

/** The joint phase ends by itself once the entry that began it is applied; tried again until it works [thesis §4.3]. */
export function maybeAutoLeave(s: CoreState): void {
  if (s.role !== 'leader' || !s.tracker.conf.autoLeave) return;
  if (s.log.applied < s.pendingConfIndex || s.confIndex > s.log.applied) return;
  const obstacle = barred(s);
  if (obstacle !== undefined) {
    if (s.tracing) s.trace('auto-leave-held', { reason: obstacle, transferee: s.transferee, conf: s.tracker.conf });
    return;
  }
  // Not subject to the byte limit: the joint phase must end even when clients have filled it.
  const leave: ConfChange = { transition: 'auto', ops: [] };
  s.pendingConfIndex = append(s, [encodeConfChange(leave)], EntryKind.Config).index;
  if (s.tracing) s.trace('auto-leave', { index: s.pendingConfIndex, conf: s.tracker.conf });
}

export function onForward(s: CoreState, m: Forward): void {
  if (s.role !== 'leader' || s.tracker.get(m.from) === undefined) {
    if (s.tracing) s.trace('proposal-dropped', { reason: 'not-leader', from: m.from });
    return;
  }
  // A configuration change that somebody else has judged must be judged anew, by what is in force here.
  if (m.kind === EntryKind.Config) onForwardedConf(s, m);
  else propose(s, m.payloads);
}

function onForwardedConf(s: CoreState, m: Forward): void {
  for (const payload of m.payloads) {
    const change = tryDecodeConfChange(payload);
    if (change !== undefined) proposeConfChange(s, change);
    else if (s.tracing) s.trace('proposal-dropped', { reason: 'conf-invalid', from: m.from });
  }
}

type Proposal = Pick<Forward, 'kind' | 'payloads'>;

function drop(s: CoreState, reason: DropReason, what: Proposal): Proposed {
  if (reason === 'not-leader' && s.config.forwardProposals === true) {
    s.send({ type: 'forward', ...s.head(s.lead), kind: what.kind, payloads: what.payloads });
    return { ok: false, reason, leader: s.lead, forwarded: true };
  }
  if (s.tracing) s.trace('proposal-dropped', { reason, leader: s.lead, transferee: s.transferee });
  return { ok: false, reason, leader: s.lead };
}

function barred(s: CoreState): DropReason | undefined {
  if (s.role !== 'leader') return s.lead === 0 ? 'no-leader' : 'not-leader';
  if (s.tracker.get(s.id) === undefined) return 'not-member';
  if (s.transferee !== 0) return 'transferring';
  return undefined;
}

/** An empty tail takes any size, so that a large entry is not refused for ever. */
function overLimit(s: CoreState, payloads: readonly Uint8Array[]): DropReason | undefined {
  let bytes = 0;
  for (const payload of payloads) bytes += payload.byteLength;
  if (bytes === 0 || s.uncommittedBytes === 0) return undefined;
  return s.uncommittedBytes + bytes > s.config.limits.maxUncommittedBytes ? 'too-much-uncommitted' : undefined;
}

interface ConfRefusal {
  readonly reason: DropReason;
  readonly why: 'pending' | 'joint' | 'not-joint' | 'invalid';
  readonly pending: number;
  readonly applied: number;
}

function confBarred(s: CoreState, change: ConfChange): ConfRefusal | undefined {
  const { pendingConfIndex: pending } = s;
  const { applied } = s.log;
  const leave = change.ops.length === 0;
  const joint = isJoint(s.tracker.conf);
  if (pending > applied) return { reason: 'conf-pending', why: 'pending', pending, applied };
  if (joint && !leave) return { reason: 'conf-invalid', why: 'joint', pending, applied };
  if (!joint && leave) return { reason: 'conf-invalid', why: 'not-joint', pending, applied };
  if (s.compat) return undefined;
  const idsValid = change.ops.every(({ id }) => Number.isSafeInteger(id) && id >= 1);
  if (idsValid && changeConf(s.tracker.conf, change).ok) return undefined;
  return { reason: 'conf-invalid', why: 'invalid', pending, applied };
}

function append(s: CoreState, payloads: readonly Uint8Array[], kind: EntryKind): EntryId {
  const first = s.log.lastIndex + 1;
  const entries: Entry[] = [];
  for (const data of payloads) {
    entries.push({ term: s.term, index: first + entries.length, kind, data });
    s.uncommittedBytes += data.byteLength;
  }
  s.log.append(entries);
  if (s.compat) holdOwnAck(s, s.log.lastIndex);
  broadcast(s);
  return { term: s.term, index: first };
}
