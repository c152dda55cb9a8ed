/** Is a log directory whole? */
import { inspectLog, LogCorrupt, type LogReport, verifySnapshotFile } from '../../src/wal/index.ts';
import { logDirectory, snapshotFiles } from './places.ts';

export interface VerifyOptions {
  readonly json: boolean;
  readonly print: (line: string) => void;
}

interface SnapshotReport {
  readonly path: string;
  readonly records?: number;
  readonly damage?: string;
}

export async function verify(directory: string, { json, print }: VerifyOptions): Promise<number> {
  const log = await logDirectory(directory);
  const files = await snapshotFiles(directory);
  if (log === undefined && files.length === 0) {
    print(`${directory}: no log and no snapshot`);
    return 2;
  }
  const report = log === undefined ? undefined : await inspectLog({ directory: log });
  const snapshots = [];
  for (const path of files) snapshots.push(await snapshotReport(path));
  const whole = report?.corruption === undefined && snapshots.every(({ damage }) => damage === undefined);
  if (json) print(JSON.stringify({ directory, whole, ...(report === undefined ? {} : { log: report }), snapshots }));
  else for (const line of text(directory, { report, snapshots, whole })) print(line);
  return whole ? 0 : 1;
}

async function snapshotReport(path: string): Promise<SnapshotReport> {
  try {
    return { path, records: (await verifySnapshotFile(path)).records };
  } catch (error) {
    if (!(error instanceof LogCorrupt)) throw error;
    return { path, damage: error.message };
  }
}

function text(
  directory: string,
  found: {
    readonly report: LogReport | undefined;
    readonly snapshots: readonly SnapshotReport[];
    readonly whole: boolean;
  },
): string[] {
  const { report, snapshots, whole } = found;
  return [
    ...(report === undefined ? [] : logText(report)),
    ...snapshots.map(({ path, records, damage }) => `file ${path}: ${damage ?? `${String(records)} records, whole`}`),
    `${directory}: ${whole ? 'whole' : 'DAMAGED'}`,
  ];
}

function logText(report: LogReport): string[] {
  const { segments, records, firstIndex, lastIndex, hardState, snapshot, sealed, torn, corruption } = report;
  const lines = [`segments ${String(segments)}, records ${String(records)}${sealed ? ', sealed' : ''}`];
  lines.push(lastIndex === 0 ? 'no entries' : `entries ${String(firstIndex)} to ${String(lastIndex)}`);
  if (hardState !== undefined) {
    const { term, vote, commit } = hardState;
    lines.push(`term ${String(term)}, vote ${String(vote)}, commit ${String(commit)}`);
  }
  if (snapshot !== undefined) lines.push(`snapshot ${String(snapshot.index)} of term ${String(snapshot.term)}`);
  if (torn !== undefined) {
    lines.push(
      `torn write: ${String(torn.bytes)} bytes at ${String(torn.position)} of ${torn.path}, never acknowledged`,
    );
  }
  if (corruption !== undefined) {
    lines.push(`damaged at byte ${String(corruption.position)} of ${corruption.path}: ${corruption.reason}`);
  }
  return lines;
}
