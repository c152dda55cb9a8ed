/** Load from h2load, which costs little itself: one canned request over and over, so many of them in flight. */
import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { frame } from './protocol.ts';

export interface Load {
  readonly url: string;
  readonly message: Uint8Array;
  readonly inFlight: number;
  readonly requests: number;
}

export interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Throws unless every request was answered. A gRPC error is an answer too: effects are verified elsewhere. */
export async function load(folder: string, { url, message, inFlight, requests }: Load): Promise<Measured> {
  const body = join(folder, 'body');
  const log = join(folder, 'requests');
  writeFileSync(body, frame(message));
  rmSync(log, { force: true });
  const connections = 2 ** Math.floor(Math.log2(inFlight) / 2);
  if (inFlight % connections !== 0) throw new Error(`Cannot spread ${String(inFlight)} requests over connections`);
  const numbers = ['-t', 1, '-c', connections, '-m', inFlight / connections, '-n', requests].map(String);
  const headers = ['-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  const { stdout } = await promisify(execFile)('h2load', [...numbers, '-d', body, ...headers, '--log-file', log, url]);
  const [, perSecond] = /^finished in [^,]+, ([\d.]+) req\/s/m.exec(stdout) ?? [];
  const [, succeeded] = /, (\d+) succeeded, 0 failed, 0 errored, 0 timeout/.exec(stdout) ?? [];
  if (perSecond === undefined || Number(succeeded) !== requests) throw new Error(`Load was not served:\n${stdout}`);
  const times = requestTimes(readFileSync(log, 'utf8'));
  return { perSecond: Number(perSecond), p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
}

/** Lines of "start, status, microseconds". */
function requestTimes(log: string): Float64Array {
  const lines = log.split('\n').filter((line) => line !== '');
  return Float64Array.from(lines, (line) => Number(line.slice(line.lastIndexOf('\t') + 1)) / 1000).sort();
}

function quantile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
