import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import type { Sealer } from '../../src/index.ts';
import { encodeConfChange } from '../../src/index.ts';
import { createFileSnapshotStore, createWalLogStore, inspectLog, MemoryFileSystem } from '../../src/wal/index.ts';
import { dump } from '../../tools/wal/dump.ts';
import { verify } from '../../tools/wal/verify.ts';
import { batch, conf, entries, entry, snapshot } from './scripts.ts';

const directories: string[] = [];
afterAll(() => Promise.all(directories.map((path) => rm(path, { recursive: true, force: true }))));
async function scratch(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'raft-wal-'));
  directories.push(path);
  return path;
}

const sealer: Sealer = {
  seal: (bytes) => bytes.map((byte) => byte ^ 0x5a),
  open: (bytes) => bytes.map((byte) => byte ^ 0x5a),
};

/** A node's directory with a log of three segments and a snapshot. */
async function written(options: { readonly sealer?: Sealer } = {}): Promise<string> {
  const directory = await scratch();
  const log = createWalLogStore({ directory: join(directory, 'log'), segmentBytes: 2048, growBytes: 512, ...options });
  await log.open();
  await log.append(batch(entries(1, 9, 1, 'x'.repeat(300)), { hardState: { term: 1, vote: 1, commit: 0 } }));
  await log.append(batch(entries(8, 12, 2, 'y'.repeat(300)), { hardState: { term: 2, vote: 0, commit: 9 } }));
  const snapshots = createFileSnapshotStore({ directory: join(directory, 'snapshots'), ...options });
  await log.append(batch([], { snapshot: await snapshots.create({ term: 1, index: 7, conf }, once()) }));
  const change = encodeConfChange({ transition: 'auto', ops: [{ op: 'learner', id: 5 }] });
  await log.append(batch([{ term: 2, index: 13, kind: 1, data: change }, entry(14, 2)]));
  await log.close();
  return directory;
}

async function* once(): AsyncIterable<Uint8Array> {
  yield new Uint8Array(100).fill(7);
}

async function lines(
  run: (print: (line: string) => void) => Promise<number>,
): Promise<{ status: number; lines: string[] }> {
  const found: string[] = [];
  const status = await run((line) => found.push(line));
  return { status, lines: found };
}

const verified = (directory: string) => lines((print) => verify(directory, { json: false, print }));
const dumped = (directory: string, more = {}) =>
  lines((print) => dump(directory, { json: false, data: false, ...more, print }));

describe.each([
  ['in clear', false],
  ['sealed', true],
])('a log %s', (_name, sealed) => {
  const options = sealed ? { sealer } : {};

  test('is verified without lock or key', async () => {
    const directory = await written(options);
    const running = createWalLogStore({ directory: join(directory, 'log'), ...options });
    await running.open();
    const { status, lines: found } = await verified(directory);
    await running.close();
    expect(status).toBe(0);
    expect(found).toContainEqual('entries 1 to 14');
    expect(found).toContainEqual('term 2, vote 0, commit 9');
    expect(found).toContainEqual('snapshot 7 of term 1');
    expect(found.at(-1)).toBe(`${directory}: whole`);
    expect(found[0]).toMatch(!sealed ? /records \d+$/ : /records \d+, sealed$/);
  });

  test('is dumped a line per record', async () => {
    const { status, lines: found } = await dumped(await written(options));
    expect(status).toBe(0);
    expect(found.some((line) => line.includes('entries 8..12'))).toBe(true);
    expect(found.some((line) => line.endsWith('end of segment'))).toBe(true);
    expect(found.some((line) => line.includes('config auto learner:5'))).toBe(!sealed);
  });
});

test('payloads are dumped as length and hash, or whole when asked for', async () => {
  const directory = await written();
  const { lines: plain } = await dumped(directory);
  expect(plain.at(-1)).toMatch(/\[14\/2 5 B [0-9a-f]{12}\]$/);
  const { lines: withData } = await dumped(directory, { data: true });
  expect(withData.at(-1)).toContain(Buffer.from('e14.2').toString('hex'));
  const { lines: json } = await dumped(directory, { json: true });
  const records = json.map((line) => JSON.parse(line) as { sequence: number; entries?: { index: number }[] });
  expect(records.at(-1)?.entries).toEqual([
    { index: 13, term: 2, kind: 'config', change: 'auto learner:5', bytes: 6, hash: expect.any(String) },
    { index: 14, term: 2, kind: 'normal', bytes: 5, hash: expect.any(String) },
  ]);
});

