/** Figures of both sides, as a table for people and as JSON lines for programs. */
import type { Subject } from './subject.ts';

export interface Unit {
  readonly unit: '/s' | 'ms' | 'µs' | 'syncs/entry';
  readonly better: 'more' | 'less';
}

export interface Row extends Unit {
  readonly case: string;
  readonly values: Readonly<Partial<Record<Subject['name'], readonly number[]>>>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}

interface Cells {
  readonly ours: number | undefined;
  readonly peer: number | undefined;
  readonly ratio: number | undefined;
}

function cells({ values }: Row): Cells {
  const ours = values.ours === undefined ? undefined : median(values.ours);
  const peer = values.etcd === undefined ? undefined : median(values.etcd);
  return { ours, peer, ratio: ours === undefined || peer === undefined ? undefined : ours / peer };
}

export function table(rows: readonly Row[], peerTitle: string): string {
  const head = ['case', 'unit', 'raft-ts', peerTitle, 'ratio', 'better', 'spread of ours'];
  const body = rows.map((row) => {
    const { ours, peer, ratio } = cells(row);
    return [row.case, row.unit, figure(ours), figure(peer), figure(ratio), row.better, spread(row.values.ours ?? [])];
  });
  const widths = head.map((_, at) => Math.max(...[head, ...body].map((line) => line[at]?.length ?? 0)));
  const print = (line: readonly string[]) => `| ${line.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  return [print(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body.map(print)].join('\n');
}

export function jsonLines(rows: readonly Row[], peerTitle: string): string {
  const lines = rows.map((row) => {
    const { ours, peer, ratio } = cells(row);
    const peerFields = peer === undefined ? {} : { peer: peerTitle, peerValue: rounded(peer) };
    const value = ours === undefined ? {} : { value: rounded(ours) };
    const share = ratio === undefined ? {} : { ratio: rounded(ratio) };
    return JSON.stringify({ bench: 'raft-ts', case: row.case, ...value, unit: row.unit, ...peerFields, ...share });
  });
  return lines.join('\n');
}

function spread(values: readonly number[]): string {
  return values.length < 2 ? '' : `${figure(Math.min(...values))}–${figure(Math.max(...values))}`;
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

function figure(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '';
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)));
}
