import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { forEach } from '../each.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('CONFIG [CONFIG...]')
    .argument('<names...>')
    .action(async (names: string[]) => {
      const client = await ctx.client();
      await forEach(ctx, names, async (name) => {
        await client.removeConfig(name);
        ctx.stdout.write(`${name}\n`);
      });
    });
}
