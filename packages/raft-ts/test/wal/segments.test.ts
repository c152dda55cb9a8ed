import { describe, expect, test } from 'vitest';
import type { OpenedLog } from '../../src/index.ts';
import { encodeRecordBody } from '../../src/wal/batch.ts';
import { crc32c, createWalLogStore, inspectLog, LogCorrupt } from '../../src/wal/index.ts';
import {
  align,
  encodeSegmentHeader,
  maxSegmentSize,
  putRecord,
  recordHeaderSize,
  sectorSize,
  segmentHeaderSize,
} from '../../src/wal/record.ts';
import { DiskError, RecordingDisk } from './disk.ts';
import { batch, entry, snapshot } from './scripts.ts';

const directory = '/log';
const path = (number: number) => `${directory}/${String(number).padStart(16, '0')}.wal`;

async function reopened(files: ReadonlyMap<string, Uint8Array>): Promise<{ opened: OpenedLog; disk: RecordingDisk }> {
  const disk = new RecordingDisk(files);
  const log = createWalLogStore({ directory, fileSystem: disk, segmentBytes: 4096, growBytes: 1024 });
  const opened = await log.open();
  await log.close();
  return { opened, disk };
}

describe('the next segment', () => {
  test('is filled with zeros and synced before the full one is full; starting it takes six calls', async () => {
    const disk = new RecordingDisk();
    const log = createWalLogStore({ directory, fileSystem: disk, segmentBytes: 4096, growBytes: 1024 });
    await log.open();
    let index = 0;
    const append = () => log.append(batch([entry((index += 1), 1, 'x'.repeat(400))]));
    while (!disk.calls.some((call) => call.kind === 'create' && call.path === `${path(2)}.tmp`)) await append();
    expect(disk.calls.some((call) => call.kind === 'rename' && call.to === path(2))).toBe(false);
    const spare = disk.calls.findLast((call) => call.kind === 'write');
    expect(spare).toMatchObject({ position: 0, bytes: new Uint8Array(4096) });
    let before = disk.calls.length;
    while (!disk.calls.slice(before).some((call) => call.kind === 'rename')) {
      before = disk.calls.length;
      await append();
    }
    const kinds = disk.calls.slice(before, before + 6).map((call) => call.kind);
    // The head, in place, the mark in the full one, the record.
    expect(kinds).toEqual(['write', 'sync', 'rename', 'sync-directory', 'write', 'write']);
    const lengths = disk.calls.slice(before, before + 6).map((call) => (call.kind === 'write' ? call.bytes.length : 0));
    expect(Math.max(...lengths)).toBeLessThan(700);
    await log.close();
    expect((await disk.list(directory)).every((name) => name.endsWith('.wal'))).toBe(true);
  });

  test('that could not be prepared is made when it is due', async () => {
    const disk = new RecordingDisk();
    const open = disk.open.bind(disk);
    let broken = 0;
    disk.open = (name, mode) => {
      if (mode !== 'create' || !name.startsWith(path(2)) || broken > 0) return open(name, mode);
      broken += 1;
      return Promise.reject(new DiskError('ENOSPC'));
    };
    const log = createWalLogStore({ directory, fileSystem: disk, segmentBytes: 4096, growBytes: 1024 });
    await log.open();
    for (let i = 1; i <= 30; i++) await log.append(batch([entry(i, 1, 'x'.repeat(200))]));
    expect(broken).toBe(1);
    await log.close();
    const { opened } = await reopened(await disk.files(directory));
    expect(opened.entries.length).toBe(30);
  });
});

test('each segment begins with the state: those before it are not needed to know term and vote', async () => {
  const disk = new RecordingDisk();
  const log = createWalLogStore({ directory, fileSystem: disk, segmentBytes: 1024, growBytes: 512 });
  await log.open();
  await log.append(batch([entry(1)], { hardState: { term: 7, vote: 3, commit: 0 } }));
  for (let i = 2; i <= 20; i++) await log.append(batch([entry(i, 1, 'x'.repeat(200))]));
  await log.append(batch([], { snapshot: snapshot(20) }));
  await log.compact(20);
  await log.close();
  expect((await disk.list(directory)).length).toBe(1);
  const { opened } = await reopened(await disk.files(directory));
  expect(opened.hardState).toEqual({ term: 7, vote: 3, commit: 0 });
});

test('a snapshot is known after the segment that it was recorded in is gone', async () => {
  let removed = 0;
  for (let pad = 0; pad < 800; pad += 40) {
    const disk = new RecordingDisk();
    const log = createWalLogStore({ directory, fileSystem: disk, segmentBytes: 1024, growBytes: 512 });
    await log.open();
    await log.append(batch([entry(1, 1, 'x'.repeat(pad))]));
    await log.append(batch([], { snapshot: snapshot(1) }));
    const holder = (await disk.list(directory)).findLast((name) => name.endsWith('.wal')) ?? '';
    await log.append(batch([entry(2, 1, 'y'.repeat(800))]));
    await log.compact(1);
    await log.close();
    if (!(await disk.list(directory)).includes(holder)) removed += 1;
    const { opened } = await reopened(await disk.files(directory));
    expect(opened.snapshot).toEqual(snapshot(1));
    expect(opened.entries.map((one) => one.index)).toEqual([2]);
  }
  expect(removed).toBeGreaterThan(5);
});

