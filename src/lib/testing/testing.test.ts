import { describe, expect, test } from 'vitest';
import { sleep } from '../clock.ts';
import { memoryDuplex } from './memory-duplex.ts';
import { VirtualClock } from './virtual-clock.ts';

describe('virtual clock', () => {
  test('timers run at their time, in order of due time, then of setting; cancelled ones do not', async () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    const note = (name: string) => () => seen.push(`${name}@${clock.monotonic()}`);
    clock.timer(30, note('c'));
    clock.timer(10, note('a'));
    clock.timer(10, note('b'));
    clock.timer(20, note('never'))();
    clock.timer(50, note('late'));
    await clock.advance(40);
    expect(seen).toEqual(['a@10', 'b@10', 'c@30']);
    expect(clock.monotonic()).toBe(40);
    expect(clock.nextDue()).toBe(50);
  });

  test('deferred calls come before timers, and microtasks after every single call', async () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    clock.timer(0, () => seen.push('timer'));
    for (const name of ['x', 'y']) {
      clock.defer(() => {
        seen.push(name);
        void Promise.resolve()
          .then(() => {})
          .then(() => seen.push(`${name} then`));
      });
    }
    await clock.runUntilIdle();
    expect(seen).toEqual(['x', 'x then', 'y', 'y then', 'timer']);
  });

  test('many timers run sorted, also when set and cancelled meanwhile', async () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    for (let index = 0; index < 500; index++) {
      const due = (index * 7919) % 503;
      const cancel = clock.timer(due, () => seen.push(clock.monotonic()));
      if (index % 5 === 0) cancel();
    }
    await clock.advance(600);
    expect(seen).toHaveLength(400);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test('settle drives the clock until the work is done; until gives up at its limit', async () => {
    const clock = new VirtualClock();
    expect(await clock.settle(sleep(clock, 1_000).then(() => 'done'))).toBe('done');
    expect(clock.monotonic()).toBe(1_000);
    await expect(clock.until(() => false, 10)).rejects.toThrow('does not hold');
  });

  test('a step of the wall clock moves no timer', async () => {
    const clock = new VirtualClock({ start: 1_000 });
    let fired = false;
    clock.timer(100, () => {
      fired = true;
    });
    clock.stepWall(3_600_000);
    await clock.advance(99);
    expect(fired).toBe(false);
    expect(clock.now()).toBe(1_000 + 3_600_000 + 99);
  });
});

describe('stream in memory', () => {
  function observed(options = {}) {
    const clock = new VirtualClock();
    const pair = memoryDuplex<string, string>(clock, options);
    const got: string[] = [];
    pair.right.onMessage((message) => got.push(message));
    pair.right.onClose((error) => got.push(`closed ${error?.message ?? 'cleanly'}`));
    return { clock, pair, got };
  }

  test('delivers in order, and the close after what was sent before it', async () => {
    const delays = [50, 1, 10];
    const { clock, pair, got } = observed({ delayMs: () => delays.shift() ?? 0 });
    for (const text of ['a', 'b', 'c']) pair.left.send(text);
    pair.left.close(new Error('enough'));
    expect(pair.left.send('late')).toBe(false);
    await clock.advance(49);
    expect(got).toEqual([]);
    await clock.advance(1);
    expect(got).toEqual(['a', 'b', 'c', 'closed enough']);
  });

  test('a stalled connection passes nothing, and everything in order once it is plugged in', async () => {
    const { clock, pair, got } = observed();
    pair.left.send('a');
    await clock.runUntilIdle();
    pair.stall(true);
    pair.left.send('b');
    pair.left.close();
    await clock.advance(10_000);
    expect(got).toEqual(['a']);
    pair.stall(false);
    await clock.runUntilIdle();
    expect(got).toEqual(['a', 'b', 'closed cleanly']);
  });

  test('cut tells both ends; messages that wait for a handler are kept; too many close the stream', async () => {
    const { clock, pair, got } = observed({ limit: 3 });
    const left: string[] = [];
    pair.left.onClose((error) => left.push(error?.message ?? 'cleanly'));
    pair.right.send('early');
    await clock.runUntilIdle();
    pair.left.onMessage((message) => left.push(message));
    await clock.runUntilIdle();
    expect(left).toEqual(['early']);
    pair.cut(new Error('broken'));
    await clock.runUntilIdle();
    expect([left.at(-1), got.at(-1)]).toEqual(['broken', 'closed broken']);
    const full = observed({ limit: 3 });
    expect([1, 2, 3, 4].map((index) => full.pair.left.send(`${index}`))).toEqual([true, true, true, false]);
    await full.clock.runUntilIdle();
    expect(full.got.at(-1)).toContain('too many');
  });
});
