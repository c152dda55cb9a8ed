import type { Command } from 'commander';
import type { ApiRevision } from '../../client/index.ts';
import { replicasOf } from '../../model/defaults.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import type { Context } from '../context.ts';
import { formatHelp } from '../options.ts';
import { type Column, printList } from '../output/table.ts';
import { imageWithoutDigest } from '../output/text.ts';
import { ago } from '../output/time.ts';

interface Row extends ApiRevision {
  readonly isCurrent: boolean;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] SERVICE')
    .argument('<service>')
    .option('--format <format>', formatHelp)
    .option('-q, --quiet', 'Only display revision numbers')
    .action((name: string, options: { format?: string; quiet?: true }) => list(ctx, name, options));
}

async function list(ctx: Context, name: string, { format, quiet }: { format?: string; quiet?: true }): Promise<void> {
  const client = await ctx.client();
  const revisions = await client.serviceHistory(name);
  if (quiet === true && format === undefined) {
    for (const { Revision } of revisions) ctx.stdout.write(`${Revision}\n`);
    return;
  }
  const rows = revisions.map((revision, at): Row => ({ ...revision, isCurrent: at === 0 }));
  printList(ctx, columns(ctx.clock.now()), rows, { format });
}

function columns(now: number): readonly Column<Row>[] {
  return [
    column('Revision', 'REVISION', (row) => row.Revision),
    column('Since', 'SINCE', (row) => ago(row.Since, now)),
    column('Image', 'IMAGE', (row) => imageWithoutDigest(row.Spec.TaskTemplate.ContainerSpec.Image)),
    column('Replicas', 'REPLICAS', (row) => replicasText(row.Spec)),
    column('Current', 'CURRENT', (row) => (row.isCurrent ? '*' : '')),
  ];
}

function column(field: string, header: string, value: (row: Row) => unknown): Column<Row> {
  return { field, header, shown: true, value };
}

function replicasText(spec: ServiceSpec): string {
  if (spec.Mode.Global !== undefined || spec.Mode.GlobalJob !== undefined) return 'global';
  return String(spec.Mode.ReplicatedJob?.TotalCompletions ?? replicasOf(spec));
}
