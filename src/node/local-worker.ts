/** The worker half of this process: the agent with the real executor behind it. */
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { Random } from '../lib/random.ts';
import type { ManagerPeer } from '../model/assignment.ts';
import type { NodeRole } from '../model/spec.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import type { Dialer } from '../rpc/port.ts';
import { type Agent, createAgent } from '../worker/agent.ts';
import type { Executor } from '../worker/executor/port.ts';
import type { TaskDb } from '../worker/task-db.ts';

/** What a worker needs of this machine; the same before and after joining. */
export interface WorkerParts {
  readonly executor: Executor;
  /** A fresh handle on the tasks kept on disk. */
  openTaskDb(): TaskDb;
}

export interface LocalWorkerOptions {
  readonly parts: WorkerParts;
  readonly nodeId: string;
  readonly addr: string;
  readonly dialer: Dialer;
  readonly managers: readonly ManagerPeer[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly onRole: (role: NodeRole) => void;
  readonly onManagers: (peers: readonly ManagerPeer[]) => void;
  readonly onRemoved: () => Promise<unknown>;
  readonly standing: 'member' | 'removed' | 'alone';
}

export class LocalWorker {
  readonly #agent: Agent;
  readonly #executor: Executor;

  constructor(options: LocalWorkerOptions) {
    const { parts, log, ...rest } = options;
    this.#executor = parts.executor;
    this.#agent = createAgent({ ...rest, executor: parts.executor, db: parts.openTaskDb(), log: log.part('agent') });
  }

  start(): Promise<void> {
    return this.#agent.start();
  }

  /** Containers go on. */
  stop(): Promise<void> {
    return this.#agent.stop();
  }

  /** Stops and removes every container of the cluster, and its networks. */
  async leave(): Promise<void> {
    try {
      await this.#agent.leave();
    } finally {
      await this.#executor.networks?.forget?.();
    }
  }

  /** A new certificate counts from the next session on. */
  reconnect(): void {
    this.#agent.reconnect();
  }

  containers(): { readonly running: number; readonly stopped: number } {
    const states = this.#agent.tasks().map(({ status }) => status.state);
    const running = states.filter((state) => state === TaskState.running).length;
    return { running, stopped: states.filter(isTerminal).length };
  }
}
