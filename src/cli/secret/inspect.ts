import type { Command } from 'commander';
import type { ApiSecret } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { defineInspect } from '../inspect.ts';
import { heading, labelLines, line } from '../output/pretty.ts';

export function define(command: Command, ctx: Context): void {
  defineInspect(command, ctx, {
    argument: 'SECRET',
    fetch: async (context, id) => (await context.client()).secret(id),
    pretty: (object) => prettySecret(object as ApiSecret),
  });
}

function prettySecret(secret: ApiSecret): string {
  return [
    line('ID', secret.ID),
    line('Name', secret.Spec.Name),
    heading('Labels', labelLines(secret.Spec.Labels)),
    line('Driver', secret.Spec.Driver?.Name),
    line('Created at', secret.CreatedAt),
    line('Updated at', secret.UpdatedAt),
  ].join('');
}
