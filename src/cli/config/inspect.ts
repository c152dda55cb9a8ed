import type { Command } from 'commander';
import type { ApiConfig } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { defineInspect } from '../inspect.ts';
import { heading, labelLines, line } from '../output/pretty.ts';

export function define(command: Command, ctx: Context): void {
  defineInspect(command, ctx, {
    argument: 'CONFIG',
    fetch: async (context, id) => (await context.client()).config(id),
    pretty: (object) => prettyConfig(object as ApiConfig),
  });
}

function prettyConfig(config: ApiConfig): string {
  const data = Buffer.from(config.Spec.Data ?? '', 'base64').toString('utf8');
  return [
    line('ID', config.ID),
    line('Name', config.Spec.Name),
    heading('Labels', labelLines(config.Spec.Labels)),
    line('Created at', config.CreatedAt),
    line('Updated at', config.UpdatedAt),
    `Data:\n${data}${data.endsWith('\n') ? '' : '\n'}`,
  ].join('');
}
