import type { Command } from 'commander';
import type { ApiEvent, Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { collectFilter } from '../options.ts';
import { unescapeFormat } from '../output/table.ts';
import { compileTemplate } from '../output/template.ts';

interface Options {
  readonly filter?: Filters;
  readonly format?: string;
  readonly since?: string;
}

/** All that a cluster has; of tasks the daemon tells only those who name them. */
const types = ['node', 'service', 'network', 'secret', 'config', 'task'];

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --filter <filter>', 'Filter output: type, event, node, service, task, network, ...', collectFilter)
    .option('--format <format>', `Output format: 'json' or a Go template`)
    .option('--since <time>', 'Not supported: events are not kept')
    .action((options: Options) => showEvents(ctx, options));
}

/** Until it is interrupted. */
async function showEvents(ctx: Context, { filter = {}, format = '', since }: Options): Promise<void> {
  if (since !== undefined) throw new CliError('Error: events of the past (--since) are not supported yet');
  const text = lineOf(format);
  const client = await ctx.client();
  const abort = new AbortController();
  const cancelInterrupt = ctx.onInterrupt(() => abort.abort());
  try {
    for await (const event of client.events({ type: types, ...filter }, abort.signal)) {
      if (event.message !== undefined) throw new CliError(`Error: ${event.message}`);
      ctx.stdout.write(`${text(event)}\n`);
    }
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  } finally {
    cancelInterrupt();
  }
}

function lineOf(format: string): (event: ApiEvent) => string {
  if (format === '') return plain;
  if (format === 'json') return (event) => JSON.stringify(event);
  const template = compileTemplate(unescapeFormat(format));
  return (event) => template.render(event);
}

/** As Docker's client: `TIME TYPE ACTION ID (name=web, …)`. */
function plain({ Type = '', Action = '', Actor, timeNano = 0 }: ApiEvent): string {
  const attributes = Object.entries(Actor?.Attributes ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .sort();
  return `${new Date(Math.round(timeNano / 1e6)).toISOString()} ${Type} ${Action} ${Actor?.ID ?? ''} (${attributes.join(', ')})`;
}
