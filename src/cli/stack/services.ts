import type { Command } from 'commander';
import type { Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { printServices, type ServiceListOptions } from '../output/services.ts';
import { stackFilters } from './filters.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] STACK')
    .argument('<stack>')
    .option('-f, --filter <filter>', 'Filter output: id, label, mode, name', collectFilter)
    .option('--format <format>', formatHelp)
    .option('-q, --quiet', 'Only display IDs')
    .action(async (stack: string, options: ServiceListOptions & { filter?: Filters }) => {
      const client = await ctx.client();
      const services = await client.services(stackFilters(stack, options.filter), { status: options.quiet !== true });
      if (services.length === 0) ctx.stderr.write(`Nothing found in stack: ${stack}\n`);
      else printServices(ctx, services, options);
    });
}
