import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeDaemon, fail } from '../testing/fake-daemon.ts';

let daemon: FakeDaemon;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
});

afterEach(() => daemon.stop());

const overlay = (name: string, extra: object = {}) => ({
  Id: name.repeat(25).slice(0, 25),
  Name: name,
  Driver: 'overlay',
  Scope: 'swarm',
  Created: '2026-01-01T00:00:00Z',
  EnableIPv4: true,
  EnableIPv6: false,
  Internal: false,
  Labels: { a: 'b' },
  ...extra,
});

describe('network create', () => {
  const created = async (...line: string[]) => {
    daemon.on('POST', '/networks/create', () => ({ status: 201, body: { Id: 'n1', Warning: '' } }));
    const result = await daemon.run(['network', 'create', ...line]);
    expect(result).toEqual({ code: 0, stdout: 'n1\n', stderr: '' });
    return daemon.posts().at(-1)?.body;
  };

  test('at its plainest makes an overlay', async () => {
    expect(await created('front')).toEqual({
      Name: 'front',
      Driver: 'overlay',
      Scope: '',
      IPAM: { Driver: 'default', Options: {}, Config: [] },
      Internal: false,
      Attachable: false,
      Ingress: false,
      ConfigOnly: false,
      ConfigFrom: null,
      Options: {},
      Labels: {},
    });
  });

  test('gives every subnet its own range, gateway and reserved addresses', async () => {
    const line = [
      '--subnet',
      '10.1.0.0/24',
      '--subnet',
      'fd00::/64',
      '--gateway',
      'fd00::1',
      '--ip-range',
      '10.1.0.128/25',
    ];
    const more = ['--aux-address', 'nas=10.1.0.9', '--ipv6', '--internal', '--attachable', '-o', 'x=y', '--label', 'l'];
    expect(await created(...line, ...more, 'net')).toMatchObject({
      EnableIPv6: true,
      Internal: true,
      Attachable: true,
      Options: { x: 'y' },
      Labels: { l: '' },
      IPAM: {
        Config: [
          { Subnet: '10.1.0.0/24', IPRange: '10.1.0.128/25', AuxiliaryAddresses: { nas: '10.1.0.9' } },
          { Subnet: 'fd00::/64', Gateway: 'fd00::1' },
        ],
      },
    });
  });

  test.each([
    [['--gateway', '10.1.0.1'], 'every ip-range or gateway must have a corresponding subnet'],
    [['--subnet', 'x'], 'invalid subnet "x": invalid CIDR address: x'],
    [
      ['--subnet', '10.0.0.0/8', '--subnet', '10.1.0.0/16'],
      'multiple overlapping subnet configuration is not supported',
    ],
    [['--subnet', '10.1.0.0/24', '--gateway', '10.2.0.1'], 'no matching subnet for gateway 10.2.0.1'],
    [['--subnet', '10.1.0.0/24', '--ip-range', '10.0.0.0/8'], 'no matching subnet for range 10.0.0.0/8'],
    [['--subnet', '10.1.0.0/24', '--aux-address', 'a=10.2.0.1'], 'no matching subnet for aux-address 10.2.0.1'],
    [['--subnet', '10.1.0.0/24', '--aux-address', '10.1.0.1'], 'invalid aux-address "10.1.0.1": use NAME=ADDRESS'],
    [
      ['--subnet', '10.1.0.0/24', '--subnet', '10.2.0.0/24', '--gateway', '10.1.0.1', '--gateway', '10.1.0.2'],
      'cannot configure multiple gateways (10.1.0.2, 10.1.0.1) for the same subnet (10.1.0.0/24)',
    ],
  ])('%j is refused before anything is sent', async (flags, message) => {
    const result = await daemon.run(['network', 'create', ...flags, 'net']);
    expect([result.code, result.stderr]).toEqual([1, `Error: ${message}\n`]);
    expect(daemon.requests).toEqual([]);
  });
});

describe('network ls', () => {
  test('as a table, by template, as ids', async () => {
    daemon.on('GET', '/networks', () => [
      overlay('b10'),
      overlay('b2'),
      { Id: 'host', Name: 'host', Driver: 'host', Scope: 'local' },
    ]);
    expect((await daemon.run(['network', 'ls'])).stdout).toMatchInlineSnapshot(`
      "NETWORK ID     NAME      DRIVER    SCOPE
      b2b2b2b2b2b2   b2        overlay   swarm
      b10b10b10b10   b10       overlay   swarm
      host           host      host      local
      "
    `);
    const format = '{{.Name}} {{.IPv6}} {{.Internal}} {{.Label "a"}}';
    expect((await daemon.run(['network', 'ls', '--format', format])).stdout).toContain('b2 false false b\n');
    expect((await daemon.run(['network', 'ls', '-q', '--no-trunc', '-f', 'driver=overlay'])).stdout).toContain(
      `${'b2'.repeat(13).slice(0, 25)}\n`,
    );
    expect(daemon.requests.at(-1)?.query).toEqual({ filters: '{"driver":{"overlay":true}}' });
  });
});

test('network inspect asks for details only with -v', async () => {
  daemon.on('GET', '/networks/front', ({ query }) => overlay('front', { asked: query }));
  const plain = await daemon.run(['network', 'inspect', 'front', '--format', '{{.Driver}} {{json .asked}}']);
  expect(plain.stdout).toBe('overlay {}\n');
  const verbose = await daemon.run(['network', 'inspect', '-v', 'front', '--format', '{{json .asked}}']);
  expect(verbose.stdout).toBe('{"verbose":"true"}\n');
});

test('network rm goes on after a failure; --force does not mind what is gone', async () => {
  daemon
    .on('DELETE', '/networks/a', () => fail(404, 'network a not found'))
    .on('DELETE', '/networks/b', () => ({ status: 204, body: undefined }));
  expect(await daemon.run(['network', 'rm', 'a', 'b'])).toEqual({
    code: 1,
    stdout: 'b\n',
    stderr: 'Error response from daemon: network a not found\n',
  });
  expect(await daemon.run(['network', 'rm', '-f', 'a'])).toEqual({ code: 0, stdout: 'a\n', stderr: '' });
});

test('network prune removes only when it is told to', async () => {
  daemon.on('GET', '/networks', () => [overlay('a')]).on('POST', '/networks/prune', () => ({ NetworksDeleted: ['a'] }));
  const asked = await daemon.run(['network', 'prune']);
  expect([asked.code, asked.stderr]).toEqual([
    1,
    'This removes all networks that no service uses: a. To do it, add --force.\n',
  ]);
  expect(daemon.posts()).toEqual([]);
  const filtered = await daemon.run(['network', 'prune', '--filter', 'until=24h']);
  expect([filtered.code, filtered.stderr]).toEqual([
    1,
    'This removes all networks that no service uses and that the filters let through. To do it, add --force.\n',
  ]);
  const done = await daemon.run(['network', 'prune', '-f', '--filter', 'label!=keep']);
  expect(done.stdout).toBe('Deleted Networks:\na\n\n');
  expect(daemon.posts().at(-1)?.query).toEqual({ filters: '{"label!":{"keep":true}}' });
});
