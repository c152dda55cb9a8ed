/** What a node counts. Additions only; a picture is made when somebody asks for one. */
import type { Message } from '../core/types.ts';

type MessageType = Message['type'];
export type MessageCounts = Record<MessageType, number>;

/** Upper bounds in milliseconds of the buckets of the latency histogram; one more bucket takes the rest. */
export const latencyBucketsMs = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000] as const;

/** How many observations took how long. */
export interface LatencyHistogram {
  /** Observations at or below `latencyBucketsMs[i]` and above the bound before it; the last one counts the rest. */
  readonly counts: readonly number[];
  readonly count: number;
  readonly sumMs: number;
}

/** Counters since the node was opened. */
export interface NodeCounters {
  /** Taken into the log by this node as leader. */
  readonly proposalsAccepted: number;
  /** Certainly not committed: refused by the core, or one of the node's own bounds was reached. */
  readonly proposalsDropped: number;
  /** Accepted, and certainly lost to another leader's entry. */
  readonly proposalsSuperseded: number;
  /** Accepted, and given up on without knowing. */
  readonly proposalsUnknown: number;
  readonly entriesAppended: number;
  readonly entriesApplied: number;
  readonly entryBytesAppended: number;
  /** Calls of LogStore.append. */
  readonly logBatches: number;
  /** Those of them that had to reach the disk; the store may take several of them to it at once. */
  readonly logSyncs: number;
  readonly messagesIn: Readonly<MessageCounts>;
  readonly messagesOut: Readonly<MessageCounts>;
  /** Received and dropped, because the inbox was full or the message was not for this node. */
  readonly messagesDropped: number;
  /** Campaigns begun, pre-votes included. */
  readonly elections: number;
  /** Times that a leader, this node or another, became known. */
  readonly leaderChanges: number;
  readonly readsByQuorum: number;
  readonly readsByLease: number;
  readonly snapshotsTaken: number;
  readonly snapshotsSent: number;
  readonly snapshotsReceived: number;
  readonly snapshotSendsFailed: number;
  readonly snapshotReceivesFailed: number;
  readonly snapshotBytesSent: number;
  readonly snapshotBytesReceived: number;
  /** Of the bytes of received snapshots, those that an earlier stream had brought already. */
  readonly snapshotBytesResumed: number;
  readonly ticks: number;
  /** Ticks that came too late to be told to the core. */
  readonly ticksSkipped: number;
  readonly turns: number;
}

/** What is waiting right now. */
export interface NodeGauges {
  readonly queuedProposals: number;
  readonly pendingProposals: number;
  readonly waitingReads: number;
  readonly inboxMessages: number;
  /** Batches on their way to the disk. */
  readonly writesInFlight: number;
  readonly applyTasks: number;
  readonly snapshotsSending: number;
  readonly logEntriesInMemory: number;
  readonly logBytesInMemory: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lastIndex: number;
  /** Leader: entries that the slowest voter or learner lacks. */
  readonly largestLag: number;
}

/** Everything a node tells about its work. */
export interface NodeMetrics {
  readonly counters: NodeCounters;
  readonly gauges: NodeGauges;
  /** From `propose` to its resolution. */
  readonly commitLatency: LatencyHistogram;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function noMessages(): MessageCounts {
  return {
    append: 0,
    'append-ack': 0,
    vote: 0,
    'vote-ack': 0,
    heartbeat: 0,
    'heartbeat-ack': 0,
    snapshot: 0,
    'timeout-now': 0,
    'read-query': 0,
    'read-answer': 0,
    forward: 0,
  };
}

export class Metrics implements Mutable<NodeCounters> {
  proposalsAccepted = 0;
  proposalsDropped = 0;
  proposalsSuperseded = 0;
  proposalsUnknown = 0;
  entriesAppended = 0;
  entriesApplied = 0;
  entryBytesAppended = 0;
  logBatches = 0;
  logSyncs = 0;
  readonly messagesIn = noMessages();
  readonly messagesOut = noMessages();
  messagesDropped = 0;
  elections = 0;
  leaderChanges = 0;
  readsByQuorum = 0;
  readsByLease = 0;
  snapshotsTaken = 0;
  snapshotsSent = 0;
  snapshotsReceived = 0;
  snapshotSendsFailed = 0;
  snapshotReceivesFailed = 0;
  snapshotBytesSent = 0;
  snapshotBytesReceived = 0;
  snapshotBytesResumed = 0;
  ticks = 0;
  ticksSkipped = 0;
  turns = 0;

  readonly #latency = new Array<number>(latencyBucketsMs.length + 1).fill(0);
  #latencyCount = 0;
  #latencySumMs = 0;

  observeLatency(ms: number): void {
    let bucket = 0;
    while (bucket < latencyBucketsMs.length && ms > (latencyBucketsMs[bucket] ?? 0)) bucket += 1;
    this.#latency[bucket] = (this.#latency[bucket] ?? 0) + 1;
    this.#latencyCount += 1;
    this.#latencySumMs += ms;
  }

  counters(): NodeCounters {
    return { ...this, messagesIn: { ...this.messagesIn }, messagesOut: { ...this.messagesOut } };
  }

  latency(): LatencyHistogram {
    return { counts: [...this.#latency], count: this.#latencyCount, sumMs: this.#latencySumMs };
  }
}
