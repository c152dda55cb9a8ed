import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { ClusterError } from '../../../lib/errors.ts';
import { silentLog } from '../../../lib/log.ts';
import { VirtualClock } from '../../../lib/testing/virtual-clock.ts';
import { StaleConnections } from './conntrack.ts';
import { parseListener } from './published.ts';
import { Reservations } from './reservations.ts';

describe('a reserved port', () => {
  const open = (clock = new VirtualClock()) => new Reservations(clock, async (_, error) => error);
  const free = async () => {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = server.address();
    return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
  };
  const end = (server: ReturnType<typeof createServer>) => new Promise((done) => server.close(done));

  test('belongs to its owner, on every address that overlaps', async () => {
    const { server, port } = await free();
    await end(server);
    const ports = open();
    const key = { protocol: 'tcp', port, hostIp: '127.0.0.1' };
    expect(await ports.take({ ...key, owner: 'task a' })).toBeUndefined();
    expect(await ports.take({ ...key, owner: 'task a' })).toBeUndefined();
    expect(await ports.take({ ...key, owner: 'task b' })).toBe('task a');
    expect(await ports.take({ protocol: 'tcp', port, owner: 'service web' })).toBe('task a');
    expect(await ports.take({ ...key, protocol: 'udp', owner: 'task b' })).toBeUndefined();
    await ports.release('task a');
    expect(await ports.take({ ...key, owner: 'task b' })).toBeUndefined();
    await ports.keep(new Set());
  });

  test('that is taken is tried again after a while that grows', async () => {
    const { server, port } = await free();
    const clock = new VirtualClock();
    const ports = open(clock);
    const wanted = { protocol: 'tcp', port, hostIp: '127.0.0.1', owner: 'service web' };
    expect(await ports.takeAgain(wanted)).toMatch(/EADDRINUSE/);
    expect(ports.retryInMs()).toBe(1_000);
    await clock.advance(1_000);
    expect(await ports.takeAgain(wanted)).toMatch(/EADDRINUSE/);
    expect(ports.retryInMs()).toBe(2_000);
    await end(server);
    expect(await ports.takeAgain(wanted)).toMatch(/EADDRINUSE/);
    await clock.advance(2_000);
    expect(await ports.takeAgain(wanted)).toBeUndefined();
    expect(ports.retryInMs()).toBeUndefined();
    await ports.keep(new Set());
  });

  test('on an address that this host does not have is nobody else’s either', async () => {
    expect(await open().take({ protocol: 'tcp', port: 80, hostIp: '192.0.2.1', owner: 'service web' })).toBeUndefined();
    expect(
      await open().take({ protocol: 'tcp', port: 80, hostIp: '192.0.2.1', owner: 'task a', mustBeHere: true }),
    ).toBe('192.0.2.1 is not an address of this host');
  });
});

test('a listener is told by its address, its program by what is known of it', () => {
  expect(
    parseListener('tcp LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=17,fd=6),("nginx",pid=16,fd=6))', 80),
  ).toEqual({
    isWildcard: true,
    program: 'nginx (process 17)',
  });
  expect(parseListener('udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*', 53)).toEqual({ isWildcard: false });
  expect(parseListener('tcp LISTEN 0 511 [::]:80 [::]:*', 80)?.isWildcard).toBe(true);
  expect(parseListener('', 80)).toBeUndefined();
});

describe('connections of a task', () => {
  const open = (fails?: Error) => {
    const clock = new VirtualClock();
    const calls: string[] = [];
    const kernel = {
      changes: 0,
      read: async () => '',
      change: async (program: string, args: readonly string[]) => {
        calls.push([program, ...args].join(' '));
        if (fails !== undefined) throw fails;
        return '';
      },
      setting: async () => undefined,
      set: async () => {},
    };
    return { clock, calls, stale: new StaleConnections(kernel, { clock, log: silentLog }) };
  };
  const pending = [
    'conntrack -D -p udp --reply-src 172.28.1.5',
    'conntrack -D -p tcp --state SYN_SENT --reply-src 172.28.1.5',
  ];

  test('that leaves the maps lose flows and attempts after a moment', async () => {
    const { clock, calls, stale } = open();
    stale.leaves('172.28.1.5');
    await clock.advance(499);
    expect(calls).toEqual([]);
    await clock.advance(1);
    expect(calls).toEqual(pending);
  });

  test('that is gone are cut at once, also when it had only left before', async () => {
    const { clock, calls, stale } = open();
    stale.isGone('172.28.1.5');
    stale.leaves('172.28.1.5');
    await clock.advance(1);
    expect(calls).toEqual(['conntrack -D --reply-src 172.28.1.5']);
  });

  test('that is back are kept', async () => {
    const { clock, calls, stale } = open();
    stale.leaves('172.28.1.5');
    stale.returns('172.28.1.5');
    await clock.advance(1_000);
    expect(calls).toEqual([]);
  });

  test('wait in rounds, all of them in the end, and a missing program is told', async () => {
    const { clock, calls, stale } = open(new ClusterError('failed_precondition', 'conntrack is not installed'));
    for (let at = 0; at < 100; at++) stale.isGone(`172.28.1.${at}`);
    await clock.advance(1_000);
    expect(new Set(calls).size).toBe(100);
    expect(stale.isMissing).toBe(true);
  });
});
