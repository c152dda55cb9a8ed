/**
 * Who the members of the Raft group are: Raft knows numbers, the cluster knows node ids and addresses. Every node learns
 * them the same way: from the context of the membership entry that added a member, and from the header of snapshots.
 */
import type { ConfState, NodeId } from 'raft-ts';

export interface Member {
  readonly raftId: NodeId;
  readonly nodeId: string;
  readonly addr: string;
}

const emptyConf: ConfState = { voters: [], outgoing: [], learners: [], learnersNext: [], autoLeave: false };

export class Members {
  #conf: ConfState = emptyConf;
  #byRaftId = new Map<NodeId, Member>();

  constructor(initial: readonly Member[]) {
    this.#set(initial);
  }

  get conf(): ConfState {
    return this.#conf;
  }

  list(): readonly Member[] {
    return [...this.#byRaftId.values()];
  }

  get(raftId: NodeId): Member | undefined {
    return this.#byRaftId.get(raftId);
  }

  byNodeId(nodeId: string): Member | undefined {
    return this.list().find((member) => member.nodeId === nodeId);
  }

  /** Addresses of all but `self`, for the transport. */
  peers(self: NodeId): ReadonlyMap<NodeId, string> {
    return new Map(this.list().flatMap(({ raftId, addr }) => (raftId === self ? [] : [[raftId, addr] as const])));
  }

  /** A membership entry was applied. */
  configured(conf: ConfState, context: Uint8Array | undefined): void {
    const added = context === undefined ? undefined : decodeContext(context);
    this.#conf = conf;
    this.#set(added === undefined ? this.list() : [...this.list().filter((one) => one.raftId !== added.raftId), added]);
    for (const raftId of this.#byRaftId.keys()) if (!isIn(conf, raftId)) this.#byRaftId.delete(raftId);
  }

  restored(conf: ConfState, members: readonly Member[]): void {
    this.#conf = conf;
    this.#byRaftId.clear();
    this.#set(members);
  }

  /** Sorted by Raft id, so that every member shows the same list. */
  #set(members: readonly Member[]): void {
    const sorted = [...members].sort((a, b) => a.raftId - b.raftId);
    this.#byRaftId = new Map(sorted.map((member) => [member.raftId, member]));
  }
}

export function isIn(conf: ConfState, raftId: NodeId): boolean {
  const { voters, outgoing, learners, learnersNext } = conf;
  return [voters, outgoing, learners, learnersNext].some((ids) => ids.includes(raftId));
}

export function encodeContext(member: Member): Uint8Array {
  return Buffer.from(JSON.stringify(member), 'utf8');
}

function decodeContext(context: Uint8Array): Member | undefined {
  if (context.length === 0) return undefined;
  return asMember(JSON.parse(Buffer.from(context).toString('utf8')));
}

/** Members from a snapshot header. */
export function membersOf(value: unknown): readonly Member[] {
  return Array.isArray(value) ? value.flatMap((one: unknown) => asMember(one) ?? []) : [];
}

function asMember(value: unknown): Member | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { raftId, nodeId, addr } = value as Record<string, unknown>;
  if (typeof raftId !== 'number' || typeof nodeId !== 'string' || typeof addr !== 'string') return undefined;
  return { raftId, nodeId, addr };
}

/** The voters that would be left without `raftId`, and whether those that answer are a majority of them. */
export function keepsQuorum(conf: ConfState, raftId: NodeId, isReachable: (id: NodeId) => boolean): boolean {
  if (!conf.voters.includes(raftId)) return true;
  const left = conf.voters.filter((id) => id !== raftId);
  const reachable = left.filter(isReachable).length;
  return left.length > 0 && reachable > left.length / 2;
}
