/**
 * tscluster against Docker Swarm, on three test hosts of this machine, one after the other in one sitting, with the same
 * program through the same API. Prints a table and a JSON line per result; exits 1 when a test could not be run or a
 * "must" of the targets was missed. Leaves nothing behind.
 */
import { existsSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { execute, projectDir } from '../test/e2e/hosts.ts';
import { compare, jsonLine, type Side, table } from './report.ts';
import { type Memory, type Subject, settled } from './subject.ts';
import { Swarm } from './swarm.ts';
import { figures, type Test, tests } from './targets.ts';
import { Tscluster } from './tscluster.ts';

/** hosts.sh derives the names of namespaces and cables from it; so do the hosts of the end-to-end tests. */
const prefix = 'ph';
const count = 3;
const scripts = resolve(projectDir, process.env['BENCH_SCRIPTS'] ?? '../shared/bench');
const usage = 'npm run bench -- [--only tscluster|swarm] [--rounds N] [--tests TEST,…]';

interface Options {
  readonly only: string | undefined;
  readonly rounds: number;
  readonly tests: readonly Test[];
}

interface Measured extends Side {
  readonly figures: Map<string, number[]>;
  readonly failures: string[];
}

let active: Subject | undefined;
let stopping = false;

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

function options(): Options {
  const { values } = parseArgs({
    options: { only: { type: 'string' }, rounds: { type: 'string' }, tests: { type: 'string' } },
  });
  const rounds = Number(values.rounds ?? '1');
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 20)
    throw new Error(`--rounds wants 1 to 20, not "${values.rounds}"`);
  if (values.only !== undefined && values.only !== 'tscluster' && values.only !== 'swarm')
    throw new Error(`--only wants tscluster or swarm, not "${values.only}"`);
  const words = values.tests?.split(',');
  const chosen = tests.filter(
    (test) => words === undefined || words.some((word) => word === test || word === test.split(' ')[0]),
  );
  if (chosen.length === 0) throw new Error(`--tests wants some of: ${tests.join(', ')}`);
  return { only: values.only, rounds, tests: chosen };
}

/** What the bench program wants to know of the cluster: whom to ask first, and whose cable to pull. */
function invocation(
  test: Test,
  subject: Subject,
  leader: number,
): { readonly sockets: readonly string[]; readonly args: readonly string[]; readonly cut?: number } {
  const order = [leader, ...subject.sockets.map((_, at) => at + 1).filter((index) => index !== leader)];
  const sockets = order.flatMap((index) => subject.sockets[index - 1] ?? []);
  const cut = test === 'leader' ? leader : test === 'failover' ? order[1] : undefined;
  return cut === undefined ? { sockets, args: test.split(' ') } : { sockets, args: [test, String(cut)], cut };
}

async function runTest(test: Test, subject: Subject): Promise<ReadonlyMap<string, number>> {
  const { sockets, args, cut } = invocation(test, subject, await settled(subject));
  const env = { ...process.env, SOCKS: sockets.join(','), IMAGE: subject.image, HOSTS_PREFIX: prefix };
  const result = await execute(process.execPath, [join(scripts, 'orch-bench.mjs'), ...args], {
    env,
    timeoutMs: 240_000,
  });
  // A test that fails between cut and heal leaves the cable out.
  if (cut !== undefined) await execute('bash', [join(scripts, 'hosts.sh'), 'heal', String(cut)], { env });
  const lines = result.stdout.split('\n').filter((line) => line.startsWith('{'));
  for (const line of lines) say(`${subject.name}: ${line}`);
  if (result.code !== 0)
    throw new Error(result.stderr.trim().split('\n').slice(-6).join('\n') || `exit code ${result.code}`);
  if (cut !== undefined) await settled(subject);
  return new Map(lines.flatMap((line) => [...figures(JSON.parse(line) as Record<string, unknown>)]));
}

function add(to: Map<string, number[]>, name: string, value: number): void {
  to.set(name, [...(to.get(name) ?? []), value]);
}

function addRest(to: Map<string, number[]>, memory: Memory): void {
  add(to, 'memory', memory.daemonMb);
  add(to, 'memory with containerd', memory.daemonMb + memory.containerdMb);
}

/**
 * Both sides begin on a disk at rest. Without a journal ext4 does not use a number again that a deleted file had in the last
 * minute (five more while that is not written), and steps over each of them whenever a file is made: the second side would pay for
 * what the first one removed, a tenth of its time when containers are created.
 */
