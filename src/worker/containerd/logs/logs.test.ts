import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../lib/log.ts';
import { realClock } from '../../../lib/real.ts';
import type { LogQuery } from '../../../model/assignment.ts';
import { cutLines, formatLine, formatTime, lineBytesMax, parseLine } from './line.ts';
import { readLog } from './reader.ts';
import { TaskLog } from './task-log.ts';

const everything: LogQuery = { stdout: true, stderr: true, follow: false, tail: -1, since: 0, until: 0 };

describe('stored lines', () => {
  test('cutting never loses or changes a byte, whatever the pieces', () => {
    const text = fc.array(fc.constantFrom('a', '\n', 'ä', '😀', 'x'.repeat(9000), '😀'.repeat(3000)), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(text, (parts) => {
        const data = Buffer.from(parts.join(''));
        const { lines, used } = cutLines(data, true);
        expect(used).toBe(data.length);
        expect(lines.map((line) => line.toString('utf8')).join('')).toBe(data.toString('utf8'));
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(lineBytesMax);
      }),
      { seed: 7 },
    );
  });

  test('a line without its newline waits, unless it is the last', () => {
    expect(cutLines(Buffer.from('a\nb'), false)).toMatchObject({ used: 2 });
    expect(cutLines(Buffer.from('a\nb'), true).lines.map(String)).toEqual(['a\n', 'b']);
  });

  test('a line is one JSON object that reads back; torn ones are ignored', () => {
    const line = { log: 'ä"\n', stream: 'stdout', time: '2026-01-01T00:00:00.000000000Z', end: 5 } as const;
    const stored = formatLine(line);
    expect(parseLine(stored)).toEqual(line);
    expect(parseLine(stored.slice(0, 20))).toBeUndefined();
    expect(parseLine('{"log":1}')).toBeUndefined();
  });

  test('times have nanoseconds and keep their order inside a millisecond', () => {
    expect(formatTime(0, 0)).toBe('1970-01-01T00:00:00.000000000Z');
    expect(formatTime(1, 12)).toBe('1970-01-01T00:00:00.001000012Z');
    expect(formatTime(1, 12) < formatTime(1, 13)).toBe(true);
  });
});

describe('a task log', () => {
  let directory: string;
  const made: TaskLog[] = [];
  const open = (fileBytesMax = 1_000_000) => {
    const log = new TaskLog({ directory, clock: realClock, log: silentLog, fileBytesMax, filesMax: 3 });
    made.push(log);
    return log;
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsc-log-'));
  });
  afterEach(async () => {
    for (const log of made.splice(0)) await log.close();
    rmSync(directory, { recursive: true });
  });
  const texts = async (log: TaskLog, query: Partial<LogQuery> = {}) => {
    const lines: string[] = [];
    for await (const line of readLog('t', log, { ...everything, ...query }, new AbortController().signal))
      lines.push(line.text);
    return lines;
  };

  test('a follower gets what is there, then what comes, then the end', async () => {
    const log = open();
    await log.open();
    appendFileSync(log.stdoutPath, 'one\n');
    const seen: string[] = [];
    for await (const line of readLog('t', log, { ...everything, follow: true }, new AbortController().signal)) {
      seen.push(line.text);
      if (line.text === 'one\n') appendFileSync(log.stderrPath, 'two\nthr');
      if (line.text === 'two\n') {
        appendFileSync(log.stderrPath, 'ee');
        await log.finish();
      }
    }
    expect(seen).toEqual(['one\n', 'two\n', 'three']);
  });

  test('files are rotated and bounded; the newest lines are kept, in order', async () => {
    const log = open(2_000);
    await log.open();
    for (let at = 0; at < 200; at++) {
      appendFileSync(log.stdoutPath, `line ${at}\n`);
      if (at % 10 === 0) await drained(log, `line ${at}\n`);
    }
    await log.finish();
    expect(readdirSync(directory).sort()).toEqual(['lines.json', 'lines.json.1', 'lines.json.2', 'stderr', 'stdout']);
    for (const name of ['lines.json', 'lines.json.1', 'lines.json.2'])
      expect(statSync(join(directory, name)).size).toBeLessThan(4_000);
    const kept = await texts(log);
    expect(kept.at(-1)).toBe('line 199\n');
    const first = Number(/\d+/.exec(kept[0] ?? '')?.[0]);
    expect(kept).toEqual(Array.from({ length: 200 - first }, (_, at) => `line ${first + at}\n`));
  });

  test('a new reader of the files goes on where the old one was killed, also after rotations and a torn line', async () => {
    const old = open(500);
    await old.open();
    appendFileSync(old.stderrPath, 'early\n');
    await drained(old, 'early\n');
    for (let at = 0; at < 60; at++) {
      appendFileSync(old.stdoutPath, `line ${at}\n`);
      if (at % 5 === 0) await drained(old, `line ${at}\n`);
    }
    await drained(old, 'line 59\n');
    await old.close();
    appendFileSync(join(directory, 'lines.json'), '{"log":"torn');
    appendFileSync(old.stdoutPath, 'after\n');
    const next = open(500);
    await next.finish();
    const kept = await texts(next);
    expect(kept.slice(-2)).toEqual(['line 59\n', 'after\n']);
    expect(new Set(kept).size).toBe(kept.length);
    expect(kept).not.toContain('early\n');
    expect(readFileSync(join(directory, 'lines.json'), 'utf8')).not.toContain('torn');
  });

  test.each([
    ['emptied', (path: string) => truncateSync(path)],
    ['taken away', (path: string) => rmSync(path)],
  ])('a kill inside a rotation, with the newest file %s, costs its lines at most; none is doubled', async (_, kill) => {
    const old = open(500);
    await old.open();
    appendFileSync(old.stderrPath, 'early\n');
    for (let at = 0; at < 30; at++) {
      appendFileSync(old.stdoutPath, `line ${at}\n`);
      if (at % 5 === 4) await drained(old, `line ${at}\n`);
    }
    await old.close();
    const before = await texts(old);
    const newest = join(directory, 'lines.json');
    const lost = new Set(
      readFileSync(newest, 'utf8')
        .match(/line \d+/g)
        ?.map((line) => `${line}\n`),
    );
    expect(lost.size).toBeLessThan(before.length);
    kill(newest);
    appendFileSync(old.stdoutPath, 'after\n');
    const next = open(500);
    await next.finish();
    const kept = await texts(next);
    // What only the lost file had is in the raw file still, and read again: in its place, once.
    expect(kept).toEqual([...before, 'after\n'].slice(-kept.length));
    await next.close();
    const third = open(500);
    await third.finish();
    expect(await texts(third)).toEqual(kept);
  });

  test('tail, since, until and streams choose lines', async () => {
    const log = open();
    await log.open();
    appendFileSync(log.stdoutPath, 'a\nb\nc\n');
    appendFileSync(log.stderrPath, 'e\n');
    await log.finish();
    expect(await texts(log, { tail: 2 })).toEqual(['c\n', 'e\n']);
    expect(await texts(log, { tail: 0 })).toEqual([]);
    expect(await texts(log, { stderr: false, tail: 2 })).toEqual(['b\n', 'c\n']);
    expect(await texts(log, { since: realClock.now() + 60_000 })).toEqual([]);
    expect(await texts(log, { until: realClock.now() - 60_000 })).toEqual([]);
  });

  async function drained(log: TaskLog, text: string): Promise<void> {
    for await (const line of readLog('t', log, { ...everything, follow: true }, new AbortController().signal)) {
      if (line.text === text) return;
    }
  }
});
