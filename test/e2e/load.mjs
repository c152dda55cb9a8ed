/**
 * Asks the same things over and over from the network namespace that this process is in: the first line of standard input says what,
 * every other one names the phase that begins, its end asks for the report (the first answer is told by a line `+` before it): how many questions each phase had, and which
 * went wrong or took long. Plain JavaScript: see probe.mjs.
 */
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { askDns, askHttp } from './ask.mjs';

/** So that the load does not keep the machine from what is tested under it. */
const pauseMs = 4;
/** Longer than a lost SYN and what finds out that a host is dead, so that a delay is seen as one. */
const limitMs = 15_000;
const slowMs = 900;
const oddMax = 200;

let phase = '';
let ended = false;
let begun = false;
const counts = {};
const odd = [];

/** What is wrong about the answer; undefined: nothing. */
async function ask(lane) {
  if (lane.kind === 'dns') {
    const answer = await askDns({ name: lane.name, type: 'A', limitMs: 2_000 });
    return String(answer) === String(lane.expected) ? undefined : `${lane.name}: ${JSON.stringify(answer)}`;
  }
  let { host } = lane;
  if (lane.name !== undefined) {
    const found = await askDns({ name: lane.name, type: 'A', limitMs: 2_000 });
    if (!Array.isArray(found) || found[0] === undefined) return `${lane.name}: ${JSON.stringify(found)}`;
    host = found[0];
  }
  const answer = await askHttp({ host, port: lane.port, limitMs });
  return /^[0-9a-z]{12} /.test(answer) ? undefined : `${host}:${lane.port}: ${answer}`;
}

async function run(lane) {
  while (!ended) {
    const [during, at] = [phase, Date.now()];
    counts[during] = (counts[during] ?? 0) + 1;
    const error = await ask(lane);
    const ms = Date.now() - at;
    if (!begun) process.stdout.write('+\n');
    begun = true;
    if ((error !== undefined || ms > slowMs) && odd.length < oddMax) odd.push({ phase: during, at, ms, error });
    await pause(pauseMs);
  }
}

const running = [];
for await (const line of createInterface({ input: process.stdin })) {
  if (running.length > 0) phase = line;
  else running.push(...JSON.parse(line).map(run));
}
ended = true;
await Promise.all(running);
process.stdout.write(JSON.stringify({ counts, odd }));
