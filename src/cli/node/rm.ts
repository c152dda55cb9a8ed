import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { forEach } from '../each.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] NODE [NODE...]')
    .argument('<nodes...>')
    .option('-f, --force', 'Force remove a node, even one that is not down')
    .action(async (nodes: string[], options: { force?: true }) => {
      const client = await ctx.client();
      await forEach(ctx, nodes, async (name) => {
        await client.removeNode(name, options.force === true);
        ctx.stdout.write(`${name}\n`);
      });
    });
}
