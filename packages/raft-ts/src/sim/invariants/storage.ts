/** Invariants on what is applied, kept in snapshots and found after a restart. */
import type { Entry, Index, SnapshotMeta } from '../../core/types.ts';
import type { OpenedLog } from '../../ports.ts';
import { LogView, prefixHash } from '../log-view.ts';
import type { Observed, Watch } from './ledger.ts';
import { oneUnknownConf } from './state.ts';

/** 5. All nodes apply the same entries at the same indexes, without gap or repetition. */
export function applySafety(w: Watch, o: Observed, entry: Entry): void {
  const { ledger } = w;
  for (let index = o.machineIndex + 1; index < entry.index; index++) {
    const skipped = ledger.entryAt(index);
    const forMachine = skipped !== undefined && !skipped.config && !skipped.empty;
    if (forMachine) w.violate(5, `node ${o.id} applied ${entry.index} and left out ${index}`);
  }
  if (entry.index <= o.machineIndex) w.violate(5, `node ${o.id} applied ${entry.index} after ${o.machineIndex}`);
  // What is applied in the very step in which it is committed is compared with the ledger right after it.
  w.afterStep(() => {
    const before = ledger.hashAt(entry.index - 1);
    if (before === undefined || prefixHash(before, entry) !== ledger.hashAt(entry.index)) {
      w.violate(5, `node ${o.id} applied another entry ${entry.index} than others`);
    }
  });
  // Whatever is applied is on this node's disk, or a restart would find the state ahead of the log.
  const { durable } = o.disk.inspector;
  if (durable.snapshotIndex < entry.index && durable.hashAt(entry.index) !== o.view.hashAt(entry.index)) {
    w.violate(9, `node ${o.id} applied ${entry.index} before it is durable there`);
  }
  o.machineIndex = entry.index;
  ledger.applied = Math.max(ledger.applied, entry.index);
}

/** 5. The same index gives the same state. */
export function sameState(w: Watch, o: Observed, at: { readonly index: Index; readonly content: number }): void {
  const known = w.ledger.contents.get(at.index);
  if (known === undefined) w.ledger.contents.set(at.index, at.content);
  else if (known !== at.content) w.violate(5, `the state of node ${o.id} behind ${at.index} differs from others'`);
}

function contentAt(w: Watch, index: Index): number | undefined {
  for (let at = index; at >= 1; at--) {
    const content = w.ledger.contents.get(at);
    if (content !== undefined) return content;
    const seen = w.ledger.entryAt(at);
    if (seen !== undefined && !seen.config && !seen.empty) return undefined;
  }
  return undefined;
}

/** 15. A snapshot equals the log replayed up to it, and so does its configuration. */
export function snapshotIsReplay(
  w: Watch,
  o: Observed,
  taken: { readonly meta: SnapshotMeta; readonly content: number },
): void {
  const { meta, content } = taken;
  const expected = contentAt(w, meta.index);
  if (expected !== undefined && expected !== content) {
    w.violate(15, `the snapshot at ${meta.index} on node ${o.id} differs from the log replayed up to it`);
  }
  const { text } = w.ledger.confAt(meta.index);
  if (JSON.stringify(meta.conf) !== text) {
    w.violate(
      15,
      `the snapshot at ${meta.index} on node ${o.id} holds ${JSON.stringify(meta.conf)} instead of ${text}`,
    );
  }
}

/** 16 and 6. A restart finds all that was durable, and nothing that was never written; no promise is forgotten. */
export function restartFinds(
  w: Watch,
  o: Observed,
  found: { readonly opened: OpenedLog; readonly powerLost: boolean },
): LogView {
  const view = LogView.of(found.opened, (index) => w.ledger.hashAt(index) ?? 0);
  const { inspector } = o.disk;
  const durable = inspector.durable.print();
  if (!inspector.recovered(view, found.powerLost)) {
    w.violate(16, `node ${o.id} recovers ${view.print()}; durable is ${durable}`);
  }
  if (view.hardState.term < o.promisedTerm) {
    w.violate(6, `node ${o.id} comes back in term ${view.hardState.term} and had spoken in term ${o.promisedTerm}`);
  }
  const vote = w.ledger.votes.get(`${o.id}@${view.hardState.term}`);
  if (vote !== undefined && view.hardState.vote !== vote) {
    w.violate(6, `node ${o.id} forgot its vote for ${vote} in term ${view.hardState.term}`);
  }
  // 10b for the disk: who holds a configuration entry knows that the one before is committed.
  oneUnknownConf(w, `disk of node ${o.id}`, { view, commit: view.hardState.commit });
  return view;
}

/** 16. Opening twice gives twice the same. */
export function reopenFindsSame(w: Watch, o: Observed, first: OpenedLog, second: OpenedLog): void {
  const hashOf = (index: Index): number => w.ledger.hashAt(index) ?? 0;
  const [before, after] = [LogView.of(first, hashOf).print(), LogView.of(second, hashOf).print()];
  if (before !== after) w.violate(16, `node ${o.id} opened its log twice: ${before}, then ${after}`);
}
