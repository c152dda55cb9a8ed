/** Power failures, failing calls and rotten bits at every place, tried one by one. */
import { afterAll, describe, expect, test } from 'vitest';
import type { LogBatch, OpenedLog } from '../../src/index.ts';
import { createWalLogStore, MemoryFileSystem } from '../../src/wal/index.ts';
import { type CrashState, crashStates, DiskError, RecordingDisk } from './disk.ts';
import { batch, entry, Model, randomScript, type Script, scripts } from './scripts.ts';

const directory = '/log';
const tried = { states: 0, distinct: 0, duringRecovery: 0, failures: 0, flips: 0 };
afterAll(() => {
  process.stdout.write(
    `crash states of the log: ${String(tried.states)} tried, ${String(tried.distinct)} distinct; ` +
      `${String(tried.duringRecovery)} during recovery; ${String(tried.failures)} failing calls; ` +
      `${String(tried.flips)} flipped bits\n`,
  );
});

const optionsOf = (fileSystem: MemoryFileSystem | RecordingDisk) => ({
  directory,
  fileSystem,
  segmentBytes: 2048,
  growBytes: 1024,
});

interface Progress {
  /** When each step was begun and when it was known to be durable, counted in calls of the disk. */
  readonly begun: number[];
  readonly durable: number[];
}

/** Runs the script; after a failure, what is left of it is not begun. */
async function run(disk: RecordingDisk, script: Script): Promise<{ progress: Progress; error: unknown }> {
  const progress: Progress = { begun: [], durable: [] };
  const log = createWalLogStore(optionsOf(disk));
  let error: unknown;
  try {
    await log.open();
    let at = 0;
    for (const group of script) {
      const done = group.map((step) => {
        const own = at++;
        progress.begun[own] = disk.calls.length;
        const work = 'compact' in step ? log.compact(step.compact) : log.append(step.batch);
        return work.then(() => {
          if ('compact' in step || isDurable(step.batch)) progress.durable[own] = disk.calls.length;
        });
      });
      const failed = (await Promise.allSettled(done)).find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    }
  } catch (reason) {
    error = reason;
  }
  if (error === undefined) await log.close();
  else await log.close().catch(() => {});
  return { progress, error };
}

/** One that holds nothing but a commit index is answered before it is written. */
function isDurable({ sync, entries, snapshot }: LogBatch): boolean {
  return sync || entries.length > 0 || snapshot !== undefined;
}

/** The state after each number of steps. */
function modelsOf(script: Script): Model[] {
  const steps = script.flat();
  return Array.from({ length: steps.length + 1 }, (_, count) => {
    const model = new Model();
    for (const step of steps.slice(0, count)) model.apply(step);
    return model;
  });
}

interface Bounds {
  /** How many steps are acknowledged, and how many begun. */
  readonly least: number;
  readonly most: number;
  /** Entries up to here may be gone. */
  readonly compacted: number;
}

/** Every acknowledged step is there; what was begun may be; nothing else, and nothing out of order. */
function verdict(opened: OpenedLog, models: readonly Model[], bounds: Bounds): string | undefined {
  const reasons = [];
  for (let count = bounds.least; count <= bounds.most; count++) {
    const reason = models[count]?.differs(opened, bounds.compacted);
    if (reason === undefined) return undefined;
    reasons.push(`${String(count)}: ${reason}`);
  }
  return reasons.join('; ');
}

function boundsAt(script: Script, progress: Progress, calls: number): Bounds {
  const begun = script.flat().filter((_, at) => (progress.begun[at] ?? Number.POSITIVE_INFINITY) <= calls);
  const least = script.flat().findLastIndex((step, at) => {
    return 'batch' in step && (progress.durable[at] ?? Number.POSITIVE_INFINITY) <= calls;
  });
  const compacted = Math.max(0, ...begun.map((step) => ('compact' in step ? step.compact : 0)));
  return { least: least + 1, most: begun.length, compacted };
}

async function reopened(state: ReadonlyMap<string, Uint8Array>): Promise<{ opened: OpenedLog; disk: RecordingDisk }> {
  const disk = new RecordingDisk(state);
  const log = createWalLogStore(optionsOf(disk));
  const opened = await log.open();
  await log.close();
  return { opened, disk };
}

const plain = (opened: OpenedLog) => JSON.stringify(opened);

/** Opens what the crash left, twice; and, for some, crashes at every call of that recovery as well. */
async function checkState(
  state: CrashState,
  allowed: (opened: OpenedLog) => string | undefined,
  deep: boolean,
): Promise<void> {
  const { opened, disk } = await reopened(state.files);
  const wrong = allowed(opened);
  if (wrong !== undefined) expect.fail(`after call ${String(state.calls)}: ${wrong}`);
  const again = await reopened(await disk.files(directory));
  expect(plain(again.opened)).toBe(plain(opened));
  if (!deep) return;
  for (const inner of crashStates(disk, () => (tried.duringRecovery += 1))) {
    const { opened: recovered } = await reopened(inner.files);
    if (plain(recovered) !== plain(opened)) expect.fail(`recovery, call ${String(inner.calls)}`);
  }
}

