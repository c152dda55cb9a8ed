import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { collectLabel, labelMap } from '../options.ts';
import { readData } from '../read-data.ts';

interface Options {
  readonly label?: string[];
  readonly templateDriver?: string;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] CONFIG file|-')
    .argument('<name>')
    .argument('<file>')
    .option('-l, --label <label>', 'Config labels', collectLabel)
    .option('--template-driver <driver>', 'Template driver')
    .action(async (name: string, file: string, options: Options) => {
      const data = await readData(ctx, file);
      const { ID } = await (await ctx.client()).createConfig({
        Name: name,
        Labels: labelMap(options.label),
        Data: data.toString('base64'),
        ...(options.templateDriver === undefined ? {} : { Templating: { Name: options.templateDriver } }),
      });
      ctx.stdout.write(`${ID}\n`);
    });
}
