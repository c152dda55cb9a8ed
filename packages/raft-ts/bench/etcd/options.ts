import { resolve } from 'node:path';

export const usage = `usage: npm run bench:etcd -w raft-ts -- [options]
  --rounds N        rounds, of which medians are taken (5)
  --levels A,B,…    requests in flight (1,16,64,256)
  --seconds S       length of one measurement, about (3)
  --only ours|etcd  one side only
  --sync-delay MS   a disk that takes so long for each sync; the figure is syncs per entry
  --failover        kill -9 of the leader → next acknowledged write, median of --rounds
  --recovery        restart of a node with 100,000 entries → it has replayed them
  --dir DIR         where data goes (a folder beside the system's temporary files; never memory)
  --port N          first of the 12 ports used (24790)
  --package DIR     another version of this package to measure
  --profile DIR     write CPU profiles of our nodes to DIR
  --json            JSON lines only`;

export interface Options {
  readonly mode: 'throughput' | 'failover' | 'recovery';
  readonly rounds: number;
  readonly levels: readonly number[];
  readonly seconds: number;
  readonly only: 'ours' | 'etcd' | undefined;
  readonly syncDelayMs: number;
  readonly directory: string | undefined;
  readonly port: number;
  readonly package: string | undefined;
  readonly profile: string | undefined;
  readonly json: boolean;
}

export class BadOption extends Error {
  override readonly name = 'BadOption';
}

const flags = new Set(['failover', 'recovery', 'json', 'help']);
const values = new Set(['rounds', 'levels', 'seconds', 'only', 'sync-delay', 'dir', 'port', 'package', 'profile']);

export function parseOptions(args: readonly string[]): Options {
  const given = readArguments(args);
  const only = given.get('only');
  if (only !== undefined && only !== 'ours' && only !== 'etcd') throw new BadOption('--only takes "ours" or "etcd"');
  const levels = (given.get('levels') ?? '1,16,64,256').split(',').map((level) => amount('levels', level, 1));
  return {
    mode: given.has('failover') ? 'failover' : given.has('recovery') ? 'recovery' : 'throughput',
    rounds: amount('rounds', given.get('rounds') ?? '5', 1),
    levels,
    seconds: amount('seconds', given.get('seconds') ?? '3', 0),
    only,
    syncDelayMs: amount('sync-delay', given.get('sync-delay') ?? '0', 0),
    directory: place(given.get('dir')),
    port: amount('port', given.get('port') ?? '24790', 1024),
    package: place(given.get('package')),
    profile: place(given.get('profile')),
    json: given.has('json'),
  };
}

/** npm runs scripts in the package's folder; paths are meant from where the user stands. */
function place(path: string | undefined): string | undefined {
  return path === undefined ? undefined : resolve(process.env['INIT_CWD'] ?? process.cwd(), path);
}

function readArguments(args: readonly string[]): ReadonlyMap<string, string> {
  const given = new Map<string, string>();
  for (let at = 0; at < args.length; at++) {
    const [, name = '', inline] = /^--([a-z-]+)(?:=(.*))?$/s.exec(args[at] ?? '') ?? [];
    if (flags.has(name)) given.set(name, '');
    else if (values.has(name)) {
      const value = inline ?? args[++at];
      if (value === undefined) throw new BadOption(`--${name} takes a value`);
      given.set(name, value);
    } else throw new BadOption(`unknown option ${args[at] ?? ''}`);
  }
  if (given.has('help')) throw new BadOption('');
  return given;
}

function amount(name: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < least) {
    throw new BadOption(`--${name} takes numbers from ${String(least)}, not "${text}"`);
  }
  return value;
}
