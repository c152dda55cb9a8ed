/** What is known of the cluster as a whole, over all nodes and all time; invariants compare every node with it. */
import { changeConf, decodeConfChange } from '../../core/confchange.ts';
import type { ConfState, Index, NodeId, Status, Term } from '../../core/types.ts';
import type { SimDisk } from '../disk.ts';
import type { LogView, Seen } from '../log-view.ts';

/** One node under observation. */
export interface Observed {
  readonly id: NodeId;
  readonly disk: SimDisk;
  /** The log as the running node has handed it to its disk; after a restart, as it was found. */
  view: LogView;
  /** As of the node's last step; undefined while it is down. */
  status: Status | undefined;
  /** The state machine of the running process. */
  machineIndex: Index;
  /** Highest term that left this node in a promise. */
  promisedTerm: Term;
  readonly matches: Map<NodeId, Index>;
}

export interface Watch {
  readonly ledger: Ledger;
  readonly observed: ReadonlyMap<NodeId, Observed>;
  readonly limits: { readonly maxMessageBytes: number; readonly maxUncommittedBytes: number };
  readonly largestProposal: number;
  /** The run has failed; the first one counts. */
  violate(invariant: number, what: string): void;
  hit(situation: string): void;
  /** For what is compared with the ledger, which learns of a step only when it is over. */
  afterStep(check: () => void): void;
}

export interface LedgerConf {
  readonly index: Index;
  readonly conf: ConfState;
  readonly text: string;
}

const foundingHash = 0x5eed;

export class Ledger {
  commit: Index = 1;
  readonly leaders = new Map<Term, NodeId>();
  readonly votes = new Map<string, NodeId>();
  /** Prefix hash by (index, term). */
  readonly prefixes = new Map<number, number>();
  /** Content of the state machine behind each applied index. */
  readonly contents = new Map<Index, number>();
  /** Applied anywhere, ever. */
  applied: Index = 1;
  readonly #hashes: number[] = [0, foundingHash];
  readonly #entries: (Seen | undefined)[] = [undefined, undefined];
  /** The leader's term when the index was first seen committed. */
  readonly #terms: Term[] = [0, 1];
  readonly #confs: LedgerConf[];

  constructor(founding: ConfState) {
    this.#confs = [{ index: 1, conf: founding, text: JSON.stringify(founding) }];
    this.contents.set(1, 0);
  }

  hashAt(index: Index): number | undefined {
    return this.#hashes[index];
  }

  entryAt(index: Index): Seen | undefined {
    return this.#entries[index];
  }

  /** The last index that was committed in a term before `term`. */
  committedBefore(term: Term): Index {
    let index = this.commit;
    while (index > 1 && (this.#terms[index] ?? 0) >= term) index -= 1;
    return index;
  }

  advance(index: Index, seen: Seen, term: Term): void {
    this.commit = index;
    this.#hashes[index] = seen.hash;
    this.#entries[index] = seen;
    this.#terms[index] = term;
    if (!seen.config) return;
    const result = changeConf(this.newestConf.conf, decodeConfChange(seen.entry.data));
    const conf = result.ok ? result.conf : this.newestConf.conf;
    this.#confs.push({ index, conf, text: JSON.stringify(conf) });
  }

  get newestConf(): LedgerConf {
    return this.#confs.at(-1) as LedgerConf;
  }

  confAt(index: Index): LedgerConf {
    let at = this.#confs.length - 1;
    while (at > 0 && (this.#confs[at] as LedgerConf).index > index) at -= 1;
    return this.#confs[at] as LedgerConf;
  }
}

/** Does a majority of each half agree? */
export function quorumHolds(conf: ConfState, holds: (id: NodeId) => boolean): boolean {
  const majority = (ids: readonly NodeId[]): boolean =>
    ids.length === 0 || ids.filter(holds).length >= Math.floor(ids.length / 2) + 1;
  return majority(conf.voters) && majority(conf.outgoing);
}
