/** Counts named situations: a batch of runs that never meets one of them proves nothing about it. */
import type { Message, NodeId, Status, TraceEvent } from '../core/types.ts';

const traceNames: Readonly<Record<string, string>> = {
  'ack-ignored': 'acknowledgement of another epoch or a stranger ignored',
  'attest-missing': 'write finished whose entries are written again',
  'attest-stale': 'write finished in a later term attests nothing',
  'auto-leave': 'joint configuration left by itself',
  'auto-leave-held': 'leaving a joint configuration has to wait',
  candidate: 'candidacy',
  compacted: 'log compacted',
  conf: 'configuration switched',
  'conf-passed-over': 'configuration change passed over',
  'conf-refused': 'configuration change refused',
  conflict: 'conflicting entries replaced',
  'fast-forward': 'snapshot taken for a commit index',
  ignored: 'message refused at the door',
  leader: 'leader elected',
  precandidate: 'precandidacy',
  'quorum-lost': 'leader stepped down without quorum',
  'read-failed': 'read failed with its leader',
  'read-parked': 'read parked until the first commit of the term',
  refused: 'leader heeded a refusal',
  restored: 'log replaced by a snapshot',
  snapshot: 'snapshot sent',
  'snapshot-ignored': 'snapshot ignored',
  'snapshot-inactive': 'snapshot not sent to a silent node',
  'snapshot-not-ready': 'snapshot not ready',
  'snapshot-not-received': 'snapshot stream broken off by its receiver',
  'snapshot-not-sent': 'snapshot stream given up by its sender',
  'snapshot-passed': 'snapshot overtaken by an acknowledgement',
  'snapshot-received': 'snapshot stored',
  stale: 'stale message ignored',
  'told-to-campaign': 'campaign at the request of the leader',
  transfer: 'transfer begun',
  'transfer-aborted': 'transfer aborted',
  'transfer-replaced': 'transfer replaced by another',
  unreachable: 'peer reported unreachable',
  'vote-ignored': 'vote refused while a leader lives',
};

/** Counts the situations that runs got into, so that a batch that met only calm weather does not pass for a test. */
export class Coverage {
  readonly counts = new Map<string, number>();
  /** Last epoch that a leader used towards a peer. */
  readonly #epochs = new Map<string, number>();
  readonly #autoLeaves = new Map<number, number>();

  /** The situation has come about. */
  hit(situation: string): void {
    this.counts.set(situation, (this.counts.get(situation) ?? 0) + 1);
  }

  /** Looks for situations in what a node traces. */
  traced(event: TraceEvent): void {
    const name = traceNames[event.kind];
    if (name !== undefined) this.hit(name);
    if (event.kind === 'campaign-held') this.hit(`campaign held back: ${String(event.detail['obstacle'])}`);
    if (event.kind === 'auto-leave') {
      const times = (this.#autoLeaves.get(event.node) ?? 0) + 1;
      this.#autoLeaves.set(event.node, times);
      if (times > 1) this.hit('joint configuration left by itself again');
    }
  }

  /** Looks for situations in what a node sends. */
  sent(m: Message): void {
    switch (m.type) {
      case 'append':
        this.#epochs.set(`${m.from}>${m.to}`, m.epoch);
        this.hit(m.entries.length === 0 ? 'empty append sent' : 'append sent');
        if (m.entries.length > 1) this.hit('append with several entries');
        return;
      case 'append-ack':
        if (m.reject !== undefined)
          this.hit(m.reject.hint.term > 0 ? 'refusal with term hint' : 'refusal without term hint');
        else if (m.match === undefined) this.hit('stale leader told of a higher term');
        return;
      case 'vote':
        if (m.transfer) this.hit('vote asked for a transfer');
        return;
      case 'vote-ack':
        this.hit(`${m.pre ? 'pre-vote' : 'vote'} ${m.granted ? 'granted' : 'refused'}`);
        return;
      case 'heartbeat':
        if (m.read > 0) this.hit('heartbeat with a read round');
        return;
      case 'timeout-now':
        this.hit('timeout-now sent');
        return;
      case 'read-query':
        this.hit('read asked of the leader');
        return;
      case 'read-answer':
        this.hit(m.index > 0 ? 'read answered to a follower' : 'read refused to a follower');
        return;
      default:
    }
  }

  /** Looks for situations in what a node is about to receive. */
  arriving(messages: readonly Message[], statusOf: (id: NodeId) => Status | undefined): void {
    for (const m of messages) {
      const status = statusOf(m.to);
      if (status === undefined) {
        this.hit('message for a node that is down');
        continue;
      }
      if (m.term < status.term) this.hit('message of a lower term');
      else if (m.term > status.term) this.hit('message of a higher term');
      if (m.type === 'append-ack' && m.term === status.term && status.role === 'leader') this.#ackArriving(m, status);
      if (m.type === 'append' && m.entries.length > 0 && (m.entries.at(-1)?.index ?? 0) <= status.commit) {
        this.hit('append of committed entries only');
      }
    }
  }

  #ackArriving(m: Message & { readonly type: 'append-ack' }, status: Status): void {
    const epoch = this.#epochs.get(`${m.to}>${m.from}`);
    if (epoch !== undefined && m.epoch !== 0 && m.epoch !== epoch) this.hit('acknowledgement of another epoch');
    const peer = status.progress.find(({ id }) => id === m.from);
    if (peer === undefined) this.hit('acknowledgement of a non-member');
    else if (m.match !== undefined && m.match <= peer.match) this.hit('acknowledgement that says nothing new');
  }

  /** A write that ends in a later term than it began in attests nothing. */
  async watchAppend(_id: NodeId, work: Promise<void>, term: () => number): Promise<void> {
    const before = term();
    await work;
    if (term() > before && before > 0) this.hit('write finished in a later term');
  }

  /** Takes in the counts of another run. */
  add(other: ReadonlyMap<string, number>): void {
    for (const [name, count] of other) this.counts.set(name, (this.counts.get(name) ?? 0) + count);
  }
}
