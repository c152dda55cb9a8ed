import { parse } from '../../stack/env-lines.ts';
import type { Context } from '../context.ts';
import { readData } from '../read-data.ts';

/** The `K=V` lines of files. A bare `K` takes the value of this process, and is left out when there is none, as Docker does. */
export async function readEnvFiles(ctx: Context, files: readonly string[]): Promise<string[]> {
  const lines: string[] = [];
  for (const file of files) {
    const values = parse((await readData(ctx, file)).toString('utf8'), file);
    for (const [name, written] of Object.entries(values)) {
      const value = written ?? ctx.env[name];
      if (value !== undefined) lines.push(`${name}=${value}`);
    }
  }
  return lines;
}
