import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { parseHistory } from '../../tools/linearizability/jepsen.ts';
import { judge } from '../../tools/linearizability/judge.ts';

const printed: string[] = [];
afterEach(() => printed.splice(0));

function judged(path: string, options = {}): number {
  return judge(path, (line) => printed.push(line), options);
}

function folder(files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), 'histories-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

function log(...events: readonly string[]): string {
  return events.map((event) => `INFO  jepsen.util - ${event.replaceAll(' :', '\t:')}\n`).join('');
}

const good = log('0 :invoke :write 1', '1 :invoke :read nil', '1 :ok :read 1', '0 :ok :write 1');
const stale = log('0 :invoke :write 1', '0 :ok :write 1', '1 :invoke :read nil', '1 :ok :read nil');

describe('reading a log', () => {
  test('answered, failed, lost and unanswered operations', () => {
    const text = log(
      '0 :invoke :read nil',
      '1 :invoke :cas [nil 2]',
      '2 :invoke :write 3',
      '0 :ok :read nil',
      '1 :fail :cas [nil 2]',
      '2 :info :write :timed-out',
      '3 :invoke :write 4',
      '3 :fail :write 4',
      '0 :invoke :read nil',
      '0 :fail :read :timed-out',
      '4 :invoke :cas [1 2]',
    );
    expect(parseHistory(text).operations).toEqual([
      { process: 0, input: { op: 'read' }, output: { value: 'nil' }, call: 1, return: 4 },
      { process: 1, input: { op: 'cas', from: 'nil', to: '2' }, output: { done: false }, call: 2, return: 5 },
      { process: 2, input: { op: 'write', value: '3' }, output: undefined, call: 3, return: Number.POSITIVE_INFINITY },
      {
        process: 4,
        input: { op: 'cas', from: '1', to: '2' },
        output: undefined,
        call: 11,
        return: Number.POSITIVE_INFINITY,
      },
    ]);
  });

  test('empty lines, carriage returns, blanks for tabs and what was done to the machines are skipped', () => {
    const odd = `\r\n  \n0  :invoke  :write  1\r\nINFO  jepsen.util - :nemesis\t:info\t:start\tnil\n0 :ok :write 1  \n\n`;
    expect(parseHistory(odd).operations).toHaveLength(1);
    expect(parseHistory('').operations).toEqual([]);
  });

  test.each([
    ['hello', 'line 1: expected "PROCESS :invoke|:ok|:fail|:info :OPERATION VALUE", found "hello"'],
    [log('0 :invoke :write'), 'line 1: expected "PROCESS'],
    [log('0 :ok :read 1'), 'line 1: process 0 is answered, but had not asked'],
    [log('0 :invoke :read nil', '0 :invoke :read nil'), 'line 2: process 0 is still busy since line 1'],
    [log('0 :invoke :read nil', '0 :ok :write 1'), 'line 2: a write is answered, but line 1 is another'],
    [log('0 :invoke :cas 1'), 'line 1: expected [OLD NEW], found "1"'],
    [log('0 :invoke :write [1 2]'), 'line 1: expected a value, found "[1 2]"'],
    [log('0 :invoke :sub 1'), 'line 1: expected :read|:write|:cas, found :sub'],
    [log('0 :ask :read nil'), 'line 1: expected "PROCESS'],
    ['{:process 0, :type :invoke', 'line 1: not a map of one line'],
    ['{:process 0, :type :invoke, :f :get, :value nil}', 'line 1: a get needs a :key'],
    ['{:process 0, :type :invoke, :f :put, :key "0", :value 1}', 'line 1: expected a text, found "1"'],
    ['{:process :x, :type :invoke, :f :get, :key "0", :value nil}', 'line 1: no valid :process in'],
    ['{:type :done, :process 0, :f :read, :value nil}', 'line 1: no valid :type in'],
    [
      `{:process 0, :type :invoke, :f :get, :key "0"}\n${log('1 :invoke :read nil')}`,
      'line 2: expected :get|:put|:append',
    ],
    [
      '{:process 0, :type :invoke, :f :get, :key "0"}\n{:process 0, :type :ok, :f :get, :key "1", :value ""}',
      'line 2: a get is answered, but line 1 is another',
    ],
    ['\0\0\u{1f4a5}', 'line 1: expected "PROCESS'],
  ])('%j is refused with its line', (text, message) => {
    expect(() => parseHistory(text)).toThrow(message);
  });
});

/** One line per event: process, type, operation, key and value of texts by key. */
function maps(...events: readonly (readonly [number, string, string, string, string])[]): string {
  const line = ([process, type, op, key, value]: (typeof events)[number]): string =>
    `{:process ${String(process)}, :type :${type}, :f :${op}, :key "${key}", :value ${value}}\n`;
  return events.map(line).join('');
}