test('a record that verifies but does not follow the one before it is not taken', async () => {
  const header = encodeSegmentHeader({ number: 1, firstSequence: 1, previousCrc: 0 });
  const body = encodeRecordBody([{ entries: [entry(1)] }]);
  const size = align(recordHeaderSize + body.length);
  for (const wrong of [{ previousCrc: 1 }, { sequence: 3 }, { sequence: 1 }]) {
    const bytes = new Uint8Array(segmentHeaderSize + size * 2);
    bytes.set(header.bytes);
    const first = { sequence: 1, previousCrc: 0, segmentCrc: header.crc, position: segmentHeaderSize, body };
    const previousCrc = putRecord(bytes, segmentHeaderSize, first);
    const at = segmentHeaderSize + size;
    putRecord(bytes, at, { ...first, sequence: 2, previousCrc, position: at, ...wrong });
    await expect(reopened(new Map([[path(1), bytes]]))).rejects.toBeInstanceOf(LogCorrupt);
  }
});

test('a segment size that no reader would accept is refused', () => {
  expect(() => createWalLogStore({ directory, segmentBytes: maxSegmentSize })).toThrow('too large');
});

describe('a record', () => {
  test.each([
    ['zeros', new Uint8Array(3000)],
    ['text, then zeros', Uint8Array.from({ length: 3000 }, (_, at) => (at < 1000 ? 65 : 0))],
    ['one bit at the end', Uint8Array.from({ length: 700 }, (_, at) => (at === 699 ? 4 : 65))],
    ['a single zero', new Uint8Array(1)],
  ])('has no sector that looks unwritten, nor such an end: %s', (_name, body) => {
    for (let position = 40; position < 1100; position += 8) {
      const into = new Uint8Array(24 + body.length);
      putRecord(into, 0, { sequence: 9, previousCrc: 77, body, segmentCrc: 5, position });
      for (let at = 0; at < into.length; ) {
        const end = Math.min(into.length, at + sectorSize - ((position + at) % sectorSize));
        expect(bits(into.subarray(at, end))).toBeGreaterThan(1);
        at = end;
      }
      expect(bits(into.subarray(-1))).toBeGreaterThan(1);
    }
  });
});

function bits(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) for (let bit = 0; bit < 8; bit++) count += (byte >> bit) & 1;
  return count;
}

describe('a log of version 1', () => {
  /** As the version before wrote it: no checksum of the head, no masks. */
  function segment(bodies: readonly Uint8Array[]): Uint8Array {
    const bytes = new Uint8Array(2048);
    const view = new DataView(bytes.buffer);
    bytes.set(new TextEncoder().encode('raftwal1'));
    view.setUint32(8, 1, true);
    view.setUint32(16, 1, true);
    const segmentCrc = crc32c(bytes.subarray(0, 36));
    view.setUint32(36, segmentCrc, true);
    let at = 40;
    let previous = 0;
    for (const [count, body] of bodies.entries()) {
      view.setUint32(at, body.length, true);
      view.setUint32(at + 8, count + 1, true);
      view.setUint32(at + 16, previous, true);
      bytes.set(body, at + 24);
      const head = crc32c(bytes.subarray(at, at + 4), segmentCrc);
      previous = crc32c(bytes.subarray(at + 8, at + 24 + body.length), head);
      view.setUint32(at + 4, previous, true);
      at = Math.ceil((at + 24 + body.length) / 8) * 8;
    }
    return bytes;
  }

  const hardState = { term: 1, vote: 1, commit: 1 };
  const old = () => segment([1, 2, 3].map((i) => encodeRecordBody([{ entries: [entry(i)], hardState }])));

  test('is read, left as it is, and gone on with in a segment of its own', async () => {
    const before = old();
    const { opened, disk } = await reopened(new Map([[path(1), before]]));
    expect(opened.entries.map((one) => one.index)).toEqual([1, 2, 3]);
    const files = await disk.files(directory);
    expect(files.get(path(1))).toEqual(before);
    expect([...files.keys()]).toEqual([path(1), path(2)]);
    expect((await reopened(files)).opened).toEqual(opened);
    expect(await inspectLog({ directory, fileSystem: disk })).toMatchObject({ firstIndex: 1, lastIndex: 3, hardState });
  });

  test('is refused when it is damaged before its last record', async () => {
    const bytes = old();
    bytes[60] = (bytes[60] ?? 0) ^ 1;
    await expect(reopened(new Map([[path(1), bytes]]))).rejects.toBeInstanceOf(LogCorrupt);
  });
});
