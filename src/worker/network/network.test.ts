import { describe, expect, test } from 'vitest';
import { addElements, hostsFile, linkName, nextAddress, nftTable, parseSubnet, resolvConf } from './plan.ts';

const endpoint = { taskId: 't1', address: '172.30.0.2', hostPorts: [{ port: 8080, protocol: 'tcp', target: 80 }] };

describe('addresses', () => {
  test('are given out in order, behind the last one, and skip what is taken', () => {
    expect(nextAddress('172.30.0.0/16', new Set(), undefined)).toBe('172.30.0.2');
    expect(nextAddress('172.30.0.0/16', new Set(['172.30.0.3']), '172.30.0.2')).toBe('172.30.0.4');
  });

  test('wrap round and end when the subnet is full', () => {
    const all = Array.from({ length: 13 }, (_, at) => `10.0.0.${at + 2}`);
    expect(nextAddress('10.0.0.0/28', new Set(all.slice(1)), '10.0.0.14')).toBe('10.0.0.2');
    expect(nextAddress('10.0.0.0/28', new Set(all), undefined)).toBeUndefined();
  });

  test('a malformed subnet is refused', () => {
    expect(() => parseSubnet('172.30.0.0')).toThrow('invalid subnet');
    expect(() => parseSubnet('300.0.0.0/16')).toThrow('invalid subnet');
    expect(parseSubnet('172.30.5.9/16').gateway).toBe('172.30.0.1');
  });
});

test('link names fit the kernel and differ by task', () => {
  expect(linkName('t1')).toMatch(/^tg[0-9a-f]{8}$/);
  expect(linkName('t1')).not.toBe(linkName('t2'));
});

test('the table holds one element per published port and guards loopback', () => {
  const text = nftTable('tsc', '172.30.0.0/16', [endpoint]);
  expect(text).toContain('elements = { tcp . 8080 : 172.30.0.2 . 80 }');
  expect(text).toContain('iifname != "lo" ip daddr 127.0.0.0/8 drop');
  expect(nftTable('tsc', '172.30.0.0/16', [])).not.toContain('elements');
  expect(addElements('tsc', endpoint)).toBe('add element ip tsc hports { tcp . 8080 : 172.30.0.2 . 80 }\n');
});

describe('name files', () => {
  test("a task's own DNS settings win over the host's", () => {
    const host = 'search example.org\nnameserver 127.0.0.53\nnameserver 9.9.9.9\n';
    expect(resolvConf(host, { nameservers: [], search: [], options: [] })).toBe(
      'nameserver 9.9.9.9\nsearch example.org\n',
    );
    expect(resolvConf(host, { nameservers: ['1.1.1.1'], search: ['a'], options: ['ndots:2'] })).toBe(
      'nameserver 1.1.1.1\nsearch a\noptions ndots:2\n',
    );
  });

  test('hosts names the task itself and the extra hosts', () => {
    expect(hostsFile('172.30.0.2', 'web-1', ['10.0.0.9 db db.local'])).toContain(
      '10.0.0.9\tdb db.local\n172.30.0.2\tweb-1\n',
    );
  });
});
