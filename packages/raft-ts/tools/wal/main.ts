/** `npm run wal -w raft-ts -- verify|dump [--json] [--data] DIR…`: what is in a log directory, and whether it is whole. */
import { resolve } from 'node:path';
import { dump } from './dump.ts';
import { verify } from './verify.ts';

const usage = `usage: wal verify [--json] DIR…
       wal dump [--json] [--data] DIR…
verify: checks every record of the segments and snapshots in DIR (or in its log and snapshots folders)
dump:   prints one line per record; --data adds the payloads, in hexadecimal
Reads only, also beside a running node. Exit status: 0 whole (a torn last write is), 1 damaged, 2 not readable.`;

const flagsOf: Readonly<Record<string, readonly string[]>> = { verify: ['--json'], dump: ['--json', '--data'] };

async function main(args: readonly string[]): Promise<number> {
  const [command = '', ...rest] = args;
  const known = flagsOf[command];
  const flags = rest.filter((arg) => arg.startsWith('-'));
  const paths = rest.filter((arg) => !arg.startsWith('-'));
  if (known === undefined || paths.length === 0 || flags.some((flag) => !known.includes(flag))) {
    console.error(usage);
    return 2;
  }
  const options = { json: flags.includes('--json'), data: flags.includes('--data') };
  let status = 0;
  for (const path of paths) {
    // npm runs scripts in the package's folder; paths are meant from where the user stands.
    const directory = resolve(process.env['INIT_CWD'] ?? process.cwd(), path);
    const run = command === 'verify' ? verify : dump;
    status = Math.max(status, await run(directory, { ...options, print: (line) => console.log(line) }));
  }
  return status;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  // An operating system's error says what is wrong with the path.
  if (!(error instanceof Error && 'code' in error)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
