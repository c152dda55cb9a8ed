/** The configuration in force, the progress of its members and the votes of the current campaign. */
import { isJoint, members, normalConf } from './confchange.ts';
import { Progress } from './progress.ts';
import type { VoteResult } from './quorum.ts';
import { allVoters, jointIndex, jointVote } from './quorum.ts';
import type { ConfState, CoreLimits, Index, NodeId } from './types.ts';

export class Tracker {
  readonly #limits: CoreLimits;
  #conf: ConfState;
  #progress: Progress[] = [];
  #byId = new Map<NodeId, Progress>();
  #votes = new Map<NodeId, boolean>();

  constructor(conf: ConfState, limits: CoreLimits, at: { readonly epoch: Index; readonly lastIndex: Index }) {
    this.#limits = limits;
    this.#conf = normalConf(conf);
    this.#fill(at.epoch, at.lastIndex);
  }

  get conf(): ConfState {
    return this.#conf;
  }

  get joint(): boolean {
    return isJoint(this.#conf);
  }

  /** Ascending by id. */
  get progress(): readonly Progress[] {
    return this.#progress;
  }

  get(id: NodeId): Progress | undefined {
    return this.#byId.get(id);
  }

  voters(): readonly NodeId[] {
    return allVoters(this.#conf);
  }

  isVoter(id: NodeId): boolean {
    return this.#conf.voters.includes(id) || this.#conf.outgoing.includes(id);
  }

  /** Members that stay keep their progress; new ones start from scratch and count as active for their first round. */
  setConf(conf: ConfState, at: { readonly epoch: Index; readonly lastIndex: Index }): void {
    this.#conf = normalConf(conf);
    this.#fill(at.epoch, at.lastIndex);
  }

  /** The highest index on disk at a quorum. */
  committed(): Index {
    return jointIndex(this.#conf, (id) => this.#byId.get(id)?.match);
  }

  quorumActive(): boolean {
    return jointVote(this.#conf, (id) => this.#byId.get(id)?.recentlyActive ?? false) === 'won';
  }

  quorumOf(acked: (id: NodeId) => number | undefined): number {
    return jointIndex(this.#conf, acked);
  }

  resetVotes(): void {
    this.#votes = new Map();
  }

  /** The first answer of a peer counts. */
  recordVote(id: NodeId, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  /** Answers of voters so far. */
  votes(): { readonly yes: number; readonly no: number } {
    let yes = 0;
    let no = 0;
    for (const [id, vote] of this.#votes) {
      if (!this.isVoter(id)) continue;
      if (vote) yes += 1;
      else no += 1;
    }
    return { yes, no };
  }

  tally(): VoteResult {
    return jointVote(this.#conf, (id) => this.#votes.get(id));
  }

  #fill(epoch: Index, lastIndex: Index): void {
    const byId = new Map<NodeId, Progress>();
    const learners = new Set(this.#conf.learners);
    for (const id of members(this.#conf)) {
      const progress = this.#byId.get(id) ?? this.#fresh(id, epoch, lastIndex);
      progress.learner = learners.has(id);
      byId.set(id, progress);
    }
    this.#byId = byId;
    this.#progress = [...byId.values()];
  }

  #fresh(id: NodeId, epoch: Index, lastIndex: Index): Progress {
    const progress = new Progress(id, epoch, { next: Math.max(lastIndex, 1), limits: this.#limits });
    progress.recentlyActive = true;
    return progress;
  }
}
