/** What the HTTP API of a manager stands on: reads from the local copy, writes at the leader, wherever that is. */
import { type Clock, sleep } from '../lib/clock.ts';
import { ClusterError, isKind } from '../lib/errors.ts';
import type { LogLine, LogQuery } from '../model/assignment.ts';
import type {
  ControlMethod,
  ControlRequest,
  ControlResponse,
  ManagerBackend,
  RaftMemberInfo,
} from '../model/control.ts';
import type { ChangeEvent, ClusterView } from '../model/view.ts';
import type { Dialer, Peer } from '../rpc/port.ts';
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

const retryMs = 100;
/** How long a write waits for an election to end. */
const leaderWaitMs = 5_000;
/** Reads go on without a leader for so long: an election takes about half of it. */
const staleReadsMs = 3_000;
/** How long a write made elsewhere may take to show here. */
const appliedWaitMs = 5_000;

export class Backend implements ManagerBackend {
  readonly #options: BackendOptions;
  #peer: { readonly addr: string; readonly peer: Peer } | undefined;

  /** When there was a leader last; undefined before the first. */
  #leaderSeen: number | undefined;
  readonly #unsubscribe: () => void;

  constructor(options: BackendOptions) {
    this.#options = options;
    let leader = options.consensus.leader();
    this.#unsubscribe = options.consensus.onLeadership((_, now) => {
      if (leader !== undefined || now !== undefined) this.#leaderSeen = options.clock.monotonic();
      leader = now;
    });
  }

  close(): void {
    this.#unsubscribe();
    this.#drop();
  }

  get view(): ClusterView {
    return this.#options.store.view;
  }

  /** An election is no reason to refuse reads: the copy was fresh a moment ago. A manager cut off for longer is. */
  assertFresh(): void {
    const { consensus, clock } = this.#options;
    if (consensus.leader() !== undefined) return;
    if (this.#leaderSeen === undefined || clock.monotonic() - this.#leaderSeen > staleReadsMs) {
      throw new ClusterError('unavailable', noLeaderMessage);
    }
  }

  onCommit(handle: (events: readonly ChangeEvent[]) => void): () => void {
    return this.#options.store.subscribe(({ events }) => handle(events));
  }

  members(): readonly RaftMemberInfo[] {
    return this.#options.consensus.members();
  }

  /** Goes on asking while nobody leads or the leader cannot be reached, for a bounded time: elections pass. */
  async call<M extends ControlMethod>(method: M, request: ControlRequest<M>): Promise<ControlResponse<M>> {
    const { clock } = this.#options;
    const end = clock.monotonic() + leaderWaitMs;
    for (;;) {
      const leader = await this.#leader(end - clock.monotonic());
      try {
        return await this.#callLeader(leader, method, request);
      } catch (error) {
        // `unavailable` says that nothing was done; anything else may be an answer, or the outcome is unknown.
        if (!isKind(error, 'unavailable')) throw error;
        if (clock.monotonic() + retryMs > end) throw new ClusterError('unavailable', noLeaderMessage, { cause: error });
        await sleep(clock, retryMs);
      }
    }
  }

  async #callLeader<M extends ControlMethod>(
    leader: Leader,
    method: M,
    request: ControlRequest<M>,
  ): Promise<ControlResponse<M>> {
    const { nodeId, consensus, leadership } = this.#options;
    if (leader.nodeId === nodeId) return leadership().control.call(method, request);
    const { response, version } = await this.#callPeer(leader, method, request);
    await consensus.waitApplied(version, appliedWaitMs);
    return response;
  }

  async #callPeer<M extends ControlMethod>(leader: Leader, method: M, request: ControlRequest<M>) {
    const kept = this.#peer?.addr === leader.addr;
    const peer = this.#peerOf(leader);
    try {
      return await peer.call(method, request);
    } catch (error) {
      // A kept connection that had to be made again shows the certificate of its first day, which may have run out since.
      if (kept && isKind(error, 'unauthenticated')) {
        if (this.#peer?.peer === peer) this.#drop();
        return this.#peerOf(leader).call(method, request);
      }
      // The connection may be dead without knowing it: the next call makes its own.
      if (error instanceof ClusterError && error.retryable && this.#peer?.peer === peer) this.#drop();
      throw error;
    }
  }

  /** One connection to the leader, kept while it leads. */
  #peerOf(leader: Leader): Peer {
    if (this.#peer?.addr !== leader.addr) {
      this.#drop();
      this.#peer = { addr: leader.addr, peer: this.#options.dialer.dial(leader.addr) };
    }
    return this.#peer.peer;
  }

  #drop(): void {
    this.#peer?.peer.close();
    this.#peer = undefined;
  }

  async *logs(
    selector: { serviceId: string } | { taskId: string },
    query: LogQuery,
    signal: AbortSignal,
  ): AsyncIterable<LogLine> {
    const { nodeId, dialer, leadership } = this.#options;
    const leader = await this.#leader(leaderWaitMs);
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
  #leader(limitMs: number): Promise<Leader> {
    const { consensus, clock } = this.#options;
    const known = consensus.leader();
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      const cancel = clock.timer(limitMs, () => {
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
