import type { Command } from 'commander';
import { isKind } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { forEach } from '../each.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('NETWORK [NETWORK...]')
    .argument('<names...>')
    .option('-f, --force', 'Do not error if the network does not exist')
    .action(async (names: string[], { force = false }: { force?: boolean }) => {
      const client = await ctx.client();
      await forEach(ctx, names, async (name) => {
        try {
          await client.removeNetwork(name);
        } catch (error) {
          if (!force || !isKind(error, 'not_found')) throw error;
        }
        ctx.stdout.write(`${name}\n`);
      });
    });
}
