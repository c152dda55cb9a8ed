/**
 * `npm run scale -- --nodes N --tasks M [--services S] [--idle SECONDS]`: a real manager with its log on disk, and N agents that
 * run nothing. Shows what it costs to bring M tasks up, to be at rest, to lose a node, to update a service, to take in two more
 * managers, and to lose the leader of the three. Prints a table and a JSON line per phase; exits with 1 when the event loop was
 * held for more than 100 ms. What is measured is the leader's process; after the last phase, the new leader's.
 */
import { parseArgs } from 'node:util';
import { sleep } from '../../src/lib/clock.ts';
import { realClock } from '../../src/lib/real.ts';
import type { ServiceSpec } from '../../src/model/spec.ts';
import { ScaleCluster } from './cluster.ts';
import { type Cost, Meter } from './measure.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    tasks: { type: 'string', default: '30000' },
    services: { type: 'string' },
    idle: { type: 'string', default: '10' },
  },
});
const nodes = count('nodes', values.nodes);
const tasks = count('tasks', values.tasks);
const services = count('services', values.services ?? String(Math.max(1, Math.round(tasks / 100))));
const replicas = Math.max(1, Math.round(tasks / services));
const limitMs = 30 * 60_000;

const cluster = await ScaleCluster.open(nodes);
const meter = new Meter(cluster.member);
const { census, store } = cluster.member;
const { view } = store;
await run();
await cluster.close();
report(meter.costs);

async function run(): Promise<void> {
  await phase(`${nodes} nodes register`, () => until(() => census.ready === nodes));
  await phase(`${services * replicas} tasks run`, async () => {
    await createServices();
    await until(() => census.running.size === services * replicas);
  });
  await phase(`at rest for ${values.idle} s`, () => sleep(realClock, Number(values.idle) * 1000));
  await phase('a node dies', async () => {
    const [lost] = view.list('node');
    cluster.silence(0);
    await until(() => view.get('node', lost?.id ?? '')?.status.state === 'down');
    await until(() => census.running.size === services * replicas);
  });
  await phase(`update of a service of ${replicas}`, async () => {
    await update('service0', 'nginx:2');
    await until(() => view.serviceByName('service0')?.updateStatus?.state === 'completed');
  });
  await phase('two managers join', () => cluster.addManagers(until));
  await loseLeader();
}

/** What the new leader's process does is measured there, from before the loss. */
async function loseLeader(): Promise<void> {
  const name = 'the leader is lost';
  const [before, { version }] = [census.fingerprint(), view];
  await Promise.all(cluster.peers.map((peer) => peer.ask({ kind: 'begin', phase: name }, 'begun')));
  process.stderr.write(`${name} …`);
  const lostAt = realClock.monotonic();
  const since = () => ((realClock.monotonic() - lostAt) / 1000).toFixed(1);
  const leader = await cluster.loseLeader();
  process.stderr.write(` ${leader.name} leads after ${since()} s,`);
  const end = realClock.monotonic() + limitMs;
  while ((await leader.ask({ kind: 'look' }, 'seen')).registered < nodes - 1) {
    if (!leader.leads) throw new Error(`${leader.name} has lost the leadership again`);
    if (realClock.monotonic() > end) throw new Error(`not all registered after ${limitMs / 60_000} minutes`);
    await sleep(realClock, 100);
  }
  process.stderr.write(` all registered after ${since()} s,`);
  await sleep(realClock, 15_000);
  const { cost } = await leader.ask({ kind: 'end' }, 'cost');
  meter.costs.push(cost);
  process.stderr.write(` ${cost.seconds.toFixed(1)} s\n`);
  const after = await leader.ask({ kind: 'census' }, 'counted');
  if (after.running !== before) throw new Error('a change of leader moved tasks');
  if ((await leader.ask({ kind: 'look' }, 'seen')).version < version)
    throw new Error('the new leader has lost commits');
}

async function phase(name: string, work: () => Promise<void>): Promise<void> {
  process.stderr.write(`${name} …`);
  const { seconds } = await meter.phase(name, work);
  process.stderr.write(` ${seconds.toFixed(1)} s\n`);
}

async function createServices(): Promise<void> {
  for (let at = 0; at < services; at++) await cluster.control.call('service.create', { spec: spec(`service${at}`) });
}

async function update(name: string, Image: string): Promise<void> {
  const service = view.serviceByName(name);
  if (service === undefined) throw new Error(`no such service: ${name}`);
  const TaskTemplate = { ...service.spec.TaskTemplate, ContainerSpec: { Image } };
  const request = { id: service.id, version: service.meta.version, spec: { ...service.spec, TaskTemplate } };
  await cluster.control.call('service.update', request);
}

function spec(Name: string): ServiceSpec {
  return {
    Name,
    Labels: {},
    TaskTemplate: { ContainerSpec: { Image: 'nginx:1' } },
    Mode: { Replicated: { Replicas: replicas } },
    UpdateConfig: { Parallelism: 10, Monitor: 1e9 },
  };
}

/** Only counters are looked at: a walk over all tasks would be measured, too. */
async function until(holds: () => boolean): Promise<void> {
  const end = realClock.monotonic() + limitMs;
  while (!holds()) {
    if (realClock.monotonic() > end) throw new Error(`not there after ${limitMs / 60_000} minutes`);
    await sleep(realClock, 100);
  }
}

function report(costs: readonly Cost[]): void {
  const head = [
    'phase',
    'time',
    'CPU',
    'proposals',
    'loop p99',
    'loop longest',
    'longest own',
    'heap',
    'memory',
    'log',
  ];
  const body = costs.map((cost) => [
    cost.phase,
    `${cost.seconds.toFixed(1)} s`,
    `${cost.cpuSeconds.toFixed(1)} s`,
    String(cost.proposals),
    `${cost.delayP99Ms.toFixed(1)} ms`,
    `${cost.delayLongestMs.toFixed(0)} ms`,
    `${cost.delayOwnMs.toFixed(0)} ms`,
    `${cost.heapMb.toFixed(0)} MB`,
    `${cost.rssMb.toFixed(0)} MB`,
    `${cost.logMb.toFixed(0)} MB`,
  ]);
  const widths = head.map((_, at) => Math.max(...[head, ...body].map((cells) => (cells[at] ?? '').length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  console.log(
    [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body.map(line)].join('\n'),
  );
  for (const cost of costs) {
    for (const [what, unit] of [
      ['seconds', 's'],
      ['cpuSeconds', 's'],
      ['proposals', '1'],
      ['delayP99Ms', 'ms'],
      ['delayLongestMs', 'ms'],
      ['delayOwnMs', 'ms'],
      ['rssMb', 'MB'],
    ] as const)
      console.log(
        JSON.stringify({
          bench: 'scale',
          case: `${nodes}/${tasks} ${cost.phase}: ${what}`,
          value: round(cost[what]),
          unit,
        }),
      );
  }
  if (costs.some(({ delayLongestMs }) => delayLongestMs > 100)) process.exitCode = 1;
}

function round(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}

function count(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name}: not a number above 0: ${text}`);
  return value;
}
