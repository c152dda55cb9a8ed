/** What enters the log: payloads and membership changes, and the limits on both. */
import { changeConf, encodeConfChange } from './confchange.ts';
import type { CoreState } from './state.ts';
import type { ConfChange, DropReason, Entry, Proposed } from './types.ts';
import { EntryKind } from './types.ts';

export function propose(s: CoreState, payloads: readonly Uint8Array[], kind: EntryKind = EntryKind.Normal): Proposed {
  const refusal = barred(s) ?? overLimit(s, payloads);
  if (refusal !== undefined) return { ok: false, reason: refusal, leader: s.lead };
  return { ok: true, at: append(s, payloads, kind) };
}

export function proposeConfChange(s: CoreState, change: ConfChange): Proposed {
  const refusal = barred(s) ?? confBarred(s, change);
  if (refusal !== undefined) {
    s.trace('conf-refused', { reason: refusal });
    return { ok: false, reason: refusal, leader: s.lead };
  }
  const proposed = propose(s, [encodeConfChange(change)], EntryKind.Config);
  if (proposed.ok) s.pendingConfIndex = proposed.at.index;
  return proposed;
}

/** The joint phase ends by itself once the entry that began it is applied; tried again until it works [thesis §4.3]. */
export function maybeAutoLeave(s: CoreState): void {
  if (s.role !== 'leader' || !s.tracker.conf.autoLeave || barred(s) !== undefined) return;
  if (s.log.applied < s.pendingConfIndex || s.confIndex > s.log.applied) return;
  // Not subject to the byte limit: the joint phase must end even when clients have filled it.
  const leave: ConfChange = { transition: 'auto', ops: [] };
  s.pendingConfIndex = append(s, [encodeConfChange(leave)], EntryKind.Config).index;
  s.trace('auto-leave', { index: s.pendingConfIndex });
}

function barred(s: CoreState): DropReason | undefined {
  if (s.role !== 'leader') return s.lead === 0 ? 'no-leader' : 'not-leader';
  if (s.tracker.get(s.id) === undefined) return 'not-member';
  if (s.transferee !== 0) return 'transferring';
  return undefined;
}

/** An empty tail takes any size, so that a large entry is not refused for ever. */
function overLimit(s: CoreState, payloads: readonly Uint8Array[]): DropReason | undefined {
  const bytes = payloads.reduce((sum, payload) => sum + payload.byteLength, 0);
  if (bytes === 0 || s.uncommittedBytes === 0) return undefined;
  return s.uncommittedBytes + bytes > s.config.limits.maxUncommittedBytes ? 'too-much-uncommitted' : undefined;
}

function confBarred(s: CoreState, change: ConfChange): DropReason | undefined {
  if (s.pendingConfIndex > s.log.applied) return 'conf-pending';
  const idsValid = change.ops.every(({ id }) => Number.isSafeInteger(id) && id >= 1);
  return idsValid && changeConf(s.tracker.conf, change).ok ? undefined : 'conf-invalid';
}

function append(s: CoreState, payloads: readonly Uint8Array[], kind: EntryKind): { term: number; index: number } {
  const first = s.log.lastIndex + 1;
  const entries: Entry[] = payloads.map((data, i) => ({ term: s.term, index: first + i, kind, data }));
  s.log.append(entries);
  for (const entry of entries) s.uncommittedBytes += entry.data.byteLength;
  s.flushDue = true;
  return { term: s.term, index: first };
}
