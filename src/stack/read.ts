/** The only part of this folder that touches files. */
import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, resolve } from 'node:path';
import { ClusterError } from '../lib/errors.ts';
import { convertStack, type StackPlan } from './convert.ts';
import type { StackFile } from './document.ts';
import { parse as parseEnvironment } from './env-lines.ts';
import type { Variables } from './interpolate.ts';
import { mergeFiles } from './merge.ts';
import { parseSource } from './parse.ts';

export interface ReadRequest {
  /** Paths, or `-` for standard input. */
  readonly files: readonly string[];
  readonly cwd: string;
  readonly environment: Variables;
  readStdin(): Promise<Uint8Array>;
  /** Leaves variables as they stand. */
  readonly skipInterpolation?: boolean;
}

export interface LoadedStack {
  readonly file: StackFile;
  readonly warnings: readonly string[];
}

export async function loadStack(request: ReadRequest): Promise<LoadedStack> {
  const first = request.files[0];
  if (first === undefined) throw new ClusterError('invalid', 'Please specify a Compose file (with --compose-file)');
  const base = first === '-' ? request.cwd : dirname(resolve(request.cwd, first));
  const home = request.environment['HOME'] ?? '/root';
  const paths = (path: string) => {
    if (path === '~' || path.startsWith('~/')) return resolve(home, path.slice(2));
    return isAbsolute(path) ? path : resolve(base, path);
  };
  const files: StackFile[] = [];
  const warnings = new Set<string>();
  for (const name of request.files) {
    const bytes = name === '-' ? await request.readStdin() : await readBytes(resolve(request.cwd, name), name);
    const text = Buffer.from(bytes).toString('utf8');
    const variables = request.skipInterpolation === true ? undefined : request.environment;
    const parsed = parseSource({ name: name === '-' ? 'standard input' : name, text }, variables, paths);
    files.push(parsed.file);
    for (const warning of parsed.warnings) warnings.add(warning);
  }
  return { file: mergeFiles(files), warnings: [...warnings] };
}

/** Reads what the file refers to and converts it. */
export async function planStack(stack: string, file: StackFile, environment: Variables): Promise<StackPlan> {
  const contents = new Map<string, Uint8Array>();
  for (const entry of [...Object.values(file.secrets), ...Object.values(file.configs)]) {
    if (entry.file !== undefined && entry.external !== true)
      contents.set(entry.file, await readBytes(entry.file, entry.file));
  }
  const envFiles: Record<string, Record<string, string | null>> = {};
  for (const [key, service] of Object.entries(file.services)) {
    for (const path of service.env_file ?? []) {
      const text = Buffer.from(await readBytes(path, path)).toString('utf8');
      envFiles[key] = { ...envFiles[key], ...parseEnvironment(text, path) };
    }
  }
  return convertStack({ stack, file, contents, environment, envFiles });
}

async function readBytes(path: string, shown: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const reason =
      { ENOENT: 'no such file or directory', EACCES: 'permission denied', EISDIR: 'is a directory' }[code] ?? code;
    throw new ClusterError('invalid', `open ${shown}: ${reason}`, { cause: error });
  }
}
