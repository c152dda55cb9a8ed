import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { ClusterError } from '../../../lib/errors.ts';
import { silentLog } from '../../../lib/log.ts';
import { VirtualClock } from '../../../lib/testing/virtual-clock.ts';
import type { IngressPort, ServiceRecord } from '../../../model/network.ts';
import type { HostPort } from '../../../model/ports.ts';
import { desired, sandbox } from '../dns/testing/state.ts';
import { StaleConnections } from './conntrack.ts';
import { PublishedPorts, parseListener } from './published.ts';
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
    await ports.keep([]);
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
    await ports.keep([]);
  });

  test('on an address that this host does not have is nobody else’s either', async () => {
    expect(await open().take({ protocol: 'tcp', port: 80, hostIp: '192.0.2.1', owner: 'service web' })).toBeUndefined();
    expect(
      await open().take({ protocol: 'tcp', port: 80, hostIp: '192.0.2.1', owner: 'task a', mustBeHere: true }),
    ).toBe('192.0.2.1 is not an address of this host');
  });
});

describe('a published port that changes hands in one state', () => {
  const kernel = {
    changes: 0,
    read: async () => '',
    change: async () => '',
    setting: async () => undefined,
    set: async () => {},
  };
  const open = () => new PublishedPorts(kernel, new VirtualClock());
  /** Above what the kernel gives to clients, and another one for every test. */
  let next = 61_000 + (process.pid % 100) * 40;
  const numbers = (count: number) => Array.from({ length: count }, () => next++);
  const service = (id: string, ...ports: readonly (number | Partial<IngressPort>)[]): ServiceRecord => ({
    id,
    name: `${id}-name`,
    mode: 'vip',
    networks: [],
    ports: ports.map((port) => ({
      protocol: 'tcp',
      published: 0,
      target: 80,
      source: 'preserve',
      ...(typeof port === 'number' ? { published: port } : port),
    })),
  });
  const task = (id: string, port: number, more: Partial<HostPort> = {}) => ({
    ...sandbox(id, '172.28.1.2', []),
    hostPorts: [{ port, protocol: 'tcp', target: 80, ...more }],
  });
  /** As the plane does it; what could not be had. */
  const sync = async (ports: PublishedPorts, ...services: readonly ServiceRecord[]) => {
    const problems = await ports.takeAll(desired({ services }));
    await ports.releaseUnwanted();
    return problems.map(({ message }) => message.replace(/ has it;.*/, ''));
  };
  const isFree = async (port: number, host = '0.0.0.0') => {
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, host, () => resolve(true));
    });
    if (free) await new Promise((done) => server.close(done));
    return free;
  };

  test('goes to the service that has it now, and stays held all the while', async () => {
    const [port = 0] = numbers(1);
    const ports = open();
    expect(await sync(ports, service('a', port))).toEqual([]);
    expect(await ports.takeAll(desired({ services: [service('b', port)] }))).toEqual([]);
    expect([await isFree(port), ports.refused.size]).toEqual([false, 0]);
    await ports.releaseUnwanted();
    expect(await isFree(port)).toBe(false);
    expect(await sync(ports)).toEqual([]);
    expect(await isFree(port)).toBe(true);
  });

  test('may be swapped for another', async () => {
    const [one = 0, two = 0] = numbers(2);
    const ports = open();
    await sync(ports, service('a', one), service('b', two));
    expect(await sync(ports, service('a', two), service('b', one))).toEqual([]);
    // Each still knows its own.
    expect(await sync(ports, service('a', two))).toEqual([]);
    expect([await isFree(one), await isFree(two)]).toEqual([true, false]);
    await ports.releaseAll();
  });

  test('is refused while the other one is still there, which keeps it, and given the moment it is gone', async () => {
    const [port = 0] = numbers(1);
    const ports = open();
    await sync(ports, service('a', port));
    const refusal = [`published port ${port}/tcp of service b-name does not answer on this node: service a-name`];
    for (let round = 0; round < 3; round++) {
      expect(await sync(ports, service('a', port), service('b', port))).toEqual(refusal);
      expect([...ports.refused]).toEqual([`service b 0.0.0.0:${port}/tcp`]);
    }
    expect(await sync(ports, service('b', port))).toEqual([]);
    await ports.releaseAll();
  });

  test('may change between all addresses and one', async () => {
    const [port = 0] = numbers(1);
    const ports = open();
    await sync(ports, service('a', port));
    expect(await sync(ports, service('b', { published: port, hostIp: '127.0.0.1' }))).toEqual([]);
    expect([await isFree(port, '127.0.0.1'), await isFree(port, '127.0.0.2')]).toEqual([false, true]);
    expect(await sync(ports, service('b', port))).toEqual([]);
    expect(await isFree(port, '127.0.0.2')).toBe(false);
    await ports.releaseAll();
  });

  test('goes from a service to a task and back', async () => {
    const [port = 0] = numbers(1);
    const ports = open();
    await sync(ports, service('a', port));
    const own = task('t', port);
    await expect(ports.takeForTask(own, desired({ services: [service('a', port)], sandboxes: [own] }))).rejects.toThrow(
      `Bind for 0.0.0.0:${port}/tcp failed: port is already allocated (service a-name)`,
    );
    await ports.takeForTask(own, desired({ services: [], sandboxes: [own] }));
    expect(await ports.takeAll(desired({ services: [service('b', port)], sandboxes: [own] }))).toMatchObject([
      { message: expect.stringContaining('task t has it') },
    ]);
    expect(await sync(ports, service('b', port))).toEqual([]);
    expect(await isFree(port)).toBe(false);
    await ports.releaseAll();
  });

  test('that was held for nothing, on an address elsewhere, is not good enough for a task', async () => {
    const [port = 0] = numbers(1);
    const ports = open();
    await sync(ports, service('a', { published: port, hostIp: '192.0.2.1' }));
    const own = task('t', port, { hostIp: '192.0.2.1' });
    await expect(ports.takeForTask(own, desired({ sandboxes: [own] }))).rejects.toThrow('cannot assign requested');
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
