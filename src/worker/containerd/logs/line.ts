/** One log line on disk: a JSON object per line, Docker's json-file keys first. Pure. */

export type StreamName = 'stdout' | 'stderr';

export interface StoredLine {
  readonly log: string;
  readonly stream: StreamName;
  /** RFC 3339, nanoseconds, UTC. */
  readonly time: string;
  /** How far the container's own file is read with this line: where an agent goes on after a restart. */
  readonly end: number;
}

/** First line of a file that follows a rotated one: where each stream was. */
export interface Header {
  readonly offsets: Readonly<Record<StreamName, number>>;
}

export const lineBytesMax = 16 * 1024;

export function formatLine(line: StoredLine): string {
  const { log, stream, time, end } = line;
  return `${JSON.stringify({ log, stream, time, end })}\n`;
}

/** A line or header; undefined for anything else, such as a line that a power cut tore. */
export function parseLine(text: string): StoredLine | Header | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Partial<StoredLine & Header>;
  if (typeof fields.log === 'string' && typeof fields.time === 'string' && typeof fields.end === 'number') {
    return value as StoredLine;
  }
  const { offsets } = fields;
  return typeof offsets?.stdout === 'number' && typeof offsets.stderr === 'number' ? (value as Header) : undefined;
}

export function isHeader(line: StoredLine | Header): line is Header {
  return 'offsets' in line;
}

/** `nowMs` with a counter below the millisecond, so that lines of one reading keep their order when merged by time. */
export function formatTime(nowMs: number, counter: number): string {
  const nanos = Math.min(counter, 999_999).toString().padStart(6, '0');
  return new Date(nowMs).toISOString().replace('Z', `${nanos}Z`);
}

/**
 * Cuts complete lines off `data`, and pieces of 16 KiB off lines that are longer, never inside a UTF-8 character.
 * With `final` what is left becomes the last line.
 */
export function cutLines(data: Buffer, final: boolean): { readonly lines: readonly Buffer[]; readonly used: number } {
  const lines: Buffer[] = [];
  let used = 0;
  while (used < data.length) {
    const newline = data.indexOf(0x0a, used);
    const complete = newline >= 0 && newline - used < lineBytesMax;
    if (complete) {
      lines.push(data.subarray(used, newline + 1));
      used = newline + 1;
    } else if (data.length - used >= lineBytesMax) {
      const end = characterBoundary(data, used + lineBytesMax);
      lines.push(data.subarray(used, end));
      used = end;
    } else {
      if (!final) break;
      lines.push(data.subarray(used));
      used = data.length;
    }
  }
  return { lines, used };
}

/** The greatest index ≤ `at` that starts a UTF-8 character, looking back at most three bytes. */
function characterBoundary(data: Buffer, at: number): number {
  for (let back = 0; back < 4; back++) {
    const byte = data[at - back];
    if (byte === undefined || (byte & 0xc0) !== 0x80) return at - back;
  }
  return at;
}
