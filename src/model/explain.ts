/** What `explain` and `--dry-run` answer; on the wire as it is, in the style of the Docker API. Times in ms since the epoch. */

/** What one node says to a task. */
export interface NodeVerdict {
  readonly NodeID: string;
  readonly Hostname: string;
  /** Name of the filter that refuses it; empty: the task fits. */
  readonly Filter: string;
  /** Why, with what it has and what is asked. */
  readonly Reason: string;
  /** What would make it fit. */
  readonly Remedy: string;
  /** Fits, but is taken last: the service failed there lately. */
  readonly Note?: string;
}

export interface TaskExplanation {
  readonly ID: string;
  /** `web.1`; of a global service `web.HOST`. */
  readonly Name: string;
  readonly State: string;
  readonly DesiredState: string;
  readonly Since: number;
  readonly NodeID: string;
  readonly Hostname: string;
  /** What it waits for, or how it ended; empty: it runs. */
  readonly WaitsFor: string;
  /** When that is over by itself, if it is. */
  readonly Until?: number;
  /** Why it is on its node, as things are now; absent without one. */
  readonly Placement?: string;
  /** Why it is on no node: one line per node. */
  readonly Nodes?: readonly NodeVerdict[];
}

export interface ServiceExplanation {
  readonly ID: string;
  readonly Name: string;
  readonly Mode: string;
  readonly Running: number;
  readonly Desired: number;
  readonly Completed: number;
  /** Sentences about the service as a whole; empty: it is as it should be. */
  readonly Findings: readonly string[];
  /** Those that do not run first. */
  readonly Tasks: readonly TaskExplanation[];
  /** Tasks that are left out of the list, all of them running. */
  readonly More: number;
  /** Of a global service: nodes that have no task of it, with what each says to one. Absent: there are none. */
  readonly Nodes?: readonly NodeVerdict[];
  /** Such nodes that are left out of the list. */
  readonly MoreNodes?: number;
}

export interface ForecastPlace {
  /** `web.1`; of a global service `web.HOST`. */
  readonly Name: string;
  /** Empty: it would find no node. */
  readonly NodeID: string;
  readonly Hostname: string;
  /** Why it would find no node. */
  readonly Err: string;
  readonly Nodes?: readonly NodeVerdict[];
}

/** The placement that would result; nothing was written. */
export interface Forecast {
  /** New tasks, for new places and in place of outdated ones. */
  readonly Created: readonly ForecastPlace[];
  /** New tasks that are left out of the list. */
  readonly More: number;
  /** Tasks that go on as they are. */
  readonly Kept: number;
  /** Tasks that are replaced by new ones. */
  readonly Replaced: number;
  /** Tasks that are stopped for good. */
  readonly Removed: number;
}
