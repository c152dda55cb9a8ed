/**
 * A core for hosts with one thread, and for tests: one Ready at a time, and its disk work is done when the host says
 * `advance`. The host makes `hardState`, `snapshot` and `entries` durable, applies `committed` in order (calling
 * `applyConfChange` for configuration entries), sends `messages` and then calls `advance`. Messages must not leave before
 * the write is durable, except on a leader, whose disk may work at the same time [thesis §10.2.1].
 */
import { must } from './errors.ts';
import { RaftCore } from './raft.ts';
import type {
  AppendTask,
  ApplyTask,
  CoreConfig,
  Entry,
  HardState,
  Message,
  Ready,
  Recovered,
  SnapshotMeta,
  StableLog,
} from './types.ts';

/** What there is to do before `advance`. */
export interface SyncReady extends Pick<Ready, 'state' | 'reads' | 'readsFailed' | 'round' | 'confirmedRound'> {
  readonly hardState?: HardState;
  readonly snapshot?: SnapshotMeta;
  readonly entries: readonly Entry[];
  readonly mustSync: boolean;
  readonly committed: readonly Entry[];
  readonly messages: readonly Message[];
}

interface Outstanding {
  readonly append: AppendTask | undefined;
  readonly apply: ApplyTask | undefined;
  readonly toSelf: readonly Message[];
}

/** A core for hosts with one thread, and for tests; the duties of the host are at the top of this file. */
export class SyncRaft {
  /** Everything but `takeReady`, `appended` and `applied` may be used freely. */
  readonly core: RaftCore;
  readonly #id: number;
  #outstanding: Outstanding | undefined;

  constructor(config: Omit<CoreConfig, 'appendBeforeApply'>, log: StableLog, from: Recovered) {
    this.core = new RaftCore({ ...config, appendBeforeApply: true }, log, from);
    this.#id = config.id;
  }

  /** Whether `ready` would give anything to do; false until `advance` after it did. */
  hasReady(): boolean {
    return this.#outstanding === undefined && this.core.hasReady();
  }

  /** What there is to do, even if it is nothing. Must be followed by `advance`. */
  ready(): SyncReady {
    must(this.#outstanding === undefined, 'ready was called before advance');
    const { send, append, apply, ...rest } = this.core.takeReady();
    const all = append ? [...send, ...append.onDurable] : send;
    const messages = all.filter((m) => m.to !== this.#id);
    this.#outstanding = { append, apply, toSelf: all.filter((m) => m.to === this.#id) };
    return {
      ...rest,
      ...(append?.hardState && { hardState: append.hardState }),
      ...(append?.snapshot && { snapshot: append.snapshot }),
      entries: append?.entries ?? [],
      mustSync: append?.mustSync ?? false,
      committed: apply?.entries ?? [],
      messages,
    };
  }

  /** The work of the last Ready is done. */
  advance(): void {
    must(this.#outstanding !== undefined, 'advance was called without a Ready');
    const { append, apply, toSelf } = this.#outstanding;
    this.#outstanding = undefined;
    for (const message of toSelf) this.core.step(message);
    if (append) this.core.appended(append);
    if (apply) this.core.applied(apply);
  }
}
