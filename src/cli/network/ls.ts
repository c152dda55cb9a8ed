import type { Command } from 'commander';
import type { ApiNetwork, Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { labelsText } from '../output/objects.ts';
import { type Column, printList } from '../output/table.ts';
import { naturally, shortId } from '../output/text.ts';

interface Options {
  readonly filter?: Filters;
  readonly format?: string;
  readonly quiet?: true;
  readonly trunc: boolean;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --filter <filter>', 'Filter output: dangling, driver, id, label, name, scope, type', collectFilter)
    .option('--format <format>', formatHelp)
    .option('--no-trunc', 'Do not truncate the output')
    .option('-q, --quiet', 'Only display network IDs')
    .action(async (options: Options) => {
      const networks = await (await ctx.client()).networks(options.filter);
      networks.sort((a, b) => naturally(a.Name, b.Name));
      const idOf = (network: ApiNetwork) => (options.trunc ? shortId(network.Id) : network.Id);
      if (options.quiet === true && options.format === undefined) {
        for (const network of networks) ctx.stdout.write(`${idOf(network)}\n`);
        return;
      }
      printList(ctx, columns(idOf), networks, { format: options.format });
    });
}

function columns(idOf: (network: ApiNetwork) => string): Column<ApiNetwork>[] {
  const column = (
    field: string,
    header: string,
    value: (network: ApiNetwork) => unknown,
    shown = false,
  ): Column<ApiNetwork> => ({ field, header, shown, value });
  return [
    column('ID', 'NETWORK ID', idOf, true),
    column('Name', 'NAME', (network) => network.Name, true),
    column('Driver', 'DRIVER', (network) => network.Driver ?? '', true),
    column('Scope', 'SCOPE', (network) => network.Scope ?? '', true),
    column('IPv4', 'IPV4', (network) => String(network.EnableIPv4 ?? true)),
    column('IPv6', 'IPV6', (network) => String(network.EnableIPv6 ?? false)),
    column('Internal', 'INTERNAL', (network) => String(network.Internal ?? false)),
    column('Labels', 'LABELS', (network) => labelsText(network.Labels)),
    column('Label', 'LABEL', (network) => (key: unknown) => network.Labels?.[String(key)] ?? ''),
    column('CreatedAt', 'CREATED AT', (network) => network.Created ?? ''),
  ];
}
