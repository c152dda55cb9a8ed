import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { defineList } from '../output/list-objects.ts';

export function define(command: Command, ctx: Context): void {
  defineList(command, ctx, { driver: false, ask: (client, filters) => client.configs(filters) });
}
