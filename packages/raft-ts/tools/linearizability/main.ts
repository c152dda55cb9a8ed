/** `npm run linearizability -w raft-ts -- [--verbose] DIR|FILE…`: verdicts on recorded histories. */
import { resolve } from 'node:path';
import { BadHistory } from './jepsen.ts';
import { judge } from './judge.ts';

const usage = 'usage: linearizability [--verbose] DIR|FILE…';

function main(args: readonly string[]): number {
  const paths = args.filter((arg) => !arg.startsWith('-'));
  const flags = args.filter((arg) => arg.startsWith('-'));
  if (paths.length === 0 || flags.some((flag) => flag !== '--verbose')) {
    console.error(usage);
    return 2;
  }
  let status = 0;
  for (const path of paths) {
    // npm runs scripts in the package's folder; paths are meant from where the user stands.
    const from = process.env['INIT_CWD'] ?? process.cwd();
    status = Math.max(status, judgePath(resolve(from, path), flags.length > 0));
  }
  return status;
}

function judgePath(path: string, verbose: boolean): number {
  try {
    return judge(path, (line) => console.log(line), { verbose });
  } catch (error) {
    // An operating system's error says what is wrong with the path.
    if (!(error instanceof BadHistory) && !(error instanceof Error && 'code' in error)) throw error;
    console.error(error.message);
    return 2;
  }
}

process.exitCode = main(process.argv.slice(2));