/** Every crash state of the script; every `deepEvery`-th is also crashed while it recovers. */
async function crashEverywhere(script: Script, deepEvery: number): Promise<void> {
  const models = modelsOf(script);
  const disk = new RecordingDisk();
  const { progress, error } = await run(disk, script);
  expect(error).toBeUndefined();
  const { opened: final } = await reopened(await disk.files(directory));
  expect(models.at(-1)?.differs(final, boundsAt(script, progress, disk.calls.length).compacted)).toBeUndefined();
  for (const state of crashStates(disk, () => (tried.states += 1))) {
    tried.distinct += 1;
    const bounds = boundsAt(script, progress, state.calls);
    await checkState(state, (opened) => verdict(opened, models, bounds), tried.distinct % deepEvery === 0);
  }
}

test.each([1, 2, 3])('a crash at every call of drawn script %i loses nothing acknowledged', async (seed) => {
  await crashEverywhere(randomScript(seed, 14), 30);
});

describe.each(Object.entries(scripts))('%s', (_name, script) => {
  const models = modelsOf(script);

  test('a crash at every call, with every subset of unsynced changes lost, loses nothing acknowledged', async () => {
    await crashEverywhere(script, 4);
  });

  test.each([
    ['EIO', (length: number) => length],
    ['EIO', () => 0],
    ['ENOSPC', () => 1],
    ['ENOSPC', (length: number) => length >> 1],
    ['ENOSPC', (length: number) => length - 1],
  ])('%s at each call in turn stops the log, and what was acknowledged survives', async (code, done) => {
    const whole = new RecordingDisk();
    await run(whole, script);
    expect(whole.calls.length).toBeGreaterThan(10);
    for (let at = 0; at < whole.calls.length; at++) {
      const disk = new RecordingDisk();
      disk.fault = { at, code, done };
      const { progress, error } = await run(disk, script);
      if (error !== undefined) expect(error).toBeInstanceOf(DiskError);
      tried.failures += 1;
      const bounds = boundsAt(script, progress, Number.MAX_SAFE_INTEGER);
      const allowed = (opened: OpenedLog) => verdict(opened, models, bounds);
      const { opened } = await reopened(await disk.files(directory));
      if (allowed(opened) !== undefined) expect.fail(`call ${String(at)}: ${String(allowed(opened))}`);
    }
  });
});

test('what is written after recovery from a torn write survives the next crash as well', async () => {
  const torn = new RecordingDisk();
  await run(torn, [[{ batch: batch([entry(1)]) }], [{ batch: batch([entry(2, 1, 'x'.repeat(1400))]) }]]);
  const model = (last: number) => JSON.stringify([1, 2, 3, 4].slice(0, last));
  for (const { files } of crashStates(torn)) {
    const disk = new RecordingDisk(files);
    const log = createWalLogStore(optionsOf(disk));
    let last = (await log.open()).entries.length;
    const acknowledged = [{ calls: disk.calls.length, last }];
    while (last < 4) {
      await log.append(batch([entry(last + 1, 1, 'y'.repeat(600))]));
      last += 1;
      acknowledged.push({ calls: disk.calls.length, last });
    }
    await log.close();
    for (const state of crashStates(disk, () => (tried.states += 1))) {
      const { opened } = await reopened(state.files);
      const indexes = JSON.stringify(opened.entries.map((one) => one.index));
      const least = acknowledged.findLast(({ calls }) => calls <= state.calls)?.last ?? 0;
      const allowed = [0, 1, 2, 3, 4].filter((count) => count >= least && count <= least + 1).map(model);
      if (least === 0) allowed.push(model(2));
      if (!allowed.includes(indexes)) expect.fail(`call ${String(state.calls)}: ${indexes}, not ${allowed.join(' ')}`);
    }
  }
});

test('thousands of states were tried', () => {
  expect(tried.states).toBeGreaterThan(2500);
  expect(tried.duringRecovery).toBeGreaterThan(1000);
});

test('a failed write, then a crash: any part of it may be on disk', async () => {
  const script = scripts['segments, snapshots of our own and compaction'] ?? [];
  const models = modelsOf(script);
  for (let at = 8; at < 40; at += 3) {
    const disk = new RecordingDisk();
    disk.fault = { at, code: 'EIO', done: (length) => length };
    const { progress } = await run(disk, script);
    for (const state of crashStates(disk)) {
      if (state.calls < at) continue;
      tried.states += 1;
      const bounds = boundsAt(script, progress, state.calls);
      await checkState(state, (opened) => verdict(opened, models, bounds), false);
    }
  }
});

