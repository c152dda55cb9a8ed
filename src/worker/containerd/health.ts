/** Health checks by Docker's rules. The probe is a port: this decides when to ask and what the answers mean. */
import { type Clock, sleep } from '../../lib/clock.ts';
import { nanosToMs } from '../../model/defaults.ts';
import type { Healthcheck } from '../../model/spec.ts';
import type { ImageConfig } from './registry/manifest.ts';

export interface HealthPlan {
  readonly args: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  readonly retries: number;
}

const defaults = { intervalMs: 30_000, timeoutMs: 30_000, startPeriodMs: 0, startIntervalMs: 5_000, retries: 3 };
const firstProbeMs = 200;

/** What to ask how often; undefined = the container has no health check. The task's fields win over the image's. */
export function healthPlan(own: Healthcheck | undefined, image: ImageConfig): HealthPlan | undefined {
  const base = fromImage(image.healthcheck);
  const test = own?.Test !== undefined && own.Test.length > 0 ? own.Test : (base.Test ?? []);
  const args = argumentsOf(test, image.shell);
  if (args === undefined) return undefined;
  const duration = (key: 'Interval' | 'Timeout' | 'StartPeriod' | 'StartInterval', fallbackMs: number) => {
    const nanos = own?.[key] || base[key] || 0;
    return nanos > 0 ? nanosToMs(nanos) : fallbackMs;
  };
  return {
    args,
    intervalMs: duration('Interval', defaults.intervalMs),
    timeoutMs: duration('Timeout', defaults.timeoutMs),
    startPeriodMs: duration('StartPeriod', defaults.startPeriodMs),
    startIntervalMs: duration('StartInterval', defaults.startIntervalMs),
    retries: own?.Retries || base.Retries || defaults.retries,
  };
}

function argumentsOf(test: readonly string[], shell: readonly string[]): readonly string[] | undefined {
  const [kind, ...rest] = test;
  if (kind === undefined || kind === 'NONE' || rest.length === 0) return undefined;
  if (kind === 'CMD') return rest;
  if (kind === 'CMD-SHELL') return [...(shell.length > 0 ? shell : ['/bin/sh', '-c']), rest.join(' ')];
  return undefined;
}

function fromImage(fields: Readonly<Record<string, unknown>> | undefined): Healthcheck {
  const number = (key: string) => (typeof fields?.[key] === 'number' ? fields[key] : 0);
  const test = fields?.['Test'];
  return {
    Test: Array.isArray(test) ? test.filter((part): part is string => typeof part === 'string') : [],
    Interval: number('Interval'),
    Timeout: number('Timeout'),
    StartPeriod: number('StartPeriod'),
    StartInterval: number('StartInterval'),
    Retries: number('Retries'),
  };
}

export type Health = 'healthy' | 'unhealthy';

export interface HealthOptions {
  readonly clock: Clock;
  readonly plan: HealthPlan;
  /** Runs the check once: its exit code; rejects when it could not run or took longer than `timeoutMs`. */
  probe(timeoutMs: number, signal: AbortSignal): Promise<number>;
  /** Called at every change, first from unknown. */
  report(health: Health): void;
}

/**
 * Probes until `signal` aborts or the container is unhealthy. Before the first regular probe is due, and in the start
 * period, failures do not count; the extra early probes let a container that is ready at once be healthy at once.
 */
export async function watchHealth(options: HealthOptions, signal: AbortSignal): Promise<void> {
  const { clock, plan } = options;
  const startedMs = clock.monotonic();
  const graceMs = Math.max(plan.startPeriodMs, plan.intervalMs * 0.99);
  let health: Health | undefined;
  let failures = 0;
  let earlyMs = firstProbeMs;
  while (!signal.aborted) {
    const starting = health === undefined && clock.monotonic() - startedMs < graceMs;
    const regularMs = starting && plan.startPeriodMs > 0 ? plan.startIntervalMs : plan.intervalMs;
    await sleep(clock, starting ? Math.min(earlyMs, regularMs) : plan.intervalMs, signal);
    earlyMs *= 2;
    const counts = health !== undefined || clock.monotonic() - startedMs >= graceMs;
    const code = await options.probe(plan.timeoutMs, signal).catch(() => -1);
    if (signal.aborted) return;
    if (code === 0) {
      failures = 0;
      if (health !== 'healthy') options.report('healthy');
      health = 'healthy';
    } else if (counts) {
      failures += 1;
      if (failures >= plan.retries) return options.report('unhealthy');
    }
  }
}
