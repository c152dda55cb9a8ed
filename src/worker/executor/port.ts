/**
 * Contract between the agent and whatever runs containers. The task manager drives one Controller per task through
 * `prepare → start → wait → shutdown → remove`; every step is safe to repeat, also after the agent was killed in the middle.
 * `containerd/` implements it, `executor/fake.ts` does so in memory, `executor/contract.ts` is the suite both pass.
 */
import type { AssignedConfig, AssignedSecret, AssignedTask, LogLine, LogQuery } from '../../model/assignment.ts';
import type { NetworkState } from '../../model/network.ts';
import type { ContainerStatus, NetworkProblem, NodeDescription } from '../../model/objects.ts';
import type { PortConfig } from '../../model/spec.ts';

/** The secrets, configs and registry credentials that this node has now. Controllers read it at prepare. */
export interface Dependencies {
  secret(id: string): AssignedSecret | undefined;
  config(id: string): AssignedConfig | undefined;
  /** For the image of one task, see `model/registry-auth.ts`. Absent: there are none. */
  registryAuth?(taskId: string): string | undefined;
}

export interface Exit {
  readonly exitCode: number;
  /** Set when it was not the process's own doing: `unhealthy container`, `out of memory`; shown as `task: non-zero exit (137): …`. */
  readonly reason?: string;
  readonly at: number;
}

/**
 * One task's container. Errors are ClusterErrors whose message becomes the task's `err`; `retryable` ones are tried again by the
 * task manager with back-off, others end the task (rejected before start, failed after).
 */
export interface Controller {
  /** Image present and unpacked, files and network ready, container created but not started. Idempotent. */
  prepare(signal: AbortSignal): Promise<void>;
  /**
   * Process running; with a health check: resolves when first healthy. Idempotent: already running = fine, and a process that has
   * ended since it was started (in this boot) is not started again: `wait` tells its exit. An abort leaves everything as it is.
   */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when the container's process has ended, also when that was before this agent started. */
  wait(signal: AbortSignal): Promise<Exit>;
  /** Stop signal, grace, then kill. Idempotent; nothing to stop = fine. */
  shutdown(): Promise<void>;
  /** Frees everything: container, network, files. Logs go too. Idempotent. */
  remove(): Promise<void>;
  /** What is known now; undefined before prepare. */
  status(): Promise<ContainerStatus | undefined>;
  /** Host-mode ports that are bound now. */
  ports(): readonly PortConfig[];
}

/** The node's part in the cluster's networks. */
export interface NodeNetworks {
  /**
   * Makes kernel and names agree with the state; resolves when they do, with what could not be done. A newer call may overtake an
   * older one that waits: both then resolve when the newer state is in place.
   */
  apply(state: NetworkState): Promise<readonly NetworkProblem[]>;
  /** The state of the last `apply` or retry that no part failed at as a whole. Absent: what `apply` was given last. */
  inPlace?(): NetworkState | undefined;
  /** Called when problems come or go by themselves, e.g. another program gave a port back, and when `inPlace` catches up. */
  onProblems(handle: (problems: readonly NetworkProblem[]) => void): void;
  /** The node has left the cluster: nothing of its networks stays. Usable again afterwards. Absent: nothing to forget. */
  forget?(): Promise<void>;
}

export interface Executor {
  describe(): Promise<NodeDescription>;
  /**
   * Differs after a restart of the host, which ends every container without an exit to learn of: tasks that ran before are then
   * prepared and started again under the same id. Absent: containers are assumed to outlive the agent.
   */
  bootId?(): Promise<string>;
  controller(task: AssignedTask, dependencies: Dependencies): Controller;
  /** Absent: this executor has no networks (tests). */
  readonly networks?: NodeNetworks;
  /** Ids of tasks of which anything exists on this node: what the agent does not know gets removed. */
  existing(): Promise<readonly string[]>;
  /** Removes what is left of a task nobody knows any more. */
  discard(taskId: string): Promise<void>;
  /** Lines of one task's log, oldest first; with `follow` until the log has ended or `signal` aborts. */
  logs(taskId: string, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine>;
}
