/** The only place that touches the real clock, the system's randomness and the terminal. */
import { randomBytes } from 'node:crypto';
import type { Clock } from './clock.ts';
import type { Log, LogFields } from './log.ts';
import type { Random } from './random.ts';

const timerLimitMs = 2 ** 31 - 1;

export const realClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(delayMs, run) {
    const handle = setTimeout(run, Math.min(Math.max(delayMs, 0), timerLimitMs));
    return () => clearTimeout(handle);
  },
  defer: (run) => void setImmediate(run),
};

export const realRandom: Random = {
  uint32: () => randomBytes(4).readUInt32LE(0),
  bytes: (length) => randomBytes(length),
};

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Writes one logfmt-like line per event to standard error. `traced` names the parts whose debug lines are shown. */
export function terminalLog(traced: ReadonlySet<string>, part = 'daemon'): Log {
  const write = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (level === 'debug' && !traced.has(part) && !traced.has('all')) return;
    process.stderr.write(`${new Date().toISOString()} ${level.padEnd(5)} ${part}: ${message}${formatFields(fields)}\n`);
  };
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    part: (name) => terminalLog(traced, name),
  };
}

function formatFields(fields: LogFields | undefined): string {
  if (fields === undefined) return '';
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${formatValue(value)}`)
    .join('');
}

function formatValue(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined');
  return /[\s"=]/.test(text) && typeof value === 'string' ? JSON.stringify(text) : text;
}
