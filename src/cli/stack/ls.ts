import type { Command } from 'commander';
import { namespaceLabel } from '../../stack/index.ts';
import type { Context } from '../context.ts';
import { formatHelp } from '../options.ts';
import { type Column, printList } from '../output/table.ts';
import { naturally } from '../output/text.ts';

interface Row {
  readonly name: string;
  readonly services: number;
}

const columns: readonly Column<Row>[] = [
  { field: 'Name', header: 'NAME', shown: true, value: (row) => row.name },
  { field: 'Services', header: 'SERVICES', shown: true, value: (row) => String(row.services) },
];

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('--format <format>', formatHelp)
    .action(async (options: { format?: string }) => {
      const services = await (await ctx.client()).services({ label: [namespaceLabel] });
      const counts = new Map<string, number>();
      for (const { Spec } of services) {
        const stack = Spec.Labels[namespaceLabel] ?? '';
        counts.set(stack, (counts.get(stack) ?? 0) + 1);
      }
      const rows = [...counts].map(([name, count]) => ({ name, services: count }));
      printList(
        ctx,
        columns,
        rows.sort((a, b) => naturally(a.name, b.name)),
        options,
      );
    });
}
