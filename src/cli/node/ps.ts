import type { Command } from 'commander';
import type { ApiTask, Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { forEach } from '../each.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { printTasks, type TaskListOptions } from '../output/tasks.ts';
import { resolveNode } from './self.ts';

interface Options extends TaskListOptions {
  readonly filter?: Filters;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] [NODE...]')
    .argument('[nodes...]')
    .option('-f, --filter <filter>', 'Filter output: desired-state, id, label, name', collectFilter)
    .option('--format <format>', formatHelp)
    .option('--no-resolve', 'Do not map IDs to names')
    .option('--no-trunc', 'Do not truncate output')
    .option('-q, --quiet', 'Only display task IDs')
    .action((nodes: string[], options: Options) => listTasks(ctx, nodes, options));
}

async function listTasks(ctx: Context, nodes: readonly string[], options: Options): Promise<void> {
  const client = await ctx.client();
  const tasks: ApiTask[] = [];
  let found = 0;
  await forEach(ctx, nodes.length === 0 ? ['self'] : nodes, async (name) => {
    const node = await client.node(await resolveNode(client, name));
    found++;
    tasks.push(...(await client.tasks({ ...options.filter, node: [node.ID] })));
  });
  if (found > 0) await printTasks(ctx, tasks, options);
}