async function diskAtRest(): Promise<void> {
  await execute('sync', []);
  await new Promise((done) => setTimeout(done, 65_000));
}

/** One round of one side, from bare hosts to none. */
async function round(bringUp: () => Promise<Subject>, wanted: readonly Test[], into: Measured): Promise<string> {
  await diskAtRest();
  const subject = await bringUp();
  try {
    await settled(subject);
    say(
      `${subject.name} is up; load of this machine ${loadavg()
        .map((load) => load.toFixed(1))
        .join(' ')}`,
    );
    await new Promise((done) => setTimeout(done, 5_000)); // what the start threw away gets collected
    addRest(into.figures, subject.memory());
    for (const test of wanted) {
      if (stopping) break;
      try {
        for (const [name, value] of await runTest(test, subject)) add(into.figures, name, value);
      } catch (error) {
        into.failures.push(`${subject.name}, ${test}: ${(error as Error).message}`);
        say(`FAILED ${into.failures.at(-1)}`);
      }
    }
    add(into.figures, 'memory after', subject.memory().daemonMb);
  } finally {
    await subject.down();
    active = undefined;
  }
  return subject.name;
}

async function swarmUp(): Promise<Subject> {
  const swarm = new Swarm({ scripts, prefix, count });
  active = swarm;
  try {
    await swarm.up();
  } catch (error) {
    await swarm.down();
    throw error;
  }
  return swarm;
}

async function tsclusterUp(): Promise<Subject> {
  active = await Tscluster.up({ prefix, count });
  return active;
}

async function measure(chosen: Options): Promise<{ readonly ours: Measured; readonly peer: Measured }> {
  const ours: Measured = { name: 'tscluster', figures: new Map(), failures: [] };
  let peer: Measured = { name: 'Docker Swarm 20.10.24', figures: new Map(), failures: [] };
  const obstacle = chosen.only === 'tscluster' ? 'not asked for' : await Swarm.obstacle();
  if (obstacle !== undefined)
    say(`DOCKER SWARM IS NOT MEASURED: ${obstacle}. Ratios are against figures recorded earlier.`);
  for (let at = 0; at < chosen.rounds && !stopping; at++) {
    if (obstacle === undefined)
      peer = { ...peer, name: await guarded('Docker Swarm', peer, () => round(swarmUp, chosen.tests, peer)) };
    if (chosen.only !== 'swarm' && !stopping)
      await guarded('tscluster', ours, () => round(tsclusterUp, chosen.tests, ours));
  }
  return { ours, peer };
}

/** A side that does not come up is a failure of that side; the other one still runs. */
async function guarded(name: string, side: Measured, work: () => Promise<string>): Promise<string> {
  try {
    return await work();
  } catch (error) {
    side.failures.push(`${name}: ${(error as Error).message}`);
    say(`FAILED ${side.failures.at(-1)}`);
    return side.name;
  }
}

/** The test under way fails when its servers go; the round then ends as after any failure. */
function stopOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      say(`${signal}: taking everything down`);
      void (active?.down() ?? Promise.resolve()).then(() => process.exit(130));
    });
  }
}

async function main(): Promise<number> {
  const chosen = options();
  if (process.getuid?.() !== 0) throw new Error('root is needed (network namespaces, containers)');
  if (!existsSync(join(scripts, 'orch-bench.mjs'))) {
    say(
      `SKIPPED: ${scripts} is not there. The bench program orch-bench.mjs with hosts.sh and swarm-host.sh is not part of this repository; BENCH_SCRIPTS names its folder.`,
    );
    return 0;
  }
  stopOnSignals();
  const { ours, peer } = await measure(chosen);
  const rows = compare(ours.figures, peer.figures);
  process.stdout.write(`\n${table(rows, { ours: ours.name, peer: peer.name })}\n\n`);
  for (const row of rows) process.stdout.write(`${jsonLine(row, peer.name)}\n`);
  const failures = [...ours.failures, ...peer.failures];
  for (const failure of failures) say(`FAILED ${failure}`);
  return failures.length > 0 || rows.some((row) => row.verdict === 'MISSED') ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  say(`${(error as Error).message}\nusage: ${usage}`);
  process.exitCode = 1;
}
