/** Writes and linearizable reads per second, side by side: for each level one side, then the other, round after round. */
import { load, type Measured } from './load.ts';
import { poll } from './processes.ts';
import { encodePut, encodeRange, putPath, rangePath } from './protocol.ts';
import type { Row, Unit } from './report.ts';
import type { Subject } from './subject.ts';

const valueBytes = 1024;
const key = 'bench';
const warmUpMs = 12_000;

export interface ThroughputOptions {
  readonly rounds: number;
  readonly levels: readonly number[];
  readonly seconds: number;
  /** For the load generator's files. */
  readonly folder: string;
  /** The disk was slowed on purpose: what counts is how seldom it is waited for. */
  readonly slowDisk: boolean;
  readonly progress: (line: string) => void;
}

type Kind = 'writes' | 'reads';

const rate: Unit = { unit: '/s', better: 'more' };
const time: Unit = { unit: 'ms', better: 'less' };
const cpu: Unit = { unit: 'µs', better: 'less' };
const syncs: Unit = { unit: 'syncs/entry', better: 'less' };

export class Throughput {
  readonly #options: ThroughputOptions;
  readonly #rows = new Map<string, { unit: Unit; values: Map<Subject['name'], number[]> }>();
  /** Puts that were answered, and must therefore be there. */
  readonly #acknowledged = new Map<Subject, number>();
  /** What a warm-up found, by which the length of a measurement is chosen. */
  readonly #expected = new Map<string, number>();

  constructor(options: ThroughputOptions) {
    this.#options = options;
  }

  async run(subjects: readonly Subject[]): Promise<readonly Row[]> {
    for (const subject of subjects) await this.#warmUp(subject);
    const { rounds, levels, slowDisk, progress } = this.#options;
    const kinds: readonly Kind[] = slowDisk ? ['writes'] : ['writes', 'reads'];
    for (let round = 1; round <= rounds; round++) {
      for (const level of levels) {
        for (const kind of kinds) {
          for (const subject of subjects) {
            const line = await this.#measure(subject, kind, level);
            progress(`round ${String(round)}: ${line}`);
          }
        }
      }
    }
    for (const subject of subjects) await this.#verify(subject);
    return this.#report();
  }

  /** A JIT compiler and a file system's cache need a while; what a server does in its first seconds is not its speed. */
  async #warmUp(subject: Subject): Promise<void> {
    const end = performance.now() + (this.#options.slowDisk ? 0 : warmUpMs);
    while (performance.now() < end) {
      for (const kind of ['writes', 'reads'] as const) await this.#load(subject, kind, { level: 16, requests: 4000 });
      await this.#load(subject, 'writes', { level: 1, requests: 1000 });
    }
    for (const level of this.#options.levels) {
      for (const kind of ['writes', 'reads'] as const) {
        if (kind === 'reads' && this.#options.slowDisk) continue;
        const requests = this.#options.slowDisk ? 20 * level : Math.min(20_000, 500 * level);
        const { perSecond } = await this.#load(subject, kind, { level, requests });
        this.#expected.set(`${subject.name} ${kind} ${String(level)}`, perSecond);
      }
    }
  }

  async #measure(subject: Subject, kind: Kind, level: number): Promise<string> {
    const leader = await leaderOf(subject);
    const expected = this.#expected.get(`${subject.name} ${kind} ${String(level)}`) ?? 1000;
    const requests = Math.max(level, Math.round(expected * this.#options.seconds));
    const before = await subject.counters(leader);
    const measured = await this.#load(subject, kind, { level, requests });
    const after = await subject.counters(leader);
    const name = `${kind}, ${String(level)} in flight`;
    this.#add(name, rate, { subject, value: measured.perSecond });
    this.#add(`${name}, p50`, time, { subject, value: measured.p50Ms });
    this.#add(`${name}, p99`, time, { subject, value: measured.p99Ms });
    const cpuMicros = ((after.cpuMs - before.cpuMs) * 1000) / requests;
    this.#add(`${name}, leader's CPU per request`, cpu, { subject, value: cpuMicros });
    const perEntry = (after.syncs - before.syncs) / requests;
    if (kind === 'writes') this.#add(`${name}, leader's disk`, syncs, { subject, value: perEntry });
    const { perSecond, p50Ms, p99Ms } = measured;
    const times = `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
    return `${subject.title}, ${name}: ${perSecond.toFixed(0)}/s, ${times}, ${cpuMicros.toFixed(0)} µs of CPU, ${after.note}`;
  }

  async #load(subject: Subject, kind: Kind, size: { level: number; requests: number }): Promise<Measured> {
    const node = subject.nodes[await leaderOf(subject)];
    const value = Buffer.alloc(valueBytes, 'v');
    const { level: inFlight, requests } = size;
    const writes = kind === 'writes';
    const measured = await load(this.#options.folder, {
      url: `${node?.url ?? ''}${writes ? putPath : rangePath}`,
      message: writes ? encodePut({ key, value }) : encodeRange({ key, serializable: false }),
      inFlight,
      requests,
    });
    if (writes) this.#acknowledged.set(subject, (this.#acknowledged.get(subject) ?? 0) + requests);
    return measured;
  }

  /** On each of the three nodes the key must have been put as often as puts were answered. */
  async #verify(subject: Subject): Promise<void> {
    const acknowledged = this.#acknowledged.get(subject) ?? 0;
    for (const [at, node] of subject.nodes.entries()) {
      let version: number | undefined;
      const complete = async () => {
        const found = await node.get(key);
        version = found?.version;
        return version === acknowledged && found?.value.length === valueBytes ? true : undefined;
      };
      const what = `${subject.title}, node ${String(at + 1)} holds all ${String(acknowledged)} writes`;
      await poll(complete, { limitMs: 10_000, what }).catch(() => {
        throw new Error(`${what}: it holds ${String(version)}`);
      });
    }
    this.#options.progress(`${subject.title}: all ${String(acknowledged)} acknowledged writes are on all three nodes`);
  }

  #add(name: string, unit: Unit, figure: { subject: Subject; value: number }): void {
    const row = this.#rows.get(name) ?? { unit, values: new Map<Subject['name'], number[]>() };
    this.#rows.set(name, row);
    row.values.set(figure.subject.name, [...(row.values.get(figure.subject.name) ?? []), figure.value]);
  }

  #report(): readonly Row[] {
    return [...this.#rows].map(([name, { unit, values }]) => ({
      case: name,
      ...unit,
      values: Object.fromEntries(values),
    }));
  }
}

export function leaderOf(subject: Subject): Promise<number> {
  return poll(() => subject.leader(), { limitMs: 10_000, what: `${subject.title} has a leader` });
}
