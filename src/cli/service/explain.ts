import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { serviceText } from '../output/explain.ts';

export interface ExplainOptions {
  readonly format?: string;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] SERVICE')
    .argument('<service>')
    .option('--format <format>', 'Output format: "text" or "json"')
    .action(async (name: string, options: ExplainOptions) => {
      const explanation = await (await ctx.client()).explainService(name);
      ctx.stdout.write(formatted(explanation, options, () => serviceText(explanation, ctx.clock.now())));
    });
}

export function formatted(value: unknown, { format = 'text' }: ExplainOptions, text: () => string): string {
  if (format === 'json') return `${JSON.stringify(value)}\n`;
  if (format !== 'text') throw new CliError(`Error: unknown format "${format}", it must be text or json`);
  return text();
}
