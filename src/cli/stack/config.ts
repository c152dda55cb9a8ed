import type { Command } from 'commander';
import { renderStack } from '../../stack/index.ts';
import type { Context } from '../context.ts';
import { addFileOption, type FileOptions, load } from './load.ts';

export function define(command: Command, ctx: Context): void {
  command.usage('[OPTIONS]');
  addFileOption(command);
  command
    .option('--skip-interpolation', 'Skip interpolation and output only merged config')
    .action(async (options: FileOptions & { skipInterpolation?: boolean }) => {
      const { file } = await load(ctx, options);
      ctx.stdout.write(renderStack(file));
    });
}
