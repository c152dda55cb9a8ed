import type { Command } from 'commander';
import type { Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { resolveNode } from '../node/self.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { printTasks, type TaskListOptions } from '../output/tasks.ts';
import { stackFilters } from './filters.ts';

interface Options extends TaskListOptions {
  readonly filter?: Filters;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] STACK')
    .argument('<stack>')
    .option('-f, --filter <filter>', 'Filter output: desired-state, id, name, node', collectFilter)
    .option('--format <format>', formatHelp)
    .option('--no-resolve', 'Do not map IDs to names')
    .option('--no-trunc', 'Do not truncate output')
    .option('-q, --quiet', 'Only display task IDs')
    .action((stack: string, options: Options) => listTasks(ctx, stack, options));
}

async function listTasks(ctx: Context, stack: string, options: Options): Promise<void> {
  const client = await ctx.client();
  const filters = stackFilters(stack, options.filter);
  const nodes = filters['node'];
  const resolved =
    nodes === undefined ? {} : { node: await Promise.all(nodes.map((name) => resolveNode(client, name))) };
  const tasks = await client.tasks({ ...filters, ...resolved });
  if (tasks.length === 0) throw new CliError(`nothing found in stack: ${stack}`);
  await printTasks(ctx, tasks, options);
}
