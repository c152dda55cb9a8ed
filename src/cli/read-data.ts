import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ClusterError } from '../lib/errors.ts';
import type { Context } from './context.ts';

/** The bytes of a file, or of standard input for `-`. */
export async function readData(ctx: Context, file: string): Promise<Buffer> {
  if (file === '-') return ctx.readStdin();
  try {
    return await readFile(resolve(ctx.cwd, file));
  } catch (error) {
    throw fileError(file, error);
  }
}

export function fileError(file: string, error: unknown): ClusterError {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'no such file or directory',
    EACCES: 'permission denied',
    EISDIR: 'is a directory',
  };
  const reason = reasons[String(code)] ?? (error instanceof Error ? error.message : String(error));
  return new ClusterError('invalid', `open ${file}: ${reason}`, { cause: error });
}
