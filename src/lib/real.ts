/** The only place that touches the real clock, the system's randomness and the terminal. */
import { randomBytes, randomFillSync } from 'node:crypto';
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
  defer(run) {
    deferred.push(run);
    setImmediate(runNext);
  },
};

/** For so long deferred calls go on in one round of the event loop; the rest waits until sockets and timers had their turn. */
const roundMs = 10;
/** One immediate is set for each. */
const deferred: (() => void)[] = [];
let roundEnds: number | undefined;
let isRenewing = false;

function runNext(): void {
  const now = performance.now();
  roundEnds ??= now + roundMs;
  if (now > roundEnds) {
    if (!isRenewing) setImmediate(renewRound);
    isRenewing = true;
    setImmediate(runNext);
    return;
  }
  const run = deferred.shift();
  if (deferred.length === 0) roundEnds = undefined;
  run?.();
}

function renewRound(): void {
  isRenewing = false;
  roundEnds = performance.now() + roundMs;
}

/** Small draws come out of one buffer: a buffer each, outside the heap, makes the garbage collector work ahead of its time. */
const pool = new Uint8Array(4096);
const pooledMax = 64;
let poolAt = pool.length;

function draw(length: number): Uint8Array {
  if (length > pooledMax) return randomBytes(length);
  if (poolAt + length > pool.length) {
    randomFillSync(pool);
    poolAt = 0;
  }
  const drawn = pool.slice(poolAt, poolAt + length);
  pool.fill(0, poolAt, poolAt + length); // it may become a key
  poolAt += length;
  return drawn;
}

export const realRandom: Random = {
  uint32: () => new DataView(draw(4).buffer).getUint32(0, true),
  bytes: draw,
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
