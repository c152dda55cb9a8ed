/**
 * What the directives of a transcript act upon: nodes that do nothing by themselves, messages in flight, and the output.
 * A handler's errors are part of the output, as etcd's test environment has it.
 */
import type { Message, TraceEvent } from '../../src/core/index.ts';
import { describeProgress, hex, indented, stateName } from './describe.ts';
import type { Level } from './log-lines.ts';
import { levels, logLines } from './log-lines.ts';
import type { NodeOptions, Parcel } from './node.ts';
import { parcelOf, TranscriptNode } from './node.ts';

/** Told in the output, not a failure of the runner. */
export class DirectiveError extends Error {
  override readonly name = 'DirectiveError';
}

export interface Recipient {
  readonly id: number;
  readonly drop: boolean;
}

export class Environment {
  readonly nodes: TranscriptNode[] = [];
  #inFlight: Parcel[] = [];
  #output = '';
  #level = 0;

  get quiet(): boolean {
    return levels[this.#level] === 'NONE';
  }

  write(text: string): void {
    if (!this.quiet) this.#output += text;
  }

  takeOutput(): string {
    const output = this.#output;
    this.#output = '';
    return output;
  }

  setLevel(name: string): void {
    const level = levels.indexOf(name.toUpperCase() as Level);
    if (level < 0) throw new DirectiveError(`log levels must be either of [${levels.join(' ')}]`);
    this.#level = level;
  }

  withLevel(name: string | undefined, act: () => void): void {
    const before = this.#level;
    if (name !== undefined) this.setLevel(name);
    try {
      act();
    } finally {
      this.#level = before;
    }
  }

  log(level: Level, text: string): void {
    if (levels.indexOf(level) >= this.#level) this.write(`${level} ${text}\n`);
  }

  indent(act: () => void): void {
    const before = this.#output;
    this.#output = '';
    act();
    const inner = this.#output.replace(/\n$/, '');
    this.#output = inner === '' ? before : `${before}${indented(inner)}\n`;
  }

  node(id: number): TranscriptNode {
    const node = this.nodes[id - 1];
    if (!node) throw new DirectiveError(`no node ${String(id)}`);
    return node;
  }

  addNode(options: Omit<NodeOptions, 'id' | 'trace'>): void {
    const id = this.nodes.length + 1;
    const trace = (event: TraceEvent): void => {
      for (const [level, text] of logLines(event, options.window)) this.log(level, text);
    };
    const node = new TranscriptNode({ ...options, id, trace });
    this.nodes.push(node);
    const { state } = node;
    const { voters, outgoing } = state.tracker.conf;
    const peers = [...new Set([...voters, ...outgoing])].sort((a, b) => a - b).map(hex);
    trace({ node: id, term: state.term, kind: 'conf', detail: { conf: state.tracker.conf } });
    trace({ node: id, term: state.term, kind: 'follower', detail: {} });
    const { commit, applied } = state.log;
    const last = state.log.last();
    this.log(
      'INFO',
      `newRaft ${hex(id)} [peers: [${peers.join(',')}], term: ${String(state.term)}, commit: ${String(commit)}, ` +
        `applied: ${String(applied)}, lastindex: ${String(last.index)}, lastterm: ${String(last.term)}]`,
    );
  }

  send(...parcels: readonly Parcel[]): void {
    this.#inFlight.push(...parcels);
  }

  processReady(node: TranscriptNode): void {
    const { text, parcels, finish } = node.processReady();
    this.write(text);
    this.send(...parcels);
    finish();
  }

  processThread(node: TranscriptNode, thread: 'append' | 'apply'): void {
    const job = (thread === 'append' ? node.appendWork : node.applyWork).shift();
    if (!job) {
      this.write(`no ${thread} work to perform`);
      return;
    }
    this.write(`Processing:\n${job.text}\n`);
    job.run();
    this.write('Responses:\n');
    for (const { text } of job.answers) this.write(`${text}\n`);
    this.send(...job.answers);
    job.done();
  }

  /** The number of messages delivered or dropped. */
  deliver(recipients: readonly Recipient[], name?: string): number {
    let count = 0;
    for (const { id, drop } of recipients) {
      const fits = (p: Parcel): boolean => p.to === id && !(drop && p.local) && (name === undefined || p.name === name);
      const chosen = this.#inFlight.filter(fits);
      this.#inFlight = this.#inFlight.filter((parcel) => !fits(parcel));
      count += chosen.length;
      for (const parcel of chosen) this.#deliverOne(parcel, drop);
    }
    return count;
  }

  #deliverOne(parcel: Parcel, drop: boolean): void {
    this.write(`${drop ? 'dropped: ' : ''}${parcel.text}\n`);
    if (drop) return;
    const error = parcel.deliver(this.node(parcel.to));
    if (error !== undefined) this.write(`${error}\n`);
  }

  stabilize(nodes: readonly TranscriptNode[]): void {
    for (let rounds = 0; rounds < 10_000; rounds += 1) {
      if (!this.#stabilizeOnce(nodes)) return;
    }
    throw new DirectiveError('does not stabilize');
  }

  #stabilizeOnce(nodes: readonly TranscriptNode[]): boolean {
    let busy = false;
    const section = (node: TranscriptNode, title: string, act: () => void): void => {
      this.write(`> ${String(node.id)} ${title}\n`);
      act();
      busy = true;
    };
    for (const node of nodes) {
      if (!node.hasReady()) continue;
      section(node, 'handling Ready', () => this.indent(() => this.processReady(node)));
    }
    for (const node of nodes) {
      if (!this.#inFlight.some((parcel) => parcel.to === node.id)) continue;
      const recipients = [{ id: node.id, drop: false }];
      section(node, 'receiving messages', () => this.indent(() => void this.deliver(recipients)));
    }
    for (const thread of ['append', 'apply'] as const) {
      for (const node of nodes) {
        const work = thread === 'append' ? node.appendWork : node.applyWork;
        if (work.length === 0) continue;
        section(node, `processing ${thread} thread`, () => {
          while (work.length > 0) this.indent(() => this.processThread(node, thread));
        });
      }
    }
    return busy;
  }

  status(node: TranscriptNode): void {
    for (const peer of node.core.status().progress) {
      this.write(`${String(peer.id)}: ${describeProgress(peer, node.options.window)}\n`);
    }
  }

  raftState(): void {
    for (const { id, state } of this.nodes) {
      const voter = state.tracker.isVoter(id) ? 'Voter' : 'Non-Voter';
      const { role, term, lead } = state;
      this.write(`${String(id)}: ${stateName(role)} (${voter}) Term:${String(term)} Lead:${String(lead)}\n`);
    }
  }

  sendSnapshot(from: TranscriptNode, to: number): void {
    const epoch = from.state.tracker.get(to)?.epoch ?? 0;
    const head = { from: from.id, to, term: from.state.term };
    const message: Message = { type: 'snapshot', ...head, snapshot: from.snapshot, epoch };
    const parcel = parcelOf(message);
    this.send(parcel);
    this.write(parcel.text);
  }
}
