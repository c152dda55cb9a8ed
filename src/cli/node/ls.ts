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
  const swarm = nodes.length === 0 ? undefined : (await client.info()).Swarm;
  const isTable = (options.format ?? 'table').trim() === 'table';
  printList(
    ctx,
    columns({ self: swarm?.NodeID ?? '', trustRoot: swarm?.Cluster?.TLSInfo?.TrustRoot, isTable }),
    nodes,
    { format: options.format },
  );
}

interface Shown {
  readonly self: string;
  /** The cluster's root certificate. */
  readonly trustRoot: string | undefined;
  readonly isTable: boolean;
}

function columns({ self, trustRoot, isTable }: Shown): Column<ApiNode>[] {
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
    column('TLSStatus', 'TLS STATUS', (node) => tlsStatus(node, trustRoot), false),
    column('EngineVersion', 'ENGINE VERSION', (node) => node.Description.Engine?.EngineVersion ?? ''),
  ];
}

/** Docker's words: whether the node's certificate is of the cluster's root. */
function tlsStatus(node: ApiNode, trustRoot: string | undefined): string {
  const own = node.Description.TLSInfo?.TrustRoot;
  if (own === undefined || trustRoot === undefined) return 'Unknown';
  return own === trustRoot ? 'Ready' : 'Needs Rotation';
}

function managerStatus(node: ApiNode): string {
  const status = node.ManagerStatus;
  if (status === undefined || status === null) return '';
  return status.Leader === true ? 'Leader' : capitalize(status.Reachability ?? '');
}
