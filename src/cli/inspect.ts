import type { Command } from 'commander';
import type { Context } from './context.ts';
import { describeError } from './describe-error.ts';
import { CliError } from './failure.ts';
import { inspectFormatHelp } from './options.ts';
import { unescapeFormat } from './output/table.ts';
import { compileTemplate } from './output/template.ts';

interface InspectOptions {
  readonly format?: string;
  readonly pretty?: true;
}

export interface Inspection {
  /** What one argument is called in the usage line. */
  readonly argument: string;
  fetch(ctx: Context, id: string): Promise<unknown>;
  /** The human-friendly text of one object. */
  readonly pretty?: (object: unknown, ctx: Context) => string | Promise<string>;
}

/** Defines `inspect`: raw JSON of the daemon, a template, or a pretty text per argument. */
export function defineInspect(command: Command, ctx: Context, kind: Inspection): void {
  command
    .usage(`[OPTIONS] ${kind.argument} [${kind.argument}...]`)
    .argument('<names...>')
    .option('-f, --format <template>', inspectFormatHelp);
  if (kind.pretty !== undefined) command.option('--pretty', 'Print the information in a human friendly format');
  command.action(async (names: string[], options: InspectOptions) => {
    if (options.pretty === true && options.format !== undefined) {
      throw new CliError('Error: --format is incompatible with human friendly format');
    }
    const objects = await fetchAll(ctx, names, kind);
    await print(ctx, objects, kind, options);
  });
}

async function fetchAll(ctx: Context, names: readonly string[], kind: Inspection): Promise<unknown[]> {
  const objects: unknown[] = [];
  for (const name of names) {
    try {
      objects.push(await kind.fetch(ctx, name));
    } catch (error) {
      ctx.stderr.write(`${describeError(error)}\n`);
      ctx.fail(1);
    }
  }
  return objects;
}

async function print(
  ctx: Context,
  objects: readonly unknown[],
  kind: Inspection,
  options: InspectOptions,
): Promise<void> {
  if (options.pretty === true && kind.pretty !== undefined) {
    for (const [index, object] of objects.entries()) {
      ctx.stdout.write(`${index === 0 ? '' : '\n'}${await kind.pretty(object, ctx)}`);
    }
    return;
  }
  const format = options.format ?? '';
  if (format === '') {
    ctx.stdout.write(`${JSON.stringify(objects, null, 4)}\n`);
  } else if (format === 'json') {
    ctx.stdout.write(`${JSON.stringify(objects)}\n`);
  } else {
    const template = compileTemplate(unescapeFormat(format));
    for (const object of objects) ctx.stdout.write(`${template.render(object)}\n`);
  }
}
