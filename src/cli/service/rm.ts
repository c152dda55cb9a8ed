import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { forEach } from '../each.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('SERVICE [SERVICE...]')
    .argument('<services...>')
    .action(async (services: string[]) => {
      const client = await ctx.client();
      await forEach(ctx, services, async (name) => {
        await client.removeService(name);
        ctx.stdout.write(`${name}\n`);
      });
    });
}
