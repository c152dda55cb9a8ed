import type { Command } from 'commander';
import type { Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { collectFilter } from '../options.ts';

interface Options {
  readonly filter?: Filters;
  readonly force?: boolean;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option(
      '--filter <filter>',
      'Only these: label=KEY, label=KEY=VALUE, label!=KEY, until=24h, until=TIME',
      collectFilter,
    )
    .option('-f, --force', 'Do not ask')
    .action((options: Options) => prune(ctx, options));
}

/** Docker's client asks on the terminal; here the second, explicit command is the answer. */
async function prune(ctx: Context, { filter, force = false }: Options): Promise<void> {
  const client = await ctx.client();
  if (!force) {
    const unused = await client.networks({ dangling: ['true'] });
    if (unused.length === 0) return;
    // The list does not know all of prune's filters: what they leave is not named.
    if (filter !== undefined) {
      throw new CliError(
        'This removes all networks that no service uses and that the filters let through. To do it, add --force.',
      );
    }
    throw new CliError(
      `This removes all networks that no service uses: ${unused.map(({ Name }) => Name).join(', ')}. To do it, add --force.`,
    );
  }
  const { NetworksDeleted: names } = await client.pruneNetworks(filter);
  if ((names ?? []).length > 0) ctx.stdout.write(`Deleted Networks:\n${(names ?? []).join('\n')}\n\n`);
}
