/** A test build: the real sources with one edit, in a folder of its own. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Mutant } from './mutants.ts';

const sources = fileURLToPath(new URL('../../src', import.meta.url));

export interface TestBuild {
  load(module: string): Promise<unknown>;
  remove(): Promise<void>;
}

/** Throws if the text to be replaced is not there exactly once: then the mutant must be written anew. */
export function patched(source: string, { name, file, find, replace }: Mutant): string {
  const parts = source.split(find);
  if (parts.length !== 2) {
    throw new Error(`Cannot apply mutant "${name}": its text occurs ${parts.length - 1} times in ${file}, not once`);
  }
  return parts.join(replace);
}

/** Without a mutant: the sources as they are. `edit` changes every source file. */
export async function testBuild(mutant?: Mutant, edit?: (source: string, file: string) => string): Promise<TestBuild> {
  const folder = await mkdtemp(join(tmpdir(), 'raft-ts-mutant-'));
  await cp(sources, join(folder, 'src'), { recursive: true });
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }\n');
  if (mutant !== undefined) {
    const path = join(folder, 'src', mutant.file);
    await writeFile(path, patched(await readFile(path, 'utf8'), mutant));
  }
  if (edit !== undefined) await editAll(join(folder, 'src', 'core'), edit);
  return {
    load: (module) => import(pathToFileURL(join(folder, 'src', module)).href),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

async function editAll(folder: string, edit: (source: string, file: string) => string): Promise<void> {
  const { readdir } = await import('node:fs/promises');
  for (const file of await readdir(folder)) {
    const path = join(folder, file);
    await writeFile(path, edit(await readFile(path, 'utf8'), file));
  }
}
