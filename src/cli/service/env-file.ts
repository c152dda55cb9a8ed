import { parse } from '../../stack/env-lines.ts';
import type { Context } from '../context.ts';
import { readData } from '../read-data.ts';

/** The `K=V` or `K` lines of files, without blank lines and comments. */
export async function readEnvFiles(ctx: Context, files: readonly string[]): Promise<string[]> {
  const lines: string[] = [];
  for (const file of files) {
    const values = parse((await readData(ctx, file)).toString('utf8'), file);
    lines.push(...Object.entries(values).map(([name, value]) => (value === null ? name : `${name}=${value}`)));
  }
  return lines;
}
