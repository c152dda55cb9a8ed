import { ClusterError } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { readData } from '../read-data.ts';

/** The `K=V` or `K` lines of files, without blank lines and comments. */
export async function readEnvFiles(ctx: Context, files: readonly string[]): Promise<string[]> {
  const lines: string[] = [];
  for (const file of files) lines.push(...parseEnvLines((await readData(ctx, file)).toString('utf8'), file));
  return lines;
}

function parseEnvLines(text: string, file: string): string[] {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/).map((line) => line.trimStart());
  const kept = lines.filter((line) => line !== '' && !line.startsWith('#'));
  for (const line of kept) {
    const name = line.split('=', 1)[0] ?? '';
    if (name === '') throw new ClusterError('invalid', `invalid env file (${file}): no variable name on line '${line}'`);
    if (/\s/.test(name)) throw new ClusterError('invalid', `invalid env file (${file}): variable '${name}' contains whitespaces`);
  }
  return kept;
}