describe('reading maps', () => {
  test('of a register, keys in any order, with a hint or other keys behind', () => {
    const text = [
      '{:type :invoke, :f :cas, :value [nil 1], :process 4, :time 17, :index 0}',
      '{:type :info, :f :start, :value nil, :process :nemesis, :time 18}',
      '{:type :fail, :f :cas, :value [nil 1], :process 4, :error [:a "b"]}',
      'INFO  jepsen.util - 6 \t:invoke :write \t38 \t:hint 0',
      'INFO  jepsen.util - 6 \t:ok :write \t38 \t:hint 2',
    ];
    expect(parseHistory(text.join('\r\n')).operations).toEqual([
      { process: 4, input: { op: 'cas', from: 'nil', to: '1' }, output: { done: false }, call: 1, return: 3 },
      { process: 6, input: { op: 'write', value: '38' }, output: { done: true }, call: 4, return: 5 },
    ]);
  });

  test('of texts by key: what was appended is there in its order, other keys are untouched', () => {
    const events = [
      [0, 'invoke', 'put', '1', '"x"'],
      [0, 'ok', 'put', '1', '"x"'],
      [0, 'invoke', 'append', '1', '"y z"'],
      [1, 'invoke', 'append', '1', '"lost"'],
      [0, 'ok', 'append', '1', '"y z"'],
      [2, 'invoke', 'get', '2', 'nil'],
      [2, 'ok', 'get', '2', '""'],
      [2, 'invoke', 'get', '1', 'nil'],
    ] as const;
    const seen = (value: string): string => maps(...events, [2, 'ok', 'get', '1', value]);
    const path = folder({
      'a.txt': seen('"xy z"'),
      'b.txt': seen('"xy zlost"'),
      'c.txt': seen('"y z"'),
      'd.txt': seen('"xlosty"'),
      'e.txt': seen('nil'),
      'verdicts.tsv': 'a.txt true\nb.txt true\nc.txt false\nd.txt false\ne.txt false\n',
    });
    expect(judged(path, { verbose: true })).toBe(0);
    expect(printed.at(-1)).toBe('5 agree, 0 differ');
    expect(printed.join('\n')).toContain('✗ does not fit: process 2: get "1" → "y z" [8 to 9]');
  });
});

describe('judging a folder', () => {
  test('agrees with what is expected', () => {
    const path = folder({ 'a.log': good, 'b.log': stale, 'verdicts.tsv': 'a.log\ttrue\nb.log\tfalse\n' });
    expect(judged(path)).toBe(0);
    expect(printed).toEqual(['a.log: linearizable', 'b.log: not-linearizable', '2 agree, 0 differ']);
  });

  test('differs loudly, and says why', () => {
    const path = folder({ 'a.log': good, 'b.log': stale, 'verdicts.tsv': 'a.log\ttrue\nb.log\ttrue\nc.log true\n' });
    expect(judged(path)).toBe(1);
    expect(printed[1]).toBe('b.log: not-linearizable, expected linearizable');
    expect(printed[2]).toContain('✗ does not fit: process 1: read → nil [3 to 4]');
    expect(printed.slice(3)).toEqual(['c.log: missing', '1 agree, 1 differ']);
  });

  test('an unreadable file is named and the others are judged', () => {
    const path = folder({ 'a.log': 'nonsense\n', 'b.log': good, 'verdicts.tsv': 'a.log\ttrue\nb.log\ttrue\n' });
    expect(judged(path)).toBe(1);
    expect(printed[0]).toBe('a.log: unreadable, expected linearizable');
    expect(printed[1]).toContain('line 1: expected');
    expect(printed.at(-1)).toBe('1 agree, 1 differ');
  });

  test('without expectations a history should be linearizable', () => {
    expect(judged(folder({ 'a.log': good }))).toBe(0);
    expect(judged(folder({ 'a.log': good, 'b.log': stale }))).toBe(1);
    expect(judged(folder({ 'README.md': 'no history' }))).toBe(2);
  });

  test('what is not decided does not agree', () => {
    const path = folder({ 'a.log': good, 'verdicts.tsv': 'a.log\ttrue\n' });
    expect(judged(path, { maxSteps: 0 })).toBe(1);
    expect(printed.at(-1)).toBe('0 agree, 1 differ');
  });
});

const shared = fileURLToPath(new URL('../../../../../shared/data/linearizability', import.meta.url));
const present = existsSync(shared);
if (!present) console.warn('SKIPPED: no recorded histories beside the repository (../shared/data/linearizability)');

test.skipIf(!present)('all recorded histories get the verdicts that came with them', () => {
  expect(judged(shared)).toBe(0);
  expect(printed.at(-1)).toMatch(/^[1-9]\d* agree, 0 differ$/);
});
