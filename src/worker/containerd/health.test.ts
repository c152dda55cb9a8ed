import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../lib/testing/virtual-clock.ts';
import { type HealthPlan, healthPlan, watchHealth } from './health.ts';
import type { ImageConfig } from './registry/manifest.ts';

const image = { shell: [], healthcheck: undefined } as unknown as ImageConfig;
const second = 1e9;

describe('the plan of a health check', () => {
  test('CMD runs as it is, CMD-SHELL in the shell, NONE and nothing not at all', () => {
    expect(healthPlan({ Test: ['CMD', 'a', 'b'] }, image)?.args).toEqual(['a', 'b']);
    expect(healthPlan({ Test: ['CMD-SHELL', 'a | b'] }, image)?.args).toEqual(['/bin/sh', '-c', 'a | b']);
    expect(healthPlan({ Test: ['CMD-SHELL', 'x'] }, { ...image, shell: ['/bin/bash', '-ec'] })?.args).toEqual([
      '/bin/bash',
      '-ec',
      'x',
    ]);
    expect(healthPlan({ Test: ['NONE'] }, image)).toBeUndefined();
    expect(healthPlan(undefined, image)).toBeUndefined();
  });

  test('the task wins over the image field by field, zero means the default', () => {
    const own = { ...image, healthcheck: { Test: ['CMD', 'img'], Interval: 7 * second, Retries: 9 } };
    expect(healthPlan({ Timeout: 2 * second, Interval: 0 }, own)).toEqual({
      args: ['img'],
      intervalMs: 7_000,
      timeoutMs: 2_000,
      startPeriodMs: 0,
      startIntervalMs: 5_000,
      retries: 9,
    });
    expect(healthPlan({ Test: ['NONE'] }, own)).toBeUndefined();
  });
});

describe('watching health', () => {
  const plan: HealthPlan = {
    args: [],
    intervalMs: 10_000,
    timeoutMs: 1_000,
    startPeriodMs: 0,
    startIntervalMs: 5_000,
    retries: 3,
  };

  /** Probes give `codeAt(time)`; the story is what was reported when. */
  async function story(
    codeAt: (ms: number) => number,
    changes: Partial<HealthPlan> = {},
    untilMs = 100_000,
  ): Promise<string[]> {
    const clock = new VirtualClock();
    const stop = new AbortController();
    const told: string[] = [];
    const done = watchHealth(
      {
        clock,
        plan: { ...plan, ...changes },
        probe: async () => codeAt(clock.monotonic()),
        report: (health) => told.push(`${health} at ${clock.monotonic()}`),
      },
      stop.signal,
    ).catch(() => {});
    await clock.advance(untilMs);
    stop.abort();
    await done;
    return told;
  }

  test('a container that is ready at once is healthy at once', async () => {
    expect(await story(() => 0)).toEqual(['healthy at 200']);
  });

  test('early failures do not count: unhealthy only after the regular retries', async () => {
    const [only, ...others] = await story(() => 1);
    expect(others).toEqual([]);
    expect(only).toMatch(/^unhealthy at (3|4)\d{4}$/);
  });

  test('failures in the start period do not count', async () => {
    expect(await story((ms) => (ms < 55_000 ? 1 : 0), { startPeriodMs: 60_000 })).toEqual([
      expect.stringMatching(/^healthy at 5\d{4}$/),
    ]);
  });

  test('a success in between forgives earlier failures', async () => {
    let probes = 0;
    expect(await story(() => (++probes % 3 === 0 ? 0 : 1), { retries: 3 })).toHaveLength(1);
  });

  test('one that was healthy and fails is unhealthy after its retries', async () => {
    expect(await story((ms) => (ms < 25_000 ? 0 : 1))).toEqual(['healthy at 200', 'unhealthy at 50200']);
  });
});