describe('damage', () => {
  async function flipped(name: string, find: (bytes: Buffer) => number): Promise<{ directory: string; at: number }> {
    const directory = await written();
    const folder = join(directory, name);
    // The first segment holds nothing but a state; the second, the entries of the first batch.
    const [file = ''] = (await readdir(folder)).filter((one) => one.endsWith(name === 'log' ? '2.wal' : '.snap'));
    const bytes = await readFile(join(folder, file));
    const at = find(bytes);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(join(folder, file), bytes);
    return { directory, at };
  }

  test('is reported with its place', async () => {
    const { directory, at } = await flipped('log', (bytes) => bytes.indexOf('xxx') + 100);
    const { status, lines: found } = await verified(directory);
    expect(status).toBe(1);
    const where = /damaged at byte (\d+) of .*\.wal/.exec(found.join('\n'))?.[1];
    expect(Number(where)).toBeLessThan(at);
    expect(Number(where)).toBeGreaterThan(at - 300);
    expect((await dumped(directory)).status).toBe(1);
  });

  test('of a snapshot is reported too', async () => {
    const { directory } = await flipped('snapshots', (bytes) => bytes.length - 10);
    const { status, lines: found } = await verified(directory);
    expect(status).toBe(1);
    expect(found.join('\n')).toContain('is damaged at byte');
  });

  test('a missing newest segment is damage; a torn last write is none', async () => {
    const directory = await written();
    const folder = join(directory, 'log');
    const segments = (await readdir(folder)).filter((one) => one.endsWith('.wal'));
    const last = join(folder, segments.at(-1) ?? '');
    const bytes = await readFile(last);
    const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
    await writeFile(last, bytes.fill(0, end - 10));
    const torn = await verified(directory);
    expect(torn.status).toBe(0);
    expect(torn.lines.join('\n')).toContain('torn write');
    await rm(last);
    const missing = await verified(directory);
    expect(missing.status).toBe(1);
    expect(missing.lines.join('\n')).toContain('segment is missing');
  });
});

test('beside a node that writes, begins and removes segments, the log is always found whole', async () => {
  const fileSystem = new MemoryFileSystem();
  const directory = '/log';
  const log = createWalLogStore({ directory, fileSystem, segmentBytes: 1024, growBytes: 512 });
  await log.open();
  const writing = (async () => {
    for (let i = 1; i <= 120; i++) {
      await log.append(batch([entry(i, 1, 'x'.repeat(200))]));
      if (i % 20 !== 0) continue;
      await log.append(batch([], { snapshot: snapshot(i) }));
      await log.compact(i);
    }
  })();
  let looks = 0;
  let last = 0;
  while (last < 120) {
    const report = await inspectLog({ directory, fileSystem });
    expect(report.corruption).toBeUndefined();
    expect(report.lastIndex).toBeGreaterThanOrEqual(last);
    last = report.lastIndex;
    looks += 1;
  }
  await writing;
  expect(looks).toBeGreaterThan(3);
});

test('the command takes paths from where the user stands and says what it cannot read', async () => {
  const directory = await written();
  const run = async (args: readonly string[]) => {
    const main = join(import.meta.dirname, '../../tools/wal/main.ts');
    const env = { ...process.env, INIT_CWD: directory };
    try {
      const { stdout } = await promisify(execFile)('node', ['-C', 'source', '--import', 'tsx', main, ...args], { env });
      return { code: 0, output: stdout };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, output: stdout + stderr };
    }
  };
  const good = await run(['verify', 'log', 'snapshots']);
  expect(good.output.match(/whole$/gm)?.length).toBe(3);
  expect(good.code).toBe(0);
  expect((await run(['verify', 'nowhere'])).code).toBe(2);
  expect((await run(['verify', '--data', 'log'])).output).toContain('usage: wal verify');
});
