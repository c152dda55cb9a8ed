/** The tables of `secret ls` and `config ls`. */
import type { ApiConfig, ApiSecret } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { type Column, type ListOptions, printList } from './table.ts';
import { naturally } from './text.ts';
import { ago } from './time.ts';

type Item = ApiSecret | ApiConfig;

export function printObjects(
  ctx: Context,
  items: readonly Item[],
  options: ListOptions & { readonly quiet?: true; readonly driver: boolean },
): void {
  const sorted = [...items].sort((a, b) => naturally(a.Spec.Name, b.Spec.Name));
  if (options.quiet === true && options.format === undefined) {
    for (const item of sorted) ctx.stdout.write(`${item.ID}\n`);
    return;
  }
  printList(ctx, columns(ctx, options.driver), sorted, { format: options.format });
}

function columns(ctx: Context, driver: boolean): Column<Item>[] {
  const now = ctx.clock.now();
  const column = (field: string, header: string, value: (item: Item) => unknown, shown = true): Column<Item> => ({
    field,
    header,
    shown,
    value,
  });
  const driverColumn = column('Driver', 'DRIVER', (item) =>
    'Driver' in item.Spec ? (item.Spec.Driver?.Name ?? '') : '',
  );
  return [
    column('ID', 'ID', (item) => item.ID),
    column('Name', 'NAME', (item) => item.Spec.Name),
    ...(driver ? [driverColumn] : []),
    column('CreatedAt', 'CREATED', (item) => ago(item.CreatedAt, now)),
    column('UpdatedAt', 'UPDATED', (item) => ago(item.UpdatedAt, now)),
    column('Labels', 'LABELS', (item) => labelsText(item.Spec.Labels), false),
    column('Label', 'LABEL', (item) => (key: unknown) => item.Spec.Labels?.[String(key)] ?? '', false),
  ];
}

export function labelsText(labels: Readonly<Record<string, string>> | null | undefined): string {
  return Object.entries(labels ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(',');
}
