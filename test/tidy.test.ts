/** Rules about this repository that no linter knows. */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((name) => name !== '' && statSync(root + name, { throwIfNoEntry: false })?.isFile() === true);
const sources = files.filter(
  (name) => /^(src|packages\/[^/]+\/src)\/.*\.ts$/.test(name) && !/\.test\.ts$|\/gen\/|\/testing\//.test(name),
);

function read(name: string): string {
  return readFileSync(root + name, 'utf8');
}

function offenders(names: readonly string[], pattern: RegExp): string[] {
  return names.flatMap((name) =>
    read(name)
      .split('\n')
      .flatMap((line, at) => (pattern.test(line) ? [`${name}:${at + 1}: ${line.trim()}`] : [])),
  );
}

test('there are sources to judge', () => {
  expect(sources.length).toBeGreaterThan(100);
});

test('time and chance come through ports', () => {
  const judged = sources.filter((name) => !/^src\/(lib\/real\.ts|cli\/|client\/|pki\/)|driver\/real\.ts$/.test(name));
  expect(offenders(judged, /\bDate\.now\(|\bMath\.random\(|\bnew Date\(\)|\bperformance\.now\(/)).toEqual([]);
});

test('nothing is left for later', () => {
  expect(offenders(sources, /\b(TODO|FIXME|XXX|HACK)\b/)).toEqual([]);
});

test('files stay short enough to read', () => {
  expect(sources.filter((name) => read(name).split('\n').length > 600)).toEqual([]);
});

test('no file is large', () => {
  expect(files.filter((name) => statSync(root + name).size > 400_000)).toEqual([]);
});

test('the README stays a page', () => {
  expect(read('README.md').split('\n').length).toBeLessThanOrEqual(150);
});

/** The rows of behaviour, by letter. */
const rowCounts = { S: 34, U: 15, R: 15, G: 6, J: 5, E: 4, T: 10, D: 20, C: 19, F: 28 };
const rowIds = Object.entries(rowCounts).flatMap(([letter, count]) =>
  Array.from({ length: count }, (_, at) => `${letter}${at + 1}`),
);

/** The row ids that titles in a test file begin with: `test('S14 S15: …'`. What is skipped or commented out names none. */
function named(source: string): readonly string[] {
  const title = /(?:^\s*|(?<!\.(?:skip|todo))[([])['"`]((?:[A-Z]\d{1,2} )*[A-Z]\d{1,2}): /;
  const lines = source.split('\n').filter((line) => !/^\s*\/\//.test(line));
  return lines.flatMap((line) => title.exec(line)?.[1]?.split(' ') ?? []);
}

/** The row ids in the first column of a table whose second column begins so. */
function listed(list: string, begin: RegExp): readonly string[] {
  const rows = [...list.matchAll(/^\| ([A-Z]\d[^|]*)\| (.*)$/gm)].filter(([, , text = '']) => begin.test(text));
  return rows.flatMap(([, ids = '']) => ids.split(',').flatMap((part) => expanded(part.trim())));
}

function expanded(part: string): readonly string[] {
  const [, letter = '', from = '', to = from] = /^([A-Z])(\d+)(?:–[A-Z](\d+))?$/.exec(part) ?? [];
  return Array.from({ length: Number(to) - Number(from) + 1 }, (_, at) => `${letter}${Number(from) + at}`);
}

/** What is wrong with the rows: held by no test and not excused, a refusal that no test shows, or not one of them. */
function rowTrouble(sources: readonly string[], list: string): readonly string[] {
  const tested = new Set(sources.flatMap(named));
  const excused = new Set(listed(list, /^do(?:es)? not apply: [^ ]/));
  const refused = listed(list, /^do(?:es)? not apply: .* refused by name/);
  return [
    ...refused.filter((id) => !tested.has(id)).map((id) => `nothing shows that ${id} is refused by name`),
    ...rowIds.filter((id) => !tested.has(id) && !excused.has(id)).map((id) => `nothing holds ${id}`),
    ...[...tested, ...excused].filter((id) => !rowIds.includes(id)).map((id) => `there is no row ${id}`),
  ];
}

test('each of the 156 rows is a test that is named by its id, or is listed with the reason why it does not apply', () => {
  expect(rowIds).toHaveLength(156);
  const sources = files.filter((name) => /(?<!tidy)\.test\.ts$/.test(name)).map(read);
  expect(rowTrouble(sources, read('design/rows.md'))).toEqual([]);
});

test('a row that nothing holds is noticed, and an id of no row', () => {
  const list =
    '| S1–S33, U1–U15 | do not apply: so |\n| R1–R15, G1–G6 | does not apply: so |\n| J1 | by its id |\n' +
    '| J5 | does not apply: x is refused by name |\n| G6 | does not apply: y is refused by name |';
  const sources = [
    "  test('J1 J2: x', () => {",
    "    ['J3: x', 1],\n    `J5: x`,\n  // test('J4: x')\n  test.skip('J4: x'",
    ...['E1 E2 E3 E4', 'T1 T2 T3 T4 T5 T6 T7 T8 T9', 'T10 F29'].map((ids) => `test("${ids}: x"`),
    ...['D', 'C', 'F'].flatMap((letter) =>
      rowIds.filter((id) => id.startsWith(letter)).map((id) => `test.each([])('${id}: x'`),
    ),
  ];
  expect(rowTrouble(sources, list)).toEqual([
    'nothing shows that G6 is refused by name',
    'nothing holds S34',
    'nothing holds J4',
    'there is no row F29',
  ]);
});
