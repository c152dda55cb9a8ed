/** One line per record of a log. */
import { createHash } from 'node:crypto';
import { decodeConfChange, type Entry, EntryKind } from '../../src/index.ts';
import { type BatchSummary, type InspectedRecord, inspectLog, type LogReport } from '../../src/wal/index.ts';
import { logDirectory } from './places.ts';

export interface DumpOptions {
  readonly json: boolean;
  readonly data: boolean;
  readonly print: (line: string) => void;
}

export async function dump(directory: string, options: DumpOptions): Promise<number> {
  const { json, data, print } = options;
  const log = await logDirectory(directory);
  if (log === undefined) {
    print(`${directory}: no log`);
    return 2;
  }
  const report = await inspectLog({
    directory: log,
    onRecord: (record) => print(json ? jsonLine(record, data) : textLine(record, data)),
  });
  for (const line of endOf(report, json)) print(line);
  return report.corruption === undefined ? 0 : 1;
}

function endOf({ torn, corruption }: LogReport, json: boolean): string[] {
  if (json)
    return [...(torn ? [JSON.stringify({ torn })] : []), ...(corruption ? [JSON.stringify({ corruption })] : [])];
  const lines = [];
  if (torn !== undefined) lines.push(`torn write at byte ${String(torn.position)} of ${torn.path}`);
  if (corruption !== undefined) {
    lines.push(`DAMAGED at byte ${String(corruption.position)} of ${corruption.path}: ${corruption.reason}`);
  }
  return lines;
}

function textLine(record: InspectedRecord, data: boolean): string {
  const { segment, position, bytes, sequence, content, batches, entries } = record;
  const head = `${String(segment)}:${String(position)} #${String(sequence)} ${String(bytes)} B`;
  if (content === 'end-of-segment') return `${head} end of segment`;
  const parts = batches.map(describe).filter((part) => part !== '');
  const payloads = (entries ?? []).map((entry) => ` ${entryText(entry, data)}`);
  return `${head}${content === 'sealed' ? ' sealed' : ''} ${parts.join('; ')}${payloads.join('')}`.trimEnd();
}

function describe({ hardState, snapshot, first, last }: BatchSummary): string {
  const parts = [];
  if (hardState !== undefined) {
    const { term, vote, commit } = hardState;
    parts.push(`term ${String(term)} vote ${String(vote)} commit ${String(commit)}`);
  }
  if (snapshot !== undefined) parts.push(`snapshot ${String(snapshot.index)} of term ${String(snapshot.term)}`);
  if (first > 0) parts.push(`entries ${String(first)}..${String(last)}`);
  return parts.join(', ');
}

function entryText(entry: Entry, data: boolean): string {
  const { index, term, kind } = entry;
  const place = `${String(index)}/${String(term)}`;
  const what = kind === EntryKind.Config ? ` config ${configText(entry.data)}` : '';
  return `[${place}${what} ${String(entry.data.length)} B ${data ? hex(entry.data) : hashOf(entry.data)}]`;
}

function jsonLine(record: InspectedRecord, data: boolean): string {
  const { entries, ...rest } = record;
  if (entries === undefined) return JSON.stringify(rest);
  const shown = entries.map((entry) => ({
    index: entry.index,
    term: entry.term,
    kind: entry.kind === EntryKind.Config ? 'config' : 'normal',
    ...(entry.kind === EntryKind.Config ? { change: configText(entry.data) } : {}),
    bytes: entry.data.length,
    hash: hashOf(entry.data),
    ...(data ? { data: hex(entry.data) } : {}),
  }));
  return JSON.stringify({ ...rest, entries: shown });
}

function configText(bytes: Uint8Array): string {
  try {
    const { transition, ops } = decodeConfChange(bytes);
    return ops.length === 0
      ? 'leave-joint'
      : `${transition} ${ops.map(({ op, id }) => `${op}:${String(id)}`).join(',')}`;
  } catch {
    return 'unreadable';
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 12);
}
