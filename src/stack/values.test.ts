import { describe, expect, test } from 'vitest';
import { parseShortPort } from './ports.ts';
import {
  effectiveCapabilities,
  formatDuration,
  parseBytes,
  parseCpus,
  parseDuration,
  splitCsv,
  splitWords,
} from './values.ts';

describe('values', () => {
  test.each([
    ['1m30s', 90e9],
    ['1.5h', 5400e9],
    ['0', 0],
    ['-3ms', -3e6],
    ['10us', 10e3],
  ])('duration %s', (text, nanos) => expect(parseDuration(text)).toBe(nanos));

  test.each(['', '5', 's', '1x', '1 s', '9999999999h'])('no duration: %j', (text) =>
    expect(() => parseDuration(text)).toThrow('duration'),
  );

  test.each([
    [90e9, '1m30s'],
    [3600e9, '1h0m0s'],
    [5e8, '500ms'],
    [0, '0s'],
  ])('%d ns is %s', (nanos, text) => expect(formatDuration(nanos)).toBe(text));

  test.each([
    ['64m', 64 * 2 ** 20],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['512', 512],
    ['10b', 10],
    ['2kb', 2048],
  ])('size %s', (text, bytes) => expect(parseBytes(text)).toBe(bytes));

  test.each(['', 'x', '-1', '1z', '999999999t'])('no size: %j', (text) =>
    expect(() => parseBytes(text)).toThrow('invalid size'),
  );

  test('CPUs are exact to a billionth', () => {
    expect([parseCpus('0.5'), parseCpus('.000000001'), parseCpus('2')]).toEqual([5e8, 1, 2e9]);
    expect(() => parseCpus('0.0000000001')).toThrow('value is too precise');
    expect(() => parseCpus('x')).toThrow('rational number');
  });

  test('words are split as a shell does', () => {
    expect(splitWords(`sh -c "echo 'a b' \\$X" 'it''s' "" a\\ b`)).toEqual([
      'sh',
      '-c',
      "echo 'a b' $X",
      'its',
      '',
      'a b',
    ]);
    expect(() => splitWords('a "b')).toThrow('closing quote');
    expect(() => splitWords('a \\')).toThrow('escape');
  });

  test('fields may be quoted', () => {
    expect(splitCsv('a=1,"b=x,y","c=""q"""')).toEqual(['a=1', 'b=x,y', 'c="q"']);
    expect(() => splitCsv('a,"b')).toThrow('missing closing');
  });

  test('ALL absorbs, added wins over dropped', () => {
    expect(effectiveCapabilities(['net_admin', 'CAP_CHOWN'], ['chown', 'kill'])).toEqual({
      add: ['CAP_CHOWN', 'CAP_NET_ADMIN'],
      drop: ['CAP_KILL'],
    });
    expect(effectiveCapabilities(['all', 'kill'], ['chown'])).toEqual({ add: ['ALL'], drop: [] });
  });
});

describe('short ports', () => {
  const short = (text: string) =>
    parseShortPort(text).map(
      ({ HostIP = '', PublishedPort = '-', TargetPort, Protocol }) =>
        `${HostIP === '' ? '' : `${HostIP} `}${PublishedPort}:${TargetPort}/${Protocol}`,
    );

  test.each([
    ['80', ['-:80/tcp']],
    ['8080:80', ['8080:80/tcp']],
    ['9000-9002:90-92/udp', ['9000:90/udp', '9001:91/udp', '9002:92/udp']],
    ['70-71', ['-:70/tcp', '-:71/tcp']],
    ['1.2.3.4:80:90', ['1.2.3.4 80:90/tcp']],
    ['1.2.3.4::90/udp', ['1.2.3.4 -:90/udp']],
    ['[::1]:80:90', ['::1 80:90/tcp']],
    ['0.0.0.0:80:90', ['80:90/tcp']],
  ])('%s', (text, ports) => expect(short(text)).toEqual(ports));

  test.each(['', ':', '0', '80:', '70000', '1-2:3-5', '1-2:3', '5-4', '80/xyz', '1.2.3:80:80', 'eth0:80:80'])(
    'no port: %j',
    (text) => {
      expect(() => short(text)).toThrow();
    },
  );
});
