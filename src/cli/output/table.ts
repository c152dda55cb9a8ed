import type { Context } from '../context.ts';
import { compileTemplate } from './template.ts';

/** One field of a list: its name in templates, and its heading. */
export interface Column<Row> {
  readonly field: string;
  readonly header: string;
  /** Shown by default. */
  readonly shown: boolean;
  value(row: Row): unknown;
}

export interface ListOptions {
  readonly format?: string | undefined;
}

const cellWidthMin = 10;
const cellGap = 3;

/** Columns are as wide as their widest cell and three blanks; the last one is not padded. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? cellWidthMin, [...cell].length + cellGap);
    });
  }
  const pad = (cell: string, index: number, row: readonly string[]) =>
    index === row.length - 1 ? cell : cell + ' '.repeat((widths[index] ?? 0) - [...cell].length);
  return rows.map((row) => `${row.map(pad).join('')}\n`).join('');
}

/** Prints rows as a table, as JSON lines, or through a template, as `--format` says. */
export function printList<Row>(
  ctx: Context,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  options: ListOptions,
): void {
  const format = (options.format ?? 'table').trim() === '' ? 'table' : (options.format ?? 'table').trim();
  if (format === 'json') {
    const sorted = [...columns].sort((a, b) => (a.field < b.field ? -1 : 1));
    for (const row of rows) {
      const entries = sorted
        .map((column) => [column.field, column.value(row)])
        .filter(([, value]) => typeof value !== 'function');
      ctx.stdout.write(`${JSON.stringify(Object.fromEntries(entries))}\n`);
    }
    return;
  }
  if (format === 'table') {
    const shown = columns.filter((column) => column.shown);
    const cells = rows.map((row) => shown.map((column) => String(column.value(row))));
    ctx.stdout.write(renderTable([shown.map((column) => column.header), ...cells]));
    return;
  }
  printTemplate(ctx, columns, rows, format);
}

function printTemplate<Row>(ctx: Context, columns: readonly Column<Row>[], rows: readonly Row[], format: string): void {
  const isTable = /^table\s/.test(format);
  const source = unescapeFormat(isTable ? format.slice('table'.length).trimStart() : format);
  const template = compileTemplate(source);
  const data = rows.map((row) => Object.fromEntries(columns.map((column) => [column.field, column.value(row)])));
  const lines = data.map((row) => template.render(row));
  if (!isTable) {
    for (const line of lines) ctx.stdout.write(`${line}\n`);
    return;
  }
  const header = template.render(Object.fromEntries(columns.map((column) => [column.field, headerValue(column)])));
  ctx.stdout.write(renderTable([header, ...lines].map((line) => line.split('\t'))));
}

/** `{{.Label "k"}}` heads its column with the key. */
function headerValue<Row>(column: Column<Row>): unknown {
  return column.field === 'Label' ? (key: unknown) => String(key).toUpperCase() : column.header;
}

export function unescapeFormat(format: string): string {
  return format.replace(/\\t/g, '\t').replace(/\\n/g, '\n');
}
