import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { defineInspect } from '../inspect.ts';

export function define(command: Command, ctx: Context): void {
  command.option('-v, --verbose', 'Add the services and nodes on the network');
  defineInspect(command, ctx, {
    argument: 'NETWORK',
    fetch: async (context, id) => {
      const { verbose = false } = command.opts<{ verbose?: boolean }>();
      return (await context.client()).inspectNetwork(id, { verbose });
    },
  });
}
