/**
 * raft-ts against etcd on this machine: three processes of each, on loopback, on the same real disk, durable before they
 * answer. Prints a table and JSON lines; fails if a write that was acknowledged is missing anywhere.
 */
import { Etcd } from './etcd.ts';
import { failover, recovery } from './interruptions.ts';
import { BadOption, type Options, parseOptions, usage } from './options.ts';
import { Ours } from './ours.ts';
import { checkPorts, Workplace } from './processes.ts';
import { jsonLines, type Row, table } from './report.ts';
import type { Subject } from './subject.ts';
import { Throughput } from './throughput.ts';

const portsPerSide = 6;

async function main(args: readonly string[]): Promise<void> {
  const options = parseOptions(args);
  const print = (line: string) => options.json || console.error(line);
  await checkPorts(Array.from({ length: 2 * portsPerSide }, (_, at) => options.port + at));
  const workplace = new Workplace(options.directory);
  try {
    const subjects = await start(options, workplace);
    const rows = await measure(options, { subjects, workplace, print });
    const peer = subjects.find(({ name }) => name === 'etcd')?.title ?? 'etcd';
    if (!options.json) console.log(`${table(rows, peer)}\n`);
    console.log(jsonLines(rows, peer));
    for (const { nodes } of subjects) for (const node of nodes) node.close();
  } catch (error) {
    for (const output of workplace.ended()) console.error(output);
    throw error;
  } finally {
    await workplace.stopAll();
  }
}

async function start(options: Options, workplace: Workplace): Promise<readonly Subject[]> {
  const { only, port, syncDelayMs, profile } = options;
  // So many that the log of the recovery test is never shortened.
  const keepLog = options.mode === 'recovery' ? { snapshotEveryEntries: 10_000_000 } : {};
  const subjects: Subject[] = [];
  if (only !== 'ours') {
    const etcd = new Etcd(workplace, { firstPort: port + portsPerSide, syncDelayMs, ...keepLog });
    try {
      await etcd.start();
      subjects.push(etcd);
    } catch (error) {
      // Without a slow disk for it there is no comparison, but still something to see.
      if (syncDelayMs === 0 || only === 'etcd') throw error;
      console.error(`etcd is left out: ${error instanceof Error ? error.message : String(error)}`);
      for (const at of etcd.nodes.keys()) await etcd.killNode(at);
    }
  }
  if (only !== 'etcd') {
    const ours = new Ours(workplace, { firstPort: port, syncDelayMs, package: options.package, profile, ...keepLog });
    await ours.start();
    subjects.push(ours);
  }
  return subjects;
}

interface Bench {
  readonly subjects: readonly Subject[];
  readonly workplace: Workplace;
  readonly print: (line: string) => void;
}

function measure(options: Options, { subjects, workplace, print }: Bench): Promise<readonly Row[]> {
  const common = { rounds: options.rounds, folder: workplace.directory, progress: print };
  if (options.mode === 'failover') return failover(subjects, common);
  if (options.mode === 'recovery') return recovery(subjects, common);
  const { levels, seconds, syncDelayMs } = options;
  return new Throughput({ ...common, levels, seconds, slowDisk: syncDelayMs > 0 }).run(subjects);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof BadOption) console.error(error.message === '' ? usage : `${error.message}\n${usage}`);
  else console.error(error instanceof Error ? error.message : error);
  process.exitCode = error instanceof BadOption ? 2 : 1;
}
