import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { taskText } from '../output/explain.ts';
import { type ExplainOptions, formatted } from '../service/explain.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] TASK')
    .argument('<task>')
    .option('--format <format>', 'Output format: "text" or "json"')
    .action(async (id: string, options: ExplainOptions) => {
      const explanation = await (await ctx.client()).explainTask(id);
      ctx.stdout.write(formatted(explanation, options, () => taskText(explanation, ctx.clock.now())));
    });
}
