/** What a phase cost the manager's process. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { realClock } from '../../src/lib/real.ts';
import type { ScaleCluster } from './cluster.ts';

export interface Cost {
  readonly phase: string;
  readonly seconds: number;
  /** Of the manager's process. */
  readonly cpuSeconds: number;
  readonly proposals: number;
  readonly delayP99Ms: number;
  readonly delayLongestMs: number;
  readonly heapMb: number;
  readonly rssMb: number;
  readonly logMb: number;
}

/** Delays are measured by a timer of this period; what is shown is beyond it. */
const resolutionMs = 5;

export class Meter {
  readonly #cluster: ScaleCluster;
  readonly costs: Cost[] = [];

  constructor(cluster: ScaleCluster) {
    this.#cluster = cluster;
  }

  async phase(name: string, work: () => Promise<void>): Promise<Cost> {
    const delays = monitorEventLoopDelay({ resolution: resolutionMs });
    delays.enable();
    const before = { at: realClock.monotonic(), version: this.#cluster.store.view.version, cpu: process.cpuUsage() };
    await work();
    const seconds = (realClock.monotonic() - before.at) / 1000;
    delays.disable();
    const memory = process.memoryUsage();
    const cpu = process.cpuUsage(before.cpu);
    const cost: Cost = {
      phase: name,
      seconds,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      proposals: this.#cluster.store.view.version - before.version,
      delayP99Ms: Math.max(0, delays.percentile(99) / 1e6 - resolutionMs),
      delayLongestMs: Math.max(0, delays.max / 1e6 - resolutionMs),
      heapMb: memory.heapUsed / 2 ** 20,
      rssMb: memory.rss / 2 ** 20,
      logMb: (await sizeOf(join(this.#cluster.directory, 'log'))) / 2 ** 20,
    };
    this.costs.push(cost);
    return cost;
  }
}

async function sizeOf(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = await Promise.all(names.map((name) => stat(join(directory, name)).then(({ size }) => size)));
  return sizes.reduce((sum, size) => sum + size, 0);
}
