/** `npm run transcripts -w raft-ts -- [--semantic] DIR|FILE…`: plays data-driven scripts against the core. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { runScript } from './run.ts';

const usage = 'usage: transcripts [--semantic] DIR|FILE…';
// npm runs scripts in the package's folder; paths are meant from where the user stands.
const here = process.env['INIT_CWD'] ?? process.cwd();

interface Found {
  readonly path: string;
  /** Named by the user, so it has to be a script. */
  readonly named: boolean;
}

function filesBelow(path: string): string[] {
  const entries = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    const child = join(path, entry.name);
    if (entry.isDirectory()) return filesBelow(child);
    return entry.isFile() ? [child] : [];
  });
}

function find(path: string): Found[] {
  const full = resolve(here, path);
  if (!statSync(full).isDirectory()) return [{ path: full, named: true }];
  return filesBelow(full).map((child) => ({ path: child, named: false }));
}

function main(args: readonly string[]): number {
  const paths = args.filter((arg) => !arg.startsWith('-'));
  const flags = args.filter((arg) => arg.startsWith('-'));
  if (paths.length === 0 || flags.some((flag) => flag !== '--semantic')) {
    console.error(usage);
    return 2;
  }
  let passed = 0;
  let failed = 0;
  for (const { path, named } of paths.flatMap(find)) {
    const result = runScript(readFileSync(path, 'utf8'), { semantic: flags.length > 0 });
    if (!result && !named) continue;
    const shown = relative(here, path);
    if (result?.ok) passed += 1;
    else failed += 1;
    console.log(result?.ok ? `ok ${shown}` : `FAIL ${shown}: ${result?.why ?? 'not a script of a known kind'}`);
  }
  console.log(`${String(passed)} passed, ${String(failed)} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

function run(): number {
  try {
    return main(process.argv.slice(2));
  } catch (error) {
    // An operating system's error says what is wrong with the path.
    if (!(error instanceof Error && 'code' in error)) throw error;
    console.error(error.message);
    return 2;
  }
}

process.exitCode = run();
