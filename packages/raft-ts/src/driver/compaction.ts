/**
 * When to take a snapshot, and how much of the log to keep behind it. While a peer is being sent a snapshot, and until it
 * has caught up afterwards, the entries that it needs next are kept and no newer snapshot is taken: otherwise a slow peer
 * would be sent one snapshot after the other for ever, and a broken-off stream could not be resumed. That patience ends
 * at several times the usual size of the log.
 */
import type { RaftCore } from '../core/raft.ts';
import type { Index, NodeId, PeerProgress, SnapshotMeta } from '../core/types.ts';
import type { Applier } from './applier.ts';
import { storageFault } from './errors.ts';
import type { MemoryLog } from './memory-log.ts';
import type { Settings } from './options.ts';
import type { Snapshotter } from './snapshotter.ts';

/** Nobody is waited for beyond so many times the size at which a snapshot is due. */
const patience = 4;

/** A peer that needs what comes behind `index`. */
interface Hold {
  readonly index: Index;
  /** When it last got on, by our clock. */
  movedMs: number;
  match: Index;
}

export interface CompactionHost<R> {
  readonly core: RaftCore;
  readonly log: MemoryLog;
  readonly applier: Applier<R>;
  readonly snapshotter: Snapshotter<R>;
  readonly isStopped: () => boolean;
  readonly trace: (kind: string, detail: Readonly<Record<string, unknown>>) => void;
  readonly fail: (error: unknown) => void;
}

export class Compaction<R> {
  readonly #settings: Settings<R>;
  readonly #host: CompactionHost<R>;
  readonly #holds = new Map<NodeId, Hold>();
  /** Of those known to the disk, or on their way to it. */
  #newestSnapshot: Index;

  constructor(settings: Settings<R>, host: CompactionHost<R>) {
    this.#settings = settings;
    this.#host = host;
    const snapshot = host.log.snapshot();
    this.#newestSnapshot = snapshot === 'not-ready' ? 0 : snapshot.index;
  }

  /** The leader's snapshot goes to the disk. */
  installing(snapshot: SnapshotMeta): void {
    this.#newestSnapshot = Math.max(this.#newestSnapshot, snapshot.index);
  }

  /** A snapshot is being sent to `to`. */
  sending(to: NodeId, index: Index): void {
    this.#holds.set(to, { index, movedMs: this.#settings.runtime.now(), match: 0 });
  }

  releaseAll(): void {
    this.#holds.clear();
  }

  /** Forgets peers that have caught up, are gone, or do not get on. */
  tick(nowMs: number): void {
    if (this.#holds.size === 0) return;
    const { core, snapshotter } = this.#host;
    const { progress, lastIndex } = core.status();
    for (const [id, hold] of this.#holds) {
      const peer = progress.find((candidate) => candidate.id === id);
      if (peer === undefined || this.#hasCaughtUp(peer, hold, lastIndex)) {
        this.#holds.delete(id);
        continue;
      }
      if (snapshotter.isSending(id) || peer.match > hold.match) {
        hold.movedMs = nowMs;
        hold.match = peer.match;
      } else if (nowMs - hold.movedMs > this.#settings.snapshotStallMs) this.#holds.delete(id);
    }
  }

  #hasCaughtUp(peer: PeerProgress, hold: Hold, lastIndex: Index): boolean {
    return (
      peer.state === 'replicate' && peer.match >= hold.index && lastIndex - peer.match <= this.#settings.keepEntries
    );
  }

  /** Takes a snapshot when enough has been applied since the last one. */
  snapshotIfDue(): void {
    const { snapshotEveryEntries, snapshotEveryBytes } = this.#settings;
    const { applier, snapshotter, fail } = this.#host;
    const entries = applier.applied.index - this.#newestSnapshot;
    if (entries <= 0 || snapshotter.busy || applier.restoring) return;
    const factor = this.#holds.size > 0 ? patience : 1;
    if (entries < snapshotEveryEntries * factor && applier.bytesSinceSnapshot < snapshotEveryBytes * factor) return;
    applier.bytesSinceSnapshot = 0;
    snapshotter.create(applier.applied, applier.conf).catch((error: unknown) => fail(storageFault(error)));
  }

  /** Our own snapshot is on disk: the log may refer to it, and drop what nobody needs. */
  async taken(meta: SnapshotMeta): Promise<void> {
    const { isStopped, log: memory } = this.#host;
    const { log } = this.#settings;
    // The leader's snapshot overtook ours.
    if (isStopped() || meta.index <= this.#newestSnapshot) return;
    this.#newestSnapshot = meta.index;
    await log.append({ snapshot: meta, entries: [], sync: true });
    if (isStopped()) return;
    const current = memory.snapshot();
    if (current !== 'not-ready' && current.index >= meta.index) return;
    memory.snapshotTaken(meta);
    const floor = this.#floor(meta);
    memory.compact(floor);
    this.#host.trace('compacted', { index: meta.index, floor });
    if (floor > 0) await log.compact(floor);
    await this.prune();
  }

  /** Old snapshot files stay while some peer may be reading one of them through us. */
  async prune(): Promise<void> {
    const { log, snapshotter, isStopped } = this.#host;
    const current = log.snapshot();
    if (isStopped() || snapshotter.sendingCount > 0 || current === 'not-ready') return;
    if (current.index === this.#newestSnapshot) await this.#settings.snapshots.prune(1, current.id);
  }

  /** What may go from the log. */
  #floor(meta: SnapshotMeta): Index {
    const { keepEntries, snapshotEveryEntries, snapshotEveryBytes } = this.#settings;
    const { core, log } = this.#host;
    const usual = Math.max(0, meta.index - keepEntries);
    const tooLong = log.length > patience * 2 * snapshotEveryEntries + keepEntries;
    if (tooLong || log.bytes > patience * 2 * snapshotEveryBytes) return usual;
    let floor = usual;
    for (const { index } of this.#holds.values()) floor = Math.min(floor, index);
    for (const { state, match, recentlyActive } of core.status().progress) {
      if (state === 'replicate' && recentlyActive) floor = Math.min(floor, match);
    }
    return floor;
  }
}
