/** From figures to verdicts: a table for people, a JSON line per result for programs. */
import { type Bound, type Case, cases } from './targets.ts';

/** Case → one figure per round. */
export type Figures = ReadonlyMap<string, readonly number[]>;

export interface Side {
  readonly name: string;
  readonly figures: Figures;
}

export interface Row {
  readonly name: string;
  readonly case: Case;
  readonly value?: number;
  readonly peerValue?: number;
  /** The peer's figure is from an earlier sitting. */
  readonly recorded: boolean;
  readonly ratio?: number;
  readonly verdict: 'should' | 'must' | 'MISSED' | '';
}

export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const high = sorted[sorted.length >> 1];
  const low = sorted[(sorted.length - 1) >> 1];
  return high === undefined || low === undefined ? undefined : (low + high) / 2;
}

export function compare(ours: Figures, peer: Figures): readonly Row[] {
  return Object.entries(cases).flatMap(([name, one]) => {
    const value = median(ours.get(name) ?? []);
    const measured = median(peer.get(name) ?? []);
    if (value === undefined && measured === undefined) return [];
    const recorded = measured === undefined && one.recorded !== undefined;
    const peerValue = measured ?? one.recorded;
    const ratio = value === undefined || peerValue === undefined ? undefined : value / peerValue;
    const row = {
      name,
      case: one,
      recorded,
      ...(value === undefined ? {} : { value }),
      ...(peerValue === undefined ? {} : { peerValue }),
      ...(ratio === undefined ? {} : { ratio }),
    };
    return [{ ...row, verdict: verdict(one, value, ratio) }];
  });
}

function verdict(one: Case, value: number | undefined, ratio: number | undefined): Row['verdict'] {
  if (one.must === undefined || value === undefined) return '';
  const met = (bound: Bound) => {
    const figure = bound.against === 'limit' ? value : ratio;
    if (figure === undefined) return false;
    return one.better === 'less' ? figure <= bound.value : figure >= bound.value;
  };
  if (!met(one.must)) return 'MISSED';
  return one.should !== undefined && met(one.should) ? 'should' : 'must';
}

export function table(rows: readonly Row[], names: { readonly ours: string; readonly peer: string }): string {
  const head = ['work', names.peer, names.ours, 'ratio', 'must', 'verdict'];
  const body = rows.map((row) => [
    row.case.work,
    `${amount(row.peerValue, row.case)}${row.recorded ? ' *' : ''}`,
    amount(row.value, row.case),
    row.ratio === undefined ? '' : figure(row.ratio),
    bound(row.case),
    row.verdict === '' || row.verdict === 'MISSED' ? row.verdict : `ok (${row.verdict})`,
  ]);
  const widths = head.map((_, at) => Math.max(...[head, ...body].map((cells) => (cells[at] ?? '').length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  const lines = [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body.map(line)];
  if (rows.some((row) => row.recorded)) lines.push('', '* recorded in an earlier sitting, not measured now');
  return lines.join('\n');
}

export function jsonLine(row: Row, peerName: string): string {
  const { value, peerValue, ratio } = row;
  return JSON.stringify({
    bench: 'orchestrator',
    case: row.name,
    ...(value === undefined ? {} : { value: rounded(value) }),
    unit: row.case.unit,
    ...(peerValue === undefined ? {} : { peer: peerName, peerValue: rounded(peerValue) }),
    ...(ratio === undefined ? {} : { ratio: rounded(ratio) }),
    ...(row.recorded ? { recorded: true } : {}),
  });
}

function amount(value: number | undefined, one: Case): string {
  if (value === undefined) return '-';
  return one.unit === '1/s' ? `${figure(value)}/s` : `${figure(value)} ${one.unit}`;
}

function bound({ must, better, unit }: Case): string {
  if (must === undefined) return '';
  const sign = better === 'less' ? '≤' : '≥';
  return must.against === 'peer' ? `${sign} ${figure(must.value)}×` : `${sign} ${must.value} ${unit}`;
}

function figure(value: number): string {
  return String(rounded(value));
}

/** Three digits carry meaning at most. */
function rounded(value: number): number {
  return value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
