import { describe, expect, test } from 'vitest';
import { portsText } from './services.ts';
import { renderTable } from './table.ts';
import { ellipsis, imageWithoutDigest, naturally } from './text.ts';
import { humanDuration } from './time.ts';

test('columns are at least ten wide, three apart, the last one not padded', () => {
  const table = renderTable([
    ['ID', 'NAME', 'PORTS'],
    ['x', 'a-rather-long-name', ''],
  ]);
  expect(table).toBe('ID        NAME                 PORTS\nx         a-rather-long-name   \n');
});

test.each([
  [400, 'Less than a second'],
  [1_000, '1 second'],
  [59_000, '59 seconds'],
  [60_000, 'About a minute'],
  [30 * 60_000, '30 minutes'],
  [61 * 60_000, 'About an hour'],
  [47 * 3600_000, '47 hours'],
  [3 * 86_400_000, '3 days'],
  [20 * 86_400_000, '2 weeks'],
  [90 * 86_400_000, '3 months'],
  [900 * 86_400_000, '2 years'],
])('%i ms is %s', (span, words) => {
  expect(humanDuration(span)).toBe(words);
});

describe('cells', () => {
  test('neighbouring ports of the whole cluster are joined, host ports left out', () => {
    const port = (published: number, target: number, mode = 'ingress') => ({
      PublishedPort: published,
      TargetPort: target,
      PublishMode: mode,
      Protocol: 'tcp',
    });
    expect(portsText([port(81, 81), port(80, 80), port(90, 9), port(8080, 80, 'host')])).toBe(
      '*:80-81->80-81/tcp, *:90->9/tcp',
    );
  });

  test('names sort by number, digests are cut, long texts too', () => {
    expect(['web.10', 'web.2', 'a'].sort(naturally)).toEqual(['a', 'web.2', 'web.10']);
    expect(imageWithoutDigest('reg:5000/x:1@sha256:ab')).toBe('reg:5000/x:1');
    expect(ellipsis('abcdef', 4)).toBe('abc…');
  });
});
