import type { Command } from 'commander';
import { ClusterError } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { collectLabel, labelMap } from '../options.ts';
import { readData } from '../read-data.ts';

interface Options {
  readonly driver?: string;
  readonly label?: string[];
  readonly templateDriver?: string;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] SECRET [file|-]')
    .argument('<name>')
    .argument('[file]')
    .option('-d, --driver <driver>', 'Secret driver')
    .option('-l, --label <label>', 'Secret labels', collectLabel)
    .option('--template-driver <driver>', 'Template driver')
    .action((name: string, file: string | undefined, options: Options) => createSecret(ctx, name, file, options));
}

async function createSecret(ctx: Context, name: string, file: string | undefined, options: Options): Promise<void> {
  if (options.driver !== undefined && file !== undefined) {
    throw new ClusterError('invalid', 'When using secret driver secret data must be empty');
  }
  if (options.driver === undefined && file === undefined) {
    throw new ClusterError('invalid', "secret data is missing: name a file, or '-' for standard input");
  }
  const data = file === undefined ? undefined : await readData(ctx, file);
  if (data?.length === 0) throw new ClusterError('invalid', `the content of secret "${name}" is empty`);
  const { ID } = await (await ctx.client()).createSecret({
    Name: name,
    Labels: labelMap(options.label),
    ...(data === undefined ? {} : { Data: data.toString('base64') }),
    ...(options.driver === undefined ? {} : { Driver: { Name: options.driver } }),
    ...(options.templateDriver === undefined ? {} : { Templating: { Name: options.templateDriver } }),
  });
  ctx.stdout.write(`${ID}\n`);
}
