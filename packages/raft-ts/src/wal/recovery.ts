/**
 * Forced new cluster: when the majority of a cluster is lost for good, one surviving node goes on alone. It keeps the
 * log up to the commit index it is given (RaftNode gives the end of the log, since the index on disk lags), drops the rest,
 * and commits a configuration of itself. Entries that the lost majority had committed and this node never received are
 * lost; every other survivor must be wiped and join anew.
 */
import { changeConf, decodeConfChange, emptyConf, encodeConfChange, isJoint, members } from '../core/confchange.ts';
import type { ConfChange, ConfOp, ConfState, Entry, NodeId } from '../core/types.ts';
import { EntryKind } from '../core/types.ts';
import type { LogBatch, OpenedLog } from '../ports.ts';

/**
 * The batch to append to the log just opened, before anything else is done with it. One batch, so a crash leaves the old
 * log or the new one; for a log whose configuration is `id` alone already, a batch that changes nothing.
 *
 * The new entries are of a term that nobody has voted in here, so they are told apart from what the lost leader may
 * have written at the same places.
 */
export function forceNewCluster(opened: OpenedLog, id: NodeId): { readonly batch: LogBatch } {
  const { hardState, snapshot, entries } = opened;
  if (snapshot === undefined && entries.length === 0) {
    throw new RangeError('Cannot force a new cluster: the log is empty');
  }
  // The commit index is written lazily: a snapshot can be ahead of it.
  const commit = Math.max(hardState.commit, snapshot?.index ?? 0);
  let conf = confAt(opened, commit);
  const changes = changesTo(conf, id);
  if (changes.length === 0) return { batch: { entries: [], sync: true, hardState } };
  const term = hardState.term + 1;
  const added = changes.map((change, at): Entry => {
    const result = changeConf(conf, change);
    if (!result.ok) throw new Error(`Cannot force a new cluster: ${result.why}`);
    conf = result.conf;
    return { term, index: commit + 1 + at, kind: EntryKind.Config, data: encodeConfChange(change) };
  });
  return { batch: { entries: added, sync: true, hardState: { term, vote: id, commit: commit + added.length } } };
}

/** As a node applies it: a committed change that is not valid here changes nothing. */
function confAt({ snapshot, entries }: OpenedLog, commit: number): ConfState {
  let conf = snapshot?.conf ?? emptyConf;
  for (const { index, kind, data } of entries) {
    if (index > commit || kind !== EntryKind.Config) continue;
    const result = changeConf(conf, decodeConfChange(data));
    if (result.ok) conf = result.conf;
  }
  return conf;
}

function changesTo(conf: ConfState, id: NodeId): ConfChange[] {
  const leave: ConfChange = { transition: 'auto', ops: [] };
  if (!isJoint(conf) && conf.voters.length === 1 && conf.voters[0] === id && conf.learners.length === 0) return [];
  const others = members(conf).filter((member) => member !== id);
  const ops: ConfOp[] = [{ op: 'voter', id }, ...others.map((other): ConfOp => ({ op: 'remove', id: other }))];
  if (conf.voters.length === 0) return [{ transition: 'auto', ops: [{ op: 'voter', id }] }];
  const change: ConfChange = { transition: 'joint-explicit', ops };
  return isJoint(conf) ? [leave, change, leave] : [change, leave];
}
