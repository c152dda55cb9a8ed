/**
 * Work for the host's disk and state machine, and its reports. An append task attests the whole unstable log at the term
 * in which it was made; when the term has moved on the attest is void, since a later task may have replaced the very
 * bytes it speaks of (a same index and term can come back), and the task that carries the new term attests anew.
 */
import { onOwnVoteDurable } from './election.ts';
import { must } from './errors.ts';
import { maybeAutoLeave } from './proposals.ts';
import { onOwnDurable, payloadBytes } from './replication.ts';
import type { Attest, CoreState } from './state.ts';
import type { AppendTask, ApplyTask, HardState } from './types.ts';

function sameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}

/** A snapshot replaces the state machine, so it waits until nothing is being applied to it. */
function snapshotMustWait(s: CoreState): boolean {
  return s.log.unstable.waitingSnapshot() !== undefined && s.appliesOut.length > 0;
}

function hasWrites(s: CoreState): boolean {
  const { unstable } = s.log;
  return (
    unstable.hasWaitingEntries() ||
    unstable.waitingSnapshot() !== undefined ||
    !sameHardState(s.hardState, s.savedHardState)
  );
}

export function hasAppend(s: CoreState): boolean {
  return !snapshotMustWait(s) && (s.held.length > 0 || hasWrites(s));
}

export function takeAppend(s: CoreState): AppendTask | undefined {
  if (!hasAppend(s)) return undefined;
  if (!hasWrites(s) && s.appendsOut.length === 0 && !s.compat) {
    // All they depend on is durable already.
    s.outbox.push(...s.held);
    s.held = [];
    return undefined;
  }
  const { unstable } = s.log;
  const entries = unstable.waitingEntries();
  const snapshot = unstable.waitingSnapshot();
  const { hardState, savedHardState } = s;
  const changed = !sameHardState(hardState, savedHardState);
  const voted = hardState.term !== savedHardState.term || hardState.vote !== savedHardState.vote;
  const seq = (s.appendSeq += 1);
  s.appendsOut.push({
    seq,
    term: s.term,
    last: s.log.last(),
    unstable: unstable.count > 0,
    vote: s.vote,
    ...(snapshot && { snapshot }),
  });
  const onDurable = s.held;
  s.held = [];
  s.savedHardState = hardState;
  unstable.handOut();
  const mustSync = entries.length > 0 || snapshot !== undefined || voted;
  return { seq, ...(changed && { hardState }), ...(snapshot && { snapshot }), entries, mustSync, onDurable };
}

export function appended(s: CoreState, task: AppendTask): void {
  const attest = s.appendsOut.shift();
  must(attest?.seq === task.seq, `append task ${String(task.seq)} reported out of order`);
  if (attest.snapshot) {
    s.log.snapshotDurable(attest.snapshot);
    s.appliedConf = attest.snapshot.conf;
    s.appliedConfIndex = attest.snapshot.index;
  }
  if (attest.term !== s.term) {
    if (s.tracing && attest.unstable) s.trace('attest-stale', { oldTerm: attest.term, last: attest.last });
    return;
  }
  if (s.tracing && attest.unstable) traceAttest(s, attest);
  s.log.unstable.stableTo(attest.last);
  if (s.compat) return;
  if (attest.vote === s.id) onOwnVoteDurable(s);
  // As long as the term is the same a leader's log has only grown, so the attest still holds.
  if (s.role === 'leader') onOwnDurable(s, Math.min(attest.last.index, s.log.stableIndex));
}

function traceAttest(s: CoreState, { last }: Attest): void {
  const { unstable } = s.log;
  const term = unstable.term(last.index);
  if (term === undefined) s.trace('attest-missing', { index: last.index });
  else if (last.index < unstable.offset) s.trace('attest-snapshot', { index: last.index });
  else if (term !== last.term) s.trace('attest-mismatch', { last, own: { term, index: last.index } });
}

export function hasApply(s: CoreState): boolean {
  return s.log.applicable > s.log.applying && s.applyBytesOut < s.config.limits.maxApplyBytes;
}

export function takeApply(s: CoreState): ApplyTask | undefined {
  if (!hasApply(s)) return undefined;
  const entries = s.log.takeApplicable(s.config.limits.maxApplyBytes - s.applyBytesOut);
  const bytes = payloadBytes(entries);
  const seq = (s.applySeq += 1);
  s.appliesOut.push({ seq, last: s.log.applying, bytes });
  s.applyBytesOut += bytes;
  return { seq, entries, bytes };
}

export function applied(s: CoreState, task: ApplyTask): void {
  const out = s.appliesOut.shift();
  must(out?.seq === task.seq, `apply task ${String(task.seq)} reported out of order`);
  s.applyBytesOut -= out.bytes;
  s.log.appliedTo(out.last);
  s.uncommittedBytes = Math.max(0, s.uncommittedBytes - out.bytes);
  maybeAutoLeave(s);
}
