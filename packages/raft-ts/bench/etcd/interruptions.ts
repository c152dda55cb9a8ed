/** How long the cluster is without a leader when it is killed, and a node without its state when it starts again. */
import { load } from './load.ts';
import { poll, sleep } from './processes.ts';
import { encodePut, putPath } from './protocol.ts';
import type { Row } from './report.ts';
import type { Subject } from './subject.ts';
import { leaderOf } from './throughput.ts';

const key = 'bench';
const value = Buffer.alloc(1024, 'v');

export interface InterruptionOptions {
  readonly rounds: number;
  readonly folder: string;
  readonly progress: (line: string) => void;
}

/** From `kill -9` of the leader to the next acknowledged write, tried on both survivors all the time. */
export async function failover(subjects: readonly Subject[], options: InterruptionOptions): Promise<readonly Row[]> {
  const values: Partial<Record<Subject['name'], number[]>> = {};
  for (let round = 1; round <= options.rounds; round++) {
    for (const subject of subjects) {
      const tookMs = await killLeader(subject);
      (values[subject.name] ??= []).push(tookMs);
      options.progress(`round ${String(round)}: ${subject.title}: next write after ${tookMs.toFixed(0)} ms`);
    }
  }
  return [{ case: 'kill -9 of the leader → next acknowledged write', unit: 'ms', better: 'less', values }];
}

async function killLeader(subject: Subject): Promise<number> {
  const leader = await leaderOf(subject);
  // All three must be in good health, or the next election measures something else.
  for (let i = 0; i < 20; i++) await subject.nodes[leader]?.put(key, value);
  await sleep(1000);
  const at = performance.now();
  await subject.killNode(leader);
  const survivors = subject.nodes.filter((_, other) => other !== leader);
  let done = false;
  await Promise.any(
    survivors.map(async (node) => {
      while (!done) {
        // etcd holds a write that finds no leader for 7 s and then refuses it; a short limit shows when it can do again.
        const written = await node.put(key, value, 250).then(
          () => true,
          () => false,
        );
        if (written) done = true;
        else await sleep(5);
      }
    }),
  );
  const tookMs = performance.now() - at;
  subject.startNode(leader);
  const target = (await subject.nodes[await leaderOf(subject)]?.get(key))?.version ?? 0;
  await holds(subject, leader, target);
  return tookMs;
}

const entries = 100_000;

/** From the start of the process of a node whose log holds 100,000 entries to all of them being in its state. */
export async function recovery(subjects: readonly Subject[], options: InterruptionOptions): Promise<readonly Row[]> {
  const values: Partial<Record<Subject['name'], number[]>> = {};
  for (const subject of subjects) {
    const node = subject.nodes[await leaderOf(subject)];
    const url = `${node?.url ?? ''}${putPath}`;
    const message = encodePut({ key, value });
    await load(options.folder, { url, message, inFlight: 64, requests: entries });
  }
  for (let round = 1; round <= options.rounds; round++) {
    for (const subject of subjects) {
      const follower = ((await leaderOf(subject)) + 1) % subject.nodes.length;
      await holds(subject, follower, entries);
      await subject.killNode(follower);
      const at = performance.now();
      subject.startNode(follower);
      await holds(subject, follower, entries);
      const tookMs = performance.now() - at;
      (values[subject.name] ??= []).push(tookMs);
      options.progress(`round ${String(round)}: ${subject.title}: replayed after ${tookMs.toFixed(0)} ms`);
    }
  }
  return [{ case: 'restart with 100,000 entries of 1 KiB → replayed', unit: 'ms', better: 'less', values }];
}

async function holds(subject: Subject, at: number, version: number): Promise<void> {
  const node = subject.nodes[at];
  const complete = async () => (((await node?.get(key))?.version ?? 0) >= version ? true : undefined);
  await poll(complete, { limitMs: 60_000, everyMs: 5, what: `${subject.title}, node ${String(at + 1)} catches up` });
}
