import type { Command } from 'commander';
import type { ApiNode, Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { type Column, printList } from '../output/table.ts';
import { capitalize, naturally } from '../output/text.ts';

interface Options {
  readonly filter?: Filters;
  readonly format?: string;
  readonly quiet?: true;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --filter <filter>', 'Filter output: id, label, node.label, membership, name, role', collectFilter)
    .option('--format <format>', formatHelp)
    .option('-q, --quiet', 'Only display IDs')
    .action((options: Options) => listNodes(ctx, options));
}

async function listNodes(ctx: Context, options: Options): Promise<void> {
  const client = await ctx.client();
  const nodes = await client.nodes(options.filter);
  nodes.sort((a, b) => naturally(a.Description.Hostname ?? '', b.Description.Hostname ?? '') || naturally(a.ID, b.ID));
  if (options.quiet === true && options.format === undefined) {
    for (const node of nodes) ctx.stdout.write(`${node.ID}\n`);
    return;
  }
  const self = nodes.length === 0 ? '' : (await client.info()).Swarm.NodeID;
  const isTable = (options.format ?? 'table').trim() === 'table';
  printList(ctx, columns(self, isTable), nodes, { format: options.format });
}

function columns(self: string, isTable: boolean): Column<ApiNode>[] {
  const column = (field: string, header: string, value: (node: ApiNode) => unknown, shown = true): Column<ApiNode> => ({
    field,
    header,
    shown,
    value,
  });
  return [
    column('ID', 'ID', (node) => (isTable && node.ID === self ? `${node.ID} *` : node.ID)),
    column('Self', 'SELF', (node) => node.ID === self, false),
    column('Hostname', 'HOSTNAME', (node) => node.Description.Hostname ?? ''),
    column('Status', 'STATUS', (node) => capitalize(node.Status.State ?? '')),
    column('Availability', 'AVAILABILITY', (node) => capitalize(node.Spec.Availability)),
    column('ManagerStatus', 'MANAGER STATUS', managerStatus),
    column(
      'TLSStatus',
      'TLS STATUS',
      (node) => (node.Description.TLSInfo?.TrustRoot === undefined ? 'Unknown' : 'Ready'),
      false,
    ),
    column('EngineVersion', 'ENGINE VERSION', (node) => node.Description.Engine?.EngineVersion ?? ''),
  ];
}

function managerStatus(node: ApiNode): string {
  const status = node.ManagerStatus;
  if (status === undefined || status === null) return '';
  return status.Leader === true ? 'Leader' : capitalize(status.Reachability ?? '');
}