test('after a failed call the log touches the disk no more, but to let go of it', async () => {
  for (const code of ['EIO', 'ENOSPC']) {
    const disk = new RecordingDisk();
    const log = createWalLogStore(optionsOf(disk));
    await log.open();
    await log.append(batch([entry(1)]));
    disk.fault = { at: disk.calls.length, code, done: () => 7 };
    await expect(log.append(batch([entry(2)]))).rejects.toThrow(code);
    const calls = disk.calls.length;
    await expect(log.append(batch([entry(3)]))).rejects.toThrow(code);
    await expect(log.compact(0)).rejects.toThrow(code);
    await log.close();
    expect(disk.calls.length).toBe(calls);
  }
});

describe('flipped bits', () => {
  async function segmented(): Promise<{ files: Map<string, Uint8Array>; intact: string }> {
    const disk = new RecordingDisk();
    await run(disk, scripts['segments, snapshots of our own and compaction'] ?? []);
    const files = await disk.files(directory);
    return { files, intact: plain((await reopened(files)).opened) };
  }

  async function openFlipped(files: Map<string, Uint8Array>, path: string, bit: number): Promise<string> {
    tried.flips += 1;
    const bytes = new Uint8Array(files.get(path) ?? []);
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    try {
      return plain((await reopened(new Map(files).set(path, bytes))).opened);
    } catch (error) {
      return error instanceof Error ? error.name : 'unknown';
    }
  }

  test('anywhere in the log are recognised, or change nothing', async () => {
    const { files, intact } = await segmented();
    expect(files.size).toBeGreaterThan(2);
    let refused = 0;
    for (const [path, bytes] of files) {
      // One bit of each byte, another in the next.
      for (let at = 0; at < bytes.length; at++) {
        if (bytes[at] === 0 && at % 5 !== 0) continue;
        const result = await openFlipped(files, path, at * 8 + ((at * 5) % 8));
        if (result === 'LogCorrupt') refused += 1;
        else if (result !== intact) expect.fail(`byte ${String(at)} of ${path}: ${result.slice(0, 200)}`);
      }
    }
    expect(refused).toBeGreaterThan(2000);
  });

  test.each([
    ['text', 'last'],
    ['zeros', '\0'.repeat(700)],
    ['a body that ends in zeros', `x${'\0'.repeat(40)}`],
  ])('of the last batch, every one, are recognised: %s', async (_kind, data) => {
    const disk = new RecordingDisk();
    const log = createWalLogStore(optionsOf(disk));
    await log.open();
    await log.append(batch([entry(1)]));
    const before = (await disk.files(directory)).get(`${directory}/0000000000000001.wal`) ?? new Uint8Array(0);
    const start = before.findLastIndex((byte) => byte !== 0) & ~7;
    await log.append(batch([entry(2, 1, data)]));
    await log.close();
    const files = await disk.files(directory);
    const [path = '', bytes = new Uint8Array(0)] = [...files][0] ?? [];
    const intact = plain((await reopened(files)).opened);
    const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
    expect(end).toBeGreaterThan(start + 24);
    for (let bit = start * 8; bit < end * 8; bit++) {
      const result = await openFlipped(files, path, bit);
      if (result !== 'LogCorrupt') expect(result, `bit ${String(bit)}`).toBe(intact);
    }
  });

  test('and whole sectors zeroed before the last record are recognised', async () => {
    // Heads among them, so that nothing says how long the lost record was.
    const disk = new RecordingDisk();
    const log = createWalLogStore({ ...optionsOf(disk), segmentBytes: 65_536 });
    await log.open();
    for (let i = 1; i <= 30; i++) await log.append(batch([entry(i, 1, 'x'.repeat(456))]));
    await log.close();
    const written = await disk.files(directory);
    const [path = '', bytes = new Uint8Array(0)] = [...written][0] ?? [];
    for (let at = 512; at < 512 * 25; at += 512) {
      const damaged = new Map([[path, new Uint8Array(bytes).fill(0, at, at + 512)]]);
      await expect(reopened(damaged), String(at)).rejects.toMatchObject({ name: 'LogCorrupt' });
    }
  });

  test('a missing segment is noticed, be it the first, one between or the newest', async () => {
    const { files } = await segmented();
    for (const path of files.keys()) {
      const left = new Map(files);
      left.delete(path);
      await expect(reopened(left), path).rejects.toMatchObject({ name: 'LogCorrupt' });
    }
  });

  test('the refusal says where, and what to do', async () => {
    const { files } = await segmented();
    const [path = '', bytes = new Uint8Array(0)] = [...files][0] ?? [];
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await expect(reopened(files)).rejects.toThrow(
      new RegExp(`${path} is damaged at byte \\d+.*Nothing was changed.*under a new id`),
    );
  });
});
