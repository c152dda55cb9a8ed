import { describe, expect, test } from 'vitest';
import { memoryDuplex } from '../lib/testing/memory-duplex.ts';
import { VirtualClock } from '../lib/testing/virtual-clock.ts';
import type { LogLine } from '../model/assignment.ts';
import type { LogsAsk, LogsMessage } from '../rpc/port.ts';
import { readLogs, serveLogs } from './log-stream.ts';

const query = { stdout: true, stderr: true, follow: false, tail: -1, since: 0, until: 0 };
const request = { selector: { serviceId: 'web' }, query };

function world(source: (pulled: () => void) => AsyncIterable<LogLine>) {
  const clock = new VirtualClock();
  const { left, right } = memoryDuplex<LogsAsk, LogsMessage>(clock);
  const state = { pulled: 0, left: false };
  serveLogs(right, clock, async function* (_, signal) {
    signal.addEventListener('abort', () => {
      state.left = true;
    });
    yield* source(() => {
      state.pulled += 1;
    });
  });
  const stop = new AbortController();
  const lines = readLogs(left, request, stop.signal)[Symbol.asyncIterator]();
  return { clock, state, stop, next: () => clock.settle(lines.next()) };
}

const line = (text: string): LogLine => ({ taskId: 't', stream: 'stdout', time: '2026-01-01T00:00:00Z', text });

async function* numbered(count: number, pulled: () => void) {
  for (let at = 0; at < count; at++) {
    pulled();
    yield line(`${at}\n`);
  }
}

describe('log lines between managers', () => {
  test('a reader that does not read holds the source back, and loses nothing', async () => {
    const { clock, state, next } = world((pulled) => numbered(100_000, pulled));
    expect((await next()).value?.text).toBe('0\n');
    await clock.advance(60_000);
    expect(state.pulled).toBeLessThanOrEqual(10_000);
    let count = 1;
    for (let step = await next(); step.done !== true; step = await next()) {
      if (step.value.text !== `${count}\n`) throw new Error(`line ${count} is ${step.value.text}`);
      count += 1;
    }
    expect(count).toBe(100_000);
  });

  test('long lines travel in messages of bounded size', async () => {
    const long = line('x'.repeat(16_000));
    const { clock, state, next } = world(async function* (pulled) {
      for (let at = 0; at < 1_000; at++) {
        pulled();
        yield long;
      }
    });
    await next();
    await clock.advance(1_000);
    expect(state.pulled * 16_000).toBeLessThan(4 * 1024 * 1024);
  });

  test('a line comes at once when nothing is in its way, and an error comes after the lines', async () => {
    const { clock, next } = world(async function* () {
      yield line('one\n');
      await new Promise<void>((resolve) => clock.timer(5_000, resolve));
      throw new Error('no more');
    });
    expect((await next()).value?.text).toBe('one\n');
    expect(clock.monotonic()).toBeLessThan(100);
    await expect(next()).rejects.toThrow('no more');
  });

  test('a reader that leaves ends the source', async () => {
    const { clock, state, stop, next } = world((pulled) => numbered(100_000, pulled));
    await next();
    stop.abort();
    await next();
    await clock.advance(100);
    expect(state.left).toBe(true);
  });
});
