/** `npm run transcripts -w raft-ts -- [--semantic] DIR|FILE…`: plays data-driven scripts against the core. */
import { readFileSync, statSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { filesBelow, systemError } from '../files.ts';
import type { Result, RunOptions } from './run.ts';
import { runScript } from './run.ts';

const usage = 'usage: transcripts [--semantic] DIR|FILE…';
// npm runs scripts in the package's folder; paths are meant from where the user stands.
const here = process.env['INIT_CWD'] ?? process.cwd();

/** Characters; a hostile line is not repeated in full. */
const whyMax = 1000;

/** Prose beside the scripts. */
const prose = /\.md$|(?:^|\/)(?:README|LICENSE|NOTICE)(?:\.\w+)?$/i;

/** Undefined: a file that lies beside the scripts. */
function runFile(path: string, named: boolean, options: RunOptions): Result | undefined {
  if (!named && prose.test(path)) return undefined;
  try {
    const result = runScript(readFileSync(path, 'utf8'), options);
    return result ?? (named ? { ok: false, why: 'not a script of a known kind' } : undefined);
  } catch (error) {
    return { ok: false, why: systemError(error) };
  }
}

/** What the user named has to be there, and a file has to be a script. */
function runPath(path: string, options: RunOptions): { readonly path: string; readonly result: Result }[] {
  const full = resolve(here, path);
  const run = (file: string, named: boolean): { path: string; result: Result }[] => {
    const result = runFile(file, named, options);
    return result ? [{ path: file, result }] : [];
  };
  try {
    if (!statSync(full).isDirectory()) return run(full, true);
    return filesBelow(full).flatMap((file) => run(file, false));
  } catch (error) {
    return [{ path: full, result: { ok: false, why: systemError(error) } }];
  }
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
  for (const argument of paths) {
    for (const { path, result } of runPath(argument, { semantic: flags.length > 0 })) {
      if (result.ok) passed += 1;
      else failed += 1;
      const shown = relative(here, path);
      console.log(result.ok ? `ok ${shown}` : `FAIL ${shown}: ${result.why.slice(0, whyMax)}`);
    }
  }
  console.log(`${String(passed)} passed, ${String(failed)} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

process.exitCode = main(process.argv.slice(2));
