/** What the controllers of one executor share. */
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { Random } from '../../lib/random.ts';
import type { NetworkDriver } from '../network/port.ts';
import type { TaskFiles } from '../storage/task-files.ts';
import type { Volumes } from '../storage/volumes.ts';
import type { Containerd } from './client.ts';
import type { ImageStore } from './image-store.ts';
import type { TaskLog } from './logs/task-log.ts';
import type { Runtime } from './runtime.ts';
import type { HostFacts, LogLimits } from './spec.ts';
import type { TaskStates } from './task-state.ts';

export interface Accounts {
  readonly passwd: string;
  readonly group: string;
}

export interface ExecutorContext {
  readonly containerd: Containerd;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly runtime: Runtime;
  readonly images: ImageStore;
  readonly network: NetworkDriver;
  readonly states: TaskStates;
  readonly volumes: Volumes;
  readonly taskFiles: TaskFiles;
  /** User files of images that were looked at lately, by snapshot. */
  readonly accounts: { of(key: string, read: () => Promise<Accounts>): Promise<Accounts> };
  readonly host: HostFacts;
  readonly platform: { readonly architecture: string; readonly os: string };
  readonly cgroupParent: string;
  readonly scratchDirectory: string;
  /** Aborts when the agent stops. */
  readonly stopped: AbortSignal;
  snapshotter(): Promise<string>;
  /** One object per task; limits count when it is made. */
  logOf(taskId: string, limits?: LogLimits): TaskLog;
  /** Everything of a task, whatever state it is in. */
  removeTask(taskId: string): Promise<void>;
}
