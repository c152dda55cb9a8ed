import type { Command } from 'commander';
import { type LoadedStack, loadStack } from '../../stack/index.ts';
import type { Context } from '../context.ts';
import { collect } from '../options.ts';

export interface FileOptions {
  readonly composeFile?: string[];
}

export function addFileOption(command: Command): void {
  command.option('-c, --compose-file <file>', 'Path to a Compose file, or "-" to read from stdin', collect);
}

/** Reads, merges and checks the files; what has no effect in a cluster is told on stderr. */
export async function load(
  ctx: Context,
  options: FileOptions & { readonly skipInterpolation?: boolean },
): Promise<LoadedStack> {
  const loaded = await loadStack({
    files: options.composeFile ?? [],
    cwd: ctx.cwd,
    environment: ctx.env,
    readStdin: () => ctx.readStdin(),
    skipInterpolation: options.skipInterpolation === true,
  });
  for (const warning of loaded.warnings) ctx.stderr.write(`${warning}\n`);
  return loaded;
}
