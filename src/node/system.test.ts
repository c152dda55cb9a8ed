import { describe, expect, test } from 'vitest';
import { routesOf } from './system.ts';

describe('routes of the host', () => {
  test('are those that lead to a part of the world, not the default ones and those of our own links', () => {
    const routes = [
      { dst: 'default', gateway: '192.0.2.1', dev: 'eth0', flags: [] },
      { dst: '0.0.0.0/1', dev: 'tun0' },
      { dst: '128.0.0.0/1', dev: 'tun0' },
      { dst: '172.16.0.0/12', dev: 'wg0', scope: 'link' },
      { dst: '10.1.2.3', gateway: '192.0.2.7', dev: 'eth0' },
      { dst: '10.9.0.0/16', flags: [], nexthops: [{ gateway: '192.0.2.8', dev: 'eth1', weight: 1 }] },
      { type: 'blackhole', dst: '10.0.0.0/8' },
      { dst: '172.28.3.0/24', dev: 'ts0a1b2c3d' },
      { dst: 'nonsense', dev: 'eth0' },
      { dev: 'eth0' },
      7,
    ];
    expect(routesOf(JSON.stringify(routes), (name) => name.startsWith('ts'))).toEqual([
      { name: 'wg0', cidr: '172.16.0.0/12' },
      { name: 'eth0', cidr: '10.1.2.3/32' },
      { name: 'eth1', cidr: '10.9.0.0/16' },
    ]);
  });

  test.each(['', 'Usage: ip', '{}', 'null'])('%j: there are none', (output) => {
    expect(routesOf(output, () => false)).toEqual([]);
  });
});
