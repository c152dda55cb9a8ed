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
