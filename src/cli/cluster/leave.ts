import type { Command } from 'commander';
import type { Context } from '../context.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --force', 'Leave even if this node is a manager; the last manager takes the cluster with it')
    .action(async (options: { force?: boolean }) => {
      await (await ctx.client()).leaveSwarm(options.force === true);
      ctx.stdout.write('Node left the cluster.\n');
    });
}
