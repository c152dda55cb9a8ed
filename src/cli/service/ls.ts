import type { Command } from 'commander';
import type { Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { printServices, type ServiceListOptions } from '../output/services.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --filter <filter>', 'Filter output: id, label, mode, name', collectFilter)
    .option('--format <format>', formatHelp)
    .option('-q, --quiet', 'Only display IDs')
    .action(async (options: ServiceListOptions & { filter?: Filters }) => {
      const client = await ctx.client();
      printServices(ctx, await client.services(options.filter, { status: options.quiet !== true }), options);
    });
}
