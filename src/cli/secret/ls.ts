import type { Command } from 'commander';
import type { Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { printObjects } from '../output/objects.ts';

interface Options {
  readonly filter?: Filters;
  readonly format?: string;
  readonly quiet?: true;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --filter <filter>', 'Filter output: id, label, name', collectFilter)
    .option('--format <format>', formatHelp)
    .option('-q, --quiet', 'Only display IDs')
    .action(async (options: Options) => {
      const client = await ctx.client();
      printObjects(ctx, await client.secrets(options.filter), { ...options, driver: true });
    });
}
