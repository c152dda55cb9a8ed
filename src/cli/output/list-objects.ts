/** `secret ls` and `config ls`, which differ in what they ask for. */
import type { Command } from 'commander';
import type { Client, Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { printObjects } from './objects.ts';

interface Options {
  readonly filter?: Filters;
  readonly format?: string;
  readonly quiet?: true;
}

type Objects = Parameters<typeof printObjects>[1];

/** `driver`: whether the table has a column for it. */
export function defineList(
  command: Command,
  ctx: Context,
  list: { readonly driver: boolean; readonly ask: (client: Client, filters: Filters | undefined) => Promise<Objects> },
): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --filter <filter>', 'Filter output: id, label, name', collectFilter)
    .option('--format <format>', formatHelp)
    .option('-q, --quiet', 'Only display IDs')
    .action(async (options: Options) => {
      const objects = await list.ask(await ctx.client(), options.filter);
      printObjects(ctx, objects, { ...options, driver: list.driver });
    });
}
