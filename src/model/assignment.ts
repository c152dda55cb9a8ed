/** What a manager tells an agent, and what the agent tells back. Carried by the session stream (`src/rpc/session.ts`). */
import type { NetworkSet } from './network.ts';
import type { NetworkProblem, NodeDescription, Task, TaskStatus } from './objects.ts';
import type { ConfigSpec, NodeRole, SecretSpec } from './spec.ts';

/** A task as the agent gets it: everything needed to run it without asking again, but for secrets and configs. */
export type AssignedTask = Pick<
  Task,
  | 'id'
  | 'serviceId'
  | 'serviceName'
  | 'serviceLabels'
  | 'slot'
  | 'nodeId'
  | 'spec'
  | 'specVersion'
  | 'endpoint'
  | 'desired'
  | 'status'
  | 'genericResources'
  | 'attachments'
> & {
  /** Credentials for its registry come beside it (`AssignedCredentials`): it is not to be given up before they are here. */
  readonly hasCredentials?: true;
};

/** For the registry of one task's image; `auth`: see `registry-auth.ts`, empty = not any more. Kept in memory only. */
export interface AssignedCredentials {
  readonly taskId: string;
  readonly auth: string;
}

export interface AssignedSecret {
  readonly id: string;
  readonly spec: SecretSpec;
}

export interface AssignedConfig {
  readonly id: string;
  readonly spec: ConfigSpec;
}

/** A full set replaces everything the agent has; an incremental one is applied on top of `appliesTo`. */
export interface AssignmentSet {
  readonly kind: 'full' | 'incremental';
  readonly appliesTo: number;
  readonly resultsIn: number;
  readonly tasks: readonly AssignedTask[];
  readonly removedTasks: readonly string[];
  readonly secrets: readonly AssignedSecret[];
  readonly removedSecrets: readonly string[];
  readonly configs: readonly AssignedConfig[];
  readonly removedConfigs: readonly string[];
  /** Those of a removed task go with it. */
  readonly credentials?: readonly AssignedCredentials[];
  /**
   * More parts of this set follow, with the same kind and numbers; nothing is applied before the last part is here.
   * Keeps messages small: a full set of a busy node can be many megabytes.
   */
  readonly more?: boolean;
}

export interface ManagerPeer {
  readonly nodeId: string;
  readonly addr: string;
}

/** A reported status; for the same task the greater state wins. */
export interface TaskReport {
  readonly taskId: string;
  readonly status: TaskStatus;
}

export interface LogQuery {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** Lines from the end per task; −1 = all. */
  readonly tail: number;
  /** Only lines at or after this time, ms since the epoch; 0 = all. */
  readonly since: number;
  /** Only lines before this time, ms since the epoch; 0 = no limit. */
  readonly until: number;
}

export interface LogLine {
  readonly taskId: string;
  readonly stream: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds, UTC. */
  readonly time: string;
  /** With its newline, if it had one. */
  readonly text: string;
}

/** Agent → manager. The first message of a session is `hello`. */
export type AgentMessage =
  | { readonly kind: 'hello'; readonly description: NodeDescription; readonly addr: string }
  | { readonly kind: 'describe'; readonly description: NodeDescription }
  | { readonly kind: 'beat' }
  /** Sent before a daemon stops on purpose: the node keeps its containers and comes back. */
  | { readonly kind: 'leaving' }
  | { readonly kind: 'status'; readonly reports: readonly TaskReport[] }
  /** The node's kernel and names agree with this version, but for the problems. Repeated when a problem comes or goes. */
  | { readonly kind: 'networkAck'; readonly version: number; readonly problems: readonly NetworkProblem[] }
  | { readonly kind: 'log'; readonly subscription: string; readonly lines: readonly LogLine[] }
  | { readonly kind: 'logEnd'; readonly subscription: string; readonly error: string };

/** Manager → agent. */
export type ManagerMessage =
  /** Accepted: beat this often. */
  | { readonly kind: 'welcome'; readonly session: string; readonly heartbeatMs: number }
  /** Answers a beat, so that the agent notices a dead connection; the period may have changed. */
  | { readonly kind: 'beatAck'; readonly heartbeatMs: number }
  /** Not the leader (any more): ask there; empty address = unknown, try another manager later. */
  | { readonly kind: 'redirect'; readonly leader: ManagerPeer | null }
  /** The node was removed from the cluster, for ever: whatever runs there is nobody's any more. The last message of a session. */
  | { readonly kind: 'removed' }
  | { readonly kind: 'assignments'; readonly set: AssignmentSet }
  /** Sent before the assignments that need it. */
  | { readonly kind: 'network'; readonly set: NetworkSet }
  /** These reports are in the log; the agent forgets them. */
  | { readonly kind: 'statusAck'; readonly reports: readonly { readonly taskId: string; readonly state: number }[] }
  | { readonly kind: 'managers'; readonly peers: readonly ManagerPeer[] }
  /** The role this node should have; on a change the agent renews its certificate. */
  | { readonly kind: 'role'; readonly role: NodeRole }
  | {
      readonly kind: 'logOpen';
      readonly subscription: string;
      readonly taskIds: readonly string[];
      readonly query: LogQuery;
    }
  /** The reader took this many more `log` messages; an agent has at most `logWindow` of them unacknowledged per subscription. */
  | { readonly kind: 'logAck'; readonly subscription: string; readonly messages: number }
  | { readonly kind: 'logClose'; readonly subscription: string };

/** `log` messages of one subscription that may be on the way or unread; with `logMessageBytesMax` it bounds the broker's memory. */
export const logWindow = 16;
/** Network problems in one message: more are cut off. */
export const networkProblemsMax = 100;
/** Text in one `log` message. */
export const logMessageBytesMax = 64 * 1024;
/** Reports in one `status` message; a longer one ends the session. */
export const reportsPerMessageMax = 1000;
