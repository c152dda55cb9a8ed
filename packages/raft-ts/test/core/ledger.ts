/** What may never be contradicted, over all nodes and all time: the four safety properties of the paper's figure 3. */
import type { ConfState, Entry, Index, Message, NodeId, Term } from '../../src/core/index.ts';
import type { Disk } from './disk.ts';

function keyOf(entry: Entry): string {
  return `${String(entry.term)}/${String(entry.kind)}/${entry.data.join(',')}`;
}

export class Ledger {
  readonly #leaders = new Map<Term, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  readonly #prefix = new Map<string, string>();
  readonly #committed = new Map<Index, string>();
  readonly #confs = new Map<Index, string>();
  commit: Index = 1;
  /** Joint configurations that came into force. */
  joints = 0;

  leader(id: NodeId, term: Term, log: Disk): void {
    const known = this.#leaders.get(term);
    if (known === id) return;
    if (known !== undefined)
      throw new Error(`election safety: ${String(known)} and ${String(id)} lead term ${String(term)}`);
    this.#leaders.set(term, id);
    for (let index = log.firstIndex(); index <= this.commit; index += 1) {
      const entry = log.entries[index - log.firstIndex()];
      if (!entry || keyOf(entry) !== this.#committed.get(index)) {
        throw new Error(`leader completeness: ${String(id)} leads term ${String(term)} without index ${String(index)}`);
      }
    }
  }

  /** Log matching: the same index and term mean the same bytes and the same predecessor. */
  entry(entry: Entry, prevTerm: Term): void {
    const key = `${String(entry.index)}@${String(entry.term)}`;
    const value = `${String(prevTerm)}<${keyOf(entry)}`;
    const known = this.#prefix.get(key);
    if (known === undefined) this.#prefix.set(key, value);
    else if (known !== value) throw new Error(`log matching: ${key} is both ${known} and ${value}`);
  }

  committedTo(commit: Index, log: Disk): void {
    for (let index = this.commit + 1; index <= commit; index += 1) {
      const entry = log.entries[index - log.firstIndex()];
      if (!entry) throw new Error(`index ${String(index)} was committed unseen`);
      this.#committed.set(index, keyOf(entry));
    }
    this.commit = Math.max(this.commit, commit);
  }

  applied(entry: Entry): void {
    const known = this.#committed.get(entry.index);
    if (known !== keyOf(entry)) {
      throw new Error(`state machine safety: index ${String(entry.index)} is ${keyOf(entry)} and ${String(known)}`);
    }
  }

  conf(index: Index, conf: ConfState): void {
    const text = JSON.stringify(conf);
    const known = this.#confs.get(index);
    if (known !== undefined && known !== text) throw new Error(`config at ${String(index)}: ${text} and ${known}`);
    if (known === undefined && conf.outgoing.length > 0) this.joints += 1;
    this.#confs.set(index, text);
  }

  /** One vote per term and node, and no promise that the sender's disk does not keep. */
  message(m: Message, disk: Disk): void {
    const promise = m.type === 'append-ack' || (m.type === 'vote-ack' && !m.pre) || (m.type === 'vote' && !m.pre);
    if (!promise) return;
    if (disk.hardState.term < m.term) throw new Error(`${m.type} of term ${String(m.term)} left before it was durable`);
    if (m.type === 'append-ack') {
      if (m.match !== undefined && disk.lastIndex() < m.match)
        throw new Error('append acknowledged before it was durable');
      return;
    }
    if (m.type === 'vote-ack' && !m.granted) return;
    const key = `${String(m.from)}@${String(m.term)}`;
    const vote = m.type === 'vote' ? m.from : m.to;
    if ((this.#votes.get(key) ?? vote) !== vote) throw new Error(`${key} voted twice`);
    this.#votes.set(key, vote);
    if (disk.hardState.term === m.term && disk.hardState.vote !== vote)
      throw new Error('vote left before it was durable');
  }
}
