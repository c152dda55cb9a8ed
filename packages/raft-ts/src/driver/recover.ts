/** Brings a node back from its disk: log, newest snapshot, state machine; or founds a new cluster on an empty disk. */
import type { ConfState, HardState, Recovered, SnapshotMeta } from '../core/types.ts';
import type { LogBatch, OpenedLog } from '../ports.ts';
import { forceNewCluster } from '../wal/recovery.ts';
import { MemoryLog } from './memory-log.ts';
import type { Settings } from './options.ts';

export interface RecoveredNode {
  readonly log: MemoryLog;
  readonly from: Recovered;
}

const nobody: ConfState = { voters: [], outgoing: [], learners: [], learnersNext: [], autoLeave: false };

export async function recover<R>(settings: Settings<R>): Promise<RecoveredNode> {
  let opened = await settings.log.open();
  const { bootstrap, keepEntries } = settings;
  if (settings.forceNewCluster) opened = await goOnAlone(settings, opened);
  if (isEmpty(opened) && bootstrap !== undefined) opened = await found(settings, bootstrap);
  else await restoreFrom(settings, opened.snapshot);
  const applied = opened.snapshot?.index ?? 0;
  const last = opened.entries.at(-1)?.index ?? applied;
  // The commit index is written lazily, so a snapshot can be ahead of it; it never runs ahead of the log.
  const commit = Math.max(opened.hardState.commit, applied);
  if (commit > last) throw new Error(`Cannot open log: commit ${String(commit)} lies behind its end ${String(last)}`);
  const hardState: HardState = { ...opened.hardState, commit };
  const from: Recovered = { hardState, conf: opened.snapshot?.conf ?? nobody, applied };
  // One more than is kept: the first one only tells its term.
  const retained = (opened.retained ?? []).slice(-keepEntries - 1);
  return { log: new MemoryLog(opened.snapshot, opened.entries, retained), from };
}

function isEmpty(opened: OpenedLog): boolean {
  return opened.snapshot === undefined && opened.entries.length === 0 && opened.hardState.term === 0;
}

/**
 * All founders start from the same snapshot at index 1 of term 1, as if entry 1 had made the configuration. It is thus
 * on disk before the first vote, and a node that joins later learns it like any other snapshot.
 */
async function found<R>(settings: Settings<R>, conf: ConfState): Promise<OpenedLog> {
  const snapshot = await settings.snapshots.create({ term: 1, index: 1, conf }, settings.machine.snapshot());
  const hardState: HardState = { term: 1, vote: 0, commit: 1 };
  await settings.log.append({ hardState, snapshot, entries: [], sync: true });
  return { hardState, snapshot, entries: [] };
}

/**
 * Durable before the core exists: a crash leaves either the old group or the new one. The whole log counts as committed:
 * the commit index on disk lags, and whoever was told that an entry is committed must find it if it is here at all.
 */
async function goOnAlone<R>(settings: Settings<R>, opened: OpenedLog): Promise<OpenedLog> {
  const commit = opened.entries.at(-1)?.index ?? opened.snapshot?.index ?? 0;
  const { batch } = forceNewCluster({ ...opened, hardState: { ...opened.hardState, commit } }, settings.id);
  await settings.log.append(batch);
  return withBatch(opened, batch);
}

function withBatch(opened: OpenedLog, { hardState, entries }: LogBatch): OpenedLog {
  const first = entries[0]?.index ?? Number.POSITIVE_INFINITY;
  const kept = opened.entries.filter(({ index }) => index < first);
  return { ...opened, hardState: hardState ?? opened.hardState, entries: [...kept, ...entries] };
}

async function restoreFrom<R>(settings: Settings<R>, snapshot: SnapshotMeta | undefined): Promise<void> {
  if (snapshot === undefined) return;
  const { chunks } = await settings.snapshots.open(snapshot.id);
  await settings.machine.restore(snapshot, chunks);
}
