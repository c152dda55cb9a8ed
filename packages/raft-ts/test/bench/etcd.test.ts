import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { BadOption, parseOptions } from '../../bench/etcd/options.ts';
import { Ours } from '../../bench/etcd/ours.ts';
import { checkPorts, poll, Workplace } from '../../bench/etcd/processes.ts';
import * as protocol from '../../bench/etcd/protocol.ts';
import { jsonLines, median, table } from '../../bench/etcd/report.ts';
import { leaderOf } from '../../bench/etcd/throughput.ts';

describe('options', () => {
  test('what is measured when nothing is said', () => {
    expect(parseOptions([])).toMatchObject({ mode: 'throughput', rounds: 5, levels: [1, 16, 64, 256], syncDelayMs: 0 });
  });

  test('values stand behind a blank or an equals sign', () => {
    const options = parseOptions(['--rounds', '2', '--levels=1,64', '--only=ours', '--sync-delay', '5', '--failover']);
    expect(options).toMatchObject({ mode: 'failover', rounds: 2, levels: [1, 64], only: 'ours', syncDelayMs: 5 });
  });

  test.each([['--round', '2'], ['--rounds'], ['--rounds', 'two'], ['--levels', '1,,4'], ['--only', 'mine'], ['x']])(
    '%s %s is refused',
    (...args) => expect(() => parseOptions(args)).toThrow(BadOption),
  );
});

describe('what goes over the wire', () => {
  const value = Uint8Array.from({ length: 1024 }, (_, at) => at % 256);

  test('a put and a range are read as they were written', () => {
    const put = protocol.decodePut(protocol.encodePut({ key: 'bench', value }));
    expect(put.key).toBe('bench');
    expect(Buffer.compare(put.value, value)).toBe(0);
    for (const serializable of [true, false]) {
      const request = { key: 'bench', serializable };
      expect(protocol.decodeRange(protocol.encodeRange(request))).toEqual(request);
    }
  });

  test('an answer holds key, version and value, or nothing', () => {
    const found = protocol.decodeRangeResponse(protocol.encodeRangeResponse({ key: 'k', version: 300_000, value }));
    expect(found).toMatchObject({ key: 'k', version: 300_000 });
    expect(protocol.decodeRangeResponse(protocol.encodeRangeResponse(undefined))).toBeUndefined();
    expect(() => protocol.decodePut(Uint8Array.of(0x0a, 0x80))).toThrow(RangeError);
  });

  test('a gRPC body begins with a zero and the length', () => {
    expect([...protocol.frame(Uint8Array.of(7, 8))]).toEqual([0, 0, 0, 0, 2, 7, 8]);
  });
});

describe('the report', () => {
  const row = {
    case: 'writes',
    unit: '/s',
    better: 'more',
    values: { ours: [900, 1200, 1000], etcd: [500, 400, 600] },
  } as const;

  test('compares medians', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1])).toBe(2.5);
    expect(jsonLines([row], 'etcd 3')).toBe(
      '{"bench":"raft-ts","case":"writes","value":1000,"unit":"/s","peer":"etcd 3","peerValue":500,"ratio":2}',
    );
    expect(table([row], 'etcd 3').split('\n')[2]).toMatch(
      /^\| writes +\| \/s +\| 1,000 +\| 500 +\| 2 +\| more +\| 900–1,200/,
    );
  });

  test('leaves the peer out where none ran', () => {
    const alone = { ...row, values: { ours: [1, 2, 3] } };
    expect(jsonLines([alone], 'etcd 3')).toBe('{"bench":"raft-ts","case":"writes","value":2,"unit":"/s"}');
  });
});

test('a port that is taken is named', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await expect(checkPorts([port])).rejects.toThrow(`Cannot use port ${String(port)}`);
});

test('the example server: three processes keep every acknowledged write through kill -9 of the leader', {
  timeout: 180_000,
}, async () => {
  const workplace = new Workplace(undefined);
  onTestFinished(() => workplace.stopAll());
  const ours = new Ours(workplace, {
    firstPort: await freeRange(6),
    syncDelayMs: 0,
    package: undefined,
    profile: undefined,
  });
  onTestFinished(() => ours.nodes.forEach((node) => node.close()));
  await ours.start();
  const value = Buffer.alloc(1024, 'v');
  const first = await leaderOf(ours);
  for (let i = 0; i < 20; i++) await ours.nodes[first]?.put('bench', value);
  await ours.killNode(first);
  const second = await leaderOf(ours);
  await ours.nodes[second]?.put('bench', value, 5000);
  ours.startNode(first);
  for (const node of ours.nodes) {
    const complete = async () => ((await node.get('bench'))?.version === 21 ? true : undefined);
    expect(await poll(complete, { limitMs: 10_000, what: 'all nodes hold 21 writes' })).toBe(true);
  }
  expect((await ours.counters(second)).syncs).toBeGreaterThan(0);
  await workplace.stopAll();
  expect(existsSync(workplace.directory)).toBe(false);
});

/** The first of so many ports in a row that nobody uses now. */
async function freeRange(count: number): Promise<number> {
  for (let first = 25_100; first < 32_000; first += count) {
    const free = await checkPorts(Array.from({ length: count }, (_, at) => first + at)).then(
      () => true,
      () => false,
    );
    if (free) return first;
  }
  throw new Error('no free ports');
}
