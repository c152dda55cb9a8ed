/**
 * Inside of the driver: three parts that each keep one share of the node's networks, behind the same calls. `driver.ts` owns the
 * records on disk and calls them one change at a time; each reads what the kernel holds, and changes only what differs.
 *
 * - `host/`: the host's namespace. Gateway links, egress, host-mode and mesh ports, the link between nodes, guards.
 * - `overlay/`: one namespace per overlay network (VXLAN, bridge, virtual addresses), and macvlan and ipvlan links.
 * - `dns/`: the names that containers ask 127.0.0.11 for, answered by a process of its own.
 */
import type { NetworkState } from '../../model/network.ts';
import type { NetworkAddresses, NetworkProblem } from '../../model/objects.ts';
import type { HostPort } from '../../model/ports.ts';

/** One task's namespace, as kept on disk before the kernel is touched. */
export interface SandboxRecord {
  readonly taskId: string;
  readonly mode: 'own' | 'none';
  /** Name of its network namespace, under /run/netns. */
  readonly netns: string;
  /** Without prefix; of mode `own` only. */
  readonly gateway?: string;
  readonly attachments: readonly NetworkAddresses[];
  readonly hostPorts: readonly HostPort[];
  /** Resolvers for names that are not the cluster's; empty: the host's. */
  readonly nameservers: readonly string[];
}

/** What the node should have. */
export interface Desired {
  readonly sandboxes: ReadonlyMap<string, SandboxRecord>;
  readonly state: NetworkState;
}

export interface SyncOptions {
  /** Compare everything with the kernel. Otherwise a part may be skipped whose wanted state is what this process put there itself. */
  readonly full: boolean;
}

/** By task id. */
export type Failures = ReadonlyMap<string, unknown>;

export interface Plane {
  /**
   * Makes the share of these sandboxes; `desired` includes them, and every network they are on is known. The namespace exists, except of one
   * that is on no network: the host's part makes it. Idempotent, also after a kill in the middle. Answers with the errors, each of
   * which ends the attach of its task; never throws.
   */
  wire(sandboxes: readonly SandboxRecord[], desired: Desired): Promise<Failures>;
  /** Takes this sandbox's share away; parts that are missing are fine. Its namespace is deleted after this. */
  unwire(sandbox: SandboxRecord, desired: Desired): Promise<void>;
  /**
   * Makes everything agree, removes what carries our names and is not wanted, and answers with what could not be done. Doing
   * it twice changes nothing the second time. Never two calls at once.
   */
  sync(desired: Desired, how?: SyncOptions): Promise<readonly NetworkProblem[]>;
  /**
   * The last `sync` answered, but left something that containers use as an older state wanted it: the managers must not be told that the
   * state is in place. Absent: never; a `sync` that throws says the same.
   */
  readonly isBehind?: boolean;
  /** Stops what runs in this process; the kernel and the names stay. */
  close(): Promise<void>;
  /** Removes all of it. */
  destroy(): Promise<void>;
}

export function without(gone: readonly { readonly taskId: string }[], desired: Desired): Desired {
  const sandboxes = new Map(desired.sandboxes);
  for (const { taskId } of gone) sandboxes.delete(taskId);
  return { ...desired, sandboxes };
}

/** Calls `work` for each, all at once; answers with those that failed. */
export async function failuresOf<T extends { readonly taskId: string }>(
  all: readonly T[],
  work: (one: T) => Promise<unknown>,
): Promise<Failures> {
  const results = await Promise.allSettled(all.map(async (one) => work(one)));
  return new Map(
    results.flatMap((result, at) => (result.status === 'rejected' ? [[all[at]?.taskId ?? '', result.reason]] : [])),
  );
}

export function allFailed(all: readonly { readonly taskId: string }[], error: unknown): Failures {
  return new Map(all.map(({ taskId }) => [taskId, error]));
}
