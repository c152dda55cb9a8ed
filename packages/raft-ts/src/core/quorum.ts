/** Majority arithmetic for simple and joint configurations [thesis §4.3]. Learners never take part. */
import type { Index, NodeId } from './types.ts';

/** `pending`: the votes that are missing decide. */
export type VoteResult = 'won' | 'lost' | 'pending';

export interface VoterSets {
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
}

/** The highest index that a majority has acknowledged; an empty set acknowledges everything. */
export function majorityIndex(voters: readonly NodeId[], acked: (id: NodeId) => Index | undefined): Index {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const sorted = voters.map((id) => acked(id) ?? 0).sort((a, b) => a - b);
  return sorted[sorted.length - (Math.floor(sorted.length / 2) + 1)] ?? 0;
}

/** An empty set of voters agrees to everything. */
export function majorityVote(voters: readonly NodeId[], ballot: (id: NodeId) => boolean | undefined): VoteResult {
  if (voters.length === 0) return 'won';
  let yes = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = ballot(id);
    if (vote === undefined) missing += 1;
    else if (vote) yes += 1;
  }
  const needed = Math.floor(voters.length / 2) + 1;
  if (yes >= needed) return 'won';
  return yes + missing >= needed ? 'pending' : 'lost';
}

/** Both halves of a joint configuration must agree. */
export function jointIndex(sets: VoterSets, acked: (id: NodeId) => Index | undefined): Index {
  return Math.min(majorityIndex(sets.voters, acked), majorityIndex(sets.outgoing, acked));
}

/** Won if both halves are, lost as soon as one is [thesis §4.3]. */
export function jointVote(sets: VoterSets, ballot: (id: NodeId) => boolean | undefined): VoteResult {
  const incoming = majorityVote(sets.voters, ballot);
  const outgoing = majorityVote(sets.outgoing, ballot);
  if (incoming === outgoing) return incoming;
  return incoming === 'lost' || outgoing === 'lost' ? 'lost' : 'pending';
}

/** Incoming and outgoing voters, each once, ascending. */
export function allVoters(sets: VoterSets): NodeId[] {
  return [...new Set([...sets.voters, ...sets.outgoing])].sort((a, b) => a - b);
}
