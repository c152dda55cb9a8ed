/** Cheap self-checks, for tests after every step and for production now and then. */
import { checkConf, members } from './confchange.ts';
import type { Progress } from './progress.ts';
import type { CoreState } from './state.ts';

export function invariants(s: CoreState): readonly string[] {
  const broken: string[] = [];
  const expect = (ok: boolean, what: string): void => {
    if (!ok) broken.push(what);
  };
  const { log } = s;
  expect(log.applied <= log.applying, 'applied runs ahead of applying');
  expect(log.applying <= log.commit, 'applying runs ahead of commit');
  expect(log.commit <= log.lastIndex, 'commit runs ahead of the log');
  expect(log.firstIndex <= log.commit + 1, 'uncommitted entries were compacted');
  expect(log.last().term <= s.term, 'the log is ahead of the term');
  expect((s.role === 'leader') === (s.lead === s.id), 'leader and role disagree');
  expect(s.role !== 'candidate' || s.vote === s.id, 'a candidate has not voted for itself');
  expect(s.transferee === 0 || s.role === 'leader', 'a transfer without a leader');
  expect(s.savedHardState.term <= s.term, 'the saved term is ahead of the term');
  expect(s.reads.size <= s.config.limits.maxPendingReads, 'too many pending reads');
  const conf = checkConf(s.tracker.conf);
  if (conf !== undefined) broken.push(conf);
  expect(
    members(s.tracker.conf).every((id) => s.tracker.get(id)),
    'a member has no progress',
  );
  if (s.role === 'leader') for (const peer of s.tracker.progress) broken.push(...progressFaults(s, peer));
  return broken;
}

function progressFaults(s: CoreState, peer: Progress): string[] {
  const broken: string[] = [];
  const { maxInflightMessages } = s.config.limits;
  if (peer.match >= peer.next) broken.push(`match ${String(peer.match)} of ${String(peer.id)} reaches next`);
  if (peer.match > s.log.lastIndex) broken.push(`match of ${String(peer.id)} is beyond the log`);
  if (peer.inflights.count > maxInflightMessages) broken.push(`window of ${String(peer.id)} overflows`);
  if (peer.state !== 'replicate' && peer.inflights.count > 0) broken.push(`window of ${String(peer.id)} is not empty`);
  return broken;
}
