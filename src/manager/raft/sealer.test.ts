import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { seededRandom } from '../../lib/random.ts';
import { loadDataKeys, loadKek } from './keys.ts';
import { createSealer } from './sealer.ts';
import { openRaftStorage } from './storage.ts';

const random = seededRandom(7);
const key = (id: number) => ({ id, key: random.bytes(32) });

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'raft-keys-'));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

describe('sealer', () => {
  test('opens what it sealed, and never seals twice alike', () => {
    const sealer = createSealer([key(1)], random);
    const plain = Buffer.from('swarm secret');
    const [one, two] = [sealer.seal(plain), sealer.seal(plain)];
    expect(Buffer.from(sealer.open(one)).equals(plain)).toBe(true);
    expect(Buffer.from(one).equals(Buffer.from(two))).toBe(false);
    expect(Buffer.from(one).includes('secret')).toBe(false);
    expect(sealer.open(sealer.seal(new Uint8Array())).length).toBe(0);
  });

  test('refuses every changed byte, every cut, and another key', () => {
    const sealer = createSealer([key(1)], random);
    const sealed = sealer.seal(Buffer.from('data'));
    for (let at = 0; at < sealed.length; at++) {
      const changed = Uint8Array.from(sealed, (byte, index) => (index === at ? byte ^ 1 : byte));
      expect(() => sealer.open(changed)).toThrow();
      expect(() => sealer.open(sealed.subarray(0, at))).toThrow();
    }
    expect(() => createSealer([key(1)], random).open(sealed)).toThrow(/known key/);
  });

  test('opens records of an older key after a change of keys', () => {
    const [old, next] = [key(1), key(2)];
    const sealed = createSealer([old], random).seal(Buffer.from('x'));
    expect(createSealer([next, old], random).open(sealed).length).toBe(1);
    expect(() => createSealer([next], random).open(sealed)).toThrow();
  });
});

describe('keys', () => {
  test('are made once, kept privately, and read again', async () => {
    const path = await directory();
    const kek = await loadKek(path, random);
    const made = await loadDataKeys(path, kek, random);
    expect(await loadDataKeys(path, await loadKek(path, random), random)).toEqual(made);
    for (const name of ['kek', 'dek.json']) expect((await stat(join(path, name))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(path, 'dek.json'), 'utf8')).not.toContain(Buffer.from(made[0].key).toString('base64'));
  });

  test('C11: refuse another key-encryption key and a damaged file', async () => {
    const path = await directory();
    await loadDataKeys(path, await loadKek(path, random), random);
    await expect(loadDataKeys(path, random.bytes(32), random)).rejects.toMatchObject({ kind: 'permission_denied' });
    await writeFile(join(path, 'dek.json'), '{"version":1');
    await expect(loadDataKeys(path, random.bytes(32), random)).rejects.toMatchObject({ kind: 'internal' });
  });

  test('log on disk is unreadable without them and readable with them', async () => {
    const path = await directory();
    const entries = [{ term: 1, index: 1, kind: 0 as const, data: Buffer.from('swarm secret') }];
    const { log } = await openRaftStorage({ directory: path, random });
    await log.open();
    await log.append({ hardState: { term: 1, vote: 1, commit: 0 }, entries, sync: true });
    await log.close();
    const again = await openRaftStorage({ directory: path, random });
    const opened = await again.log.open();
    expect(Buffer.from(opened.entries[0]?.data ?? []).toString()).toBe('swarm secret');
    await again.log.close();
    const other = await openRaftStorage({ directory: await directory(), random });
    const { log: stranger } = other;
    await stranger.open();
    await stranger.close();
    const bytes = await readFile(join(path, 'log', '0000000000000001.wal'));
    expect(bytes.includes('secret')).toBe(false);
  });
});
