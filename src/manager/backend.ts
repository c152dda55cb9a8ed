/** What the HTTP API of a manager stands on: reads from the local copy, writes at the leader, wherever that is. */
import type { Clock } from '../lib/clock.ts';
import { ClusterError } from '../lib/errors.ts';
import type { LogLine, LogQuery } from '../model/assignment.ts';
import type { ControlMethod, ControlRequest, ControlResponse, ManagerBackend, RaftMemberInfo } from '../model/control.ts';
import type { ClusterView } from '../model/view.ts';
import type { Dialer } from '../rpc/port.ts';
import { type Consensus, type Leader, noLeaderMessage } from './consensus.ts';
import { readLogs } from './log-stream.ts';
import type { Leadership } from './manager.ts';
import type { Store } from './store/port.ts';

export interface BackendOptions {
  readonly nodeId: string;
  readonly store: Store;
  readonly consensus: Consensus;
  readonly dialer: Dialer;
  readonly clock: Clock;
  /** Throws `unavailable` unless this manager leads. */
  readonly leadership: () => Leadership;
}

/** How long a write waits for an election to end. */
const leaderWaitMs = 5_000;
/** How long a write made elsewhere may take to show here. */
const appliedWaitMs = 5_000;

export class Backend implements ManagerBackend {
  readonly #options: BackendOptions;

  constructor(options: BackendOptions) {
    this.#options = options;
  }

  get view(): ClusterView {
    return this.#options.store.view;
  }

  assertFresh(): void {
    if (this.#options.consensus.leader() === undefined) throw new ClusterError('unavailable', noLeaderMessage);
  }

  onCommit(handle: () => void): () => void {
    return this.#options.store.subscribe(() => handle());
  }

  members(): readonly RaftMemberInfo[] {
    return this.#options.consensus.members();
  }

  async call<M extends ControlMethod>(method: M, request: ControlRequest<M>): Promise<ControlResponse<M>> {
    const { nodeId, consensus, dialer, leadership } = this.#options;
    const leader = await this.#leader();
    if (leader.nodeId === nodeId) return leadership().control.call(method, request);
    const peer = dialer.dial(leader.addr);
    try {
      const { response, version } = await peer.call(method, request);
      await consensus.waitApplied(version, appliedWaitMs);
      return response;
    } finally {
      peer.close();
    }
  }

  async *logs(selector: { serviceId: string } | { taskId: string }, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
    const { nodeId, dialer, leadership } = this.#options;
    const leader = await this.#leader();
    if (leader.nodeId === nodeId) {
      yield* leadership().broker.logs(selector, query, signal);
      return;
    }
    const peer = dialer.dial(leader.addr);
    try {
      yield* readLogs(peer.openLogs(), { selector, query }, signal);
    } finally {
      peer.close();
    }
  }

  /** The leader, waiting for an election under way. Errors: `unavailable` when it takes too long. */
  #leader(): Promise<Leader> {
    const { consensus, clock } = this.#options;
    const known = consensus.leader();
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      const cancel = clock.timer(leaderWaitMs, () => {
        unsubscribe();
        reject(new ClusterError('unavailable', noLeaderMessage));
      });
      const unsubscribe = consensus.onLeadership((_, leader) => {
        if (leader === undefined) return;
        cancel();
        unsubscribe();
        resolve(leader);
      });
    });
  }
}
