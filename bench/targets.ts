/** What is measured and what must be reached: the figures of the project's targets, as data. */

/** Ratios are ours over the peer's; limits are in the case's own unit. */
export interface Bound {
  readonly against: 'peer' | 'limit';
  readonly value: number;
}

export interface Case {
  readonly work: string;
  readonly unit: 'ms' | '1/s' | 'MB';
  readonly better: 'less' | 'more';
  /** The peer's figure from an earlier sitting, for a machine where the peer cannot run. */
  readonly recorded?: number;
  readonly must?: Bound;
  readonly should?: Bound;
}

const peer = (value: number): Bound => ({ against: 'peer', value });
const limit = (value: number): Bound => ({ against: 'limit', value });

/** In the order of the table. */
export const cases: Readonly<Record<string, Case>> = {
  'create 3': {
    work: 'create 3 replicas, all running',
    unit: 'ms',
    better: 'less',
    recorded: 541,
    must: peer(1 / 2),
    should: peer(1 / 4),
  },
  'create 30': {
    work: 'create 30 replicas, all running',
    unit: 'ms',
    better: 'less',
    recorded: 3800,
    must: peer(1 / 2),
    should: peer(1 / 3),
  },
  'create 100': { work: 'create 100 replicas, all running', unit: 'ms', better: 'less' },
  'update 6': {
    work: 'update of 6 replicas, one at a time',
    unit: 'ms',
    better: 'less',
    recorded: 9800,
    must: peer(1 / 2),
    should: peer(1 / 5),
  },
  failover: {
    work: 'cable of a host cut, replacements running',
    unit: 'ms',
    better: 'less',
    recorded: 11_700,
    must: limit(4000),
    should: limit(3000),
  },
  leader: {
    work: 'cable of the leader cut, write taken',
    unit: 'ms',
    better: 'less',
    recorded: 10_200,
    must: limit(3000),
    should: limit(1500),
  },
  'writes 1': {
    work: 'small writes, 1 client',
    unit: '1/s',
    better: 'more',
    recorded: 401,
    must: peer(1),
    should: peer(2),
  },
  'writes 1 p50': { work: '… half of them within', unit: 'ms', better: 'less', recorded: 2.1 },
  'writes 32': {
    work: 'small writes, 32 clients',
    unit: '1/s',
    better: 'more',
    recorded: 433,
    must: peer(5),
    should: peer(15),
  },
  'writes 32 p99': { work: '… 99 of 100 within', unit: 'ms', better: 'less', recorded: 106 },
  'reads /services': {
    work: 'GET /services, 16 clients',
    unit: '1/s',
    better: 'more',
    recorded: 7500,
    must: peer(0.7),
    should: peer(1),
  },
  'reads /tasks': {
    work: 'GET /tasks, 16 clients',
    unit: '1/s',
    better: 'more',
    recorded: 10_700,
    must: peer(0.7),
    should: peer(1),
  },
  'reads /nodes': {
    work: 'GET /nodes, 16 clients',
    unit: '1/s',
    better: 'more',
    recorded: 5200,
    must: peer(0.7),
    should: peer(1),
  },
  memory: {
    work: 'daemon at rest, without containerd',
    unit: 'MB',
    better: 'less',
    recorded: 105,
    must: limit(120),
    should: limit(90),
  },
  'memory with containerd': { work: 'daemon at rest, with containerd', unit: 'MB', better: 'less', recorded: 150 },
  'memory after': { work: 'daemon after all this, without containerd', unit: 'MB', better: 'less' },
};

/** Runs of the shared bench program, in this order: what cuts cables comes after what does not depend on it. */
export const tests = [
  'create 3',
  'create 30',
  'create 100',
  'update 6',
  'failover',
  'leader',
  'writes 1 5',
  'writes 32 5',
  'reads 16 3',
] as const;
export type Test = (typeof tests)[number];

/** Case → figure from one line that the bench program prints. */
export function figures(line: Readonly<Record<string, unknown>>): ReadonlyMap<string, number> {
  const { test } = line;
  const found: [string, unknown][] = [];
  if (test === 'create') found.push([`create ${line['replicas']}`, line['median_ms']]);
  if (test === 'update') found.push([`update ${line['replicas']}`, line['ms']]);
  if (test === 'failover') found.push(['failover', line['replaced_ms']]);
  if (test === 'leader') found.push(['leader', line['write_accepted_ms']]);
  if (test === 'reads') found.push([`reads ${line['path']}`, line['per_s']]);
  if (test === 'writes') {
    const name = `writes ${line['conc']}`;
    found.push([name, line['per_s']], [`${name} p50`, line['p50_ms']], [`${name} p99`, line['p99_ms']]);
  }
  const known = found.filter(([name]) => cases[name] !== undefined);
  for (const [name, value] of known)
    if (typeof value !== 'number') throw new Error(`${name}: no figure in ${JSON.stringify(line)}`);
  return new Map(known as [string, number][]);
}
