/** What a phase cost the manager's process. */
import { closeSync, openSync, readSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Cancel } from '../../src/lib/clock.ts';
import { realClock } from '../../src/lib/real.ts';
import type { MemoryStore } from '../../src/manager/store/store.ts';

export interface Cost {
  readonly phase: string;
  readonly seconds: number;
  /** Of the manager's process. */
  readonly cpuSeconds: number;
  readonly proposals: number;
  readonly delayP99Ms: number;
  readonly delayLongestMs: number;
  /** The longest without the time in which the process was ready and the host gave its core to another one. */
  readonly delayOwnMs: number;
  readonly heapMb: number;
  readonly rssMb: number;
  readonly logMb: number;
}

/** Delays are measured by a timer of this period; what is shown is beyond it. */
const resolutionMs = 5;

/** Whose cost it is. */
export interface Measured {
  readonly store: MemoryStore;
  readonly directory: string;
}

export class Meter {
  readonly #measured: Measured;
  readonly costs: Cost[] = [];

  constructor(measured: Measured) {
    this.#measured = measured;
  }

  async phase(name: string, work: () => Promise<void>): Promise<Cost> {
    const end = this.begin(name);
    await work();
    const cost = await end();
    this.costs.push(cost);
    return cost;
  }

  begin(phase: string): () => Promise<Cost> {
    const { store, directory } = this.#measured;
    const delays = monitorEventLoopDelay({ resolution: resolutionMs });
    delays.enable();
    const own = new OwnDelay();
    const before = { at: realClock.monotonic(), version: store.view.version, cpu: process.cpuUsage() };
    return async () => {
      const seconds = (realClock.monotonic() - before.at) / 1000;
      delays.disable();
      own.stop();
      const memory = process.memoryUsage();
      const cpu = process.cpuUsage(before.cpu);
      return {
        phase,
        seconds,
        cpuSeconds: (cpu.user + cpu.system) / 1e6,
        proposals: store.view.version - before.version,
        delayP99Ms: Math.max(0, delays.percentile(99) / 1e6 - resolutionMs),
        delayLongestMs: Math.max(0, delays.max / 1e6 - resolutionMs),
        delayOwnMs: own.longestMs,
        heapMb: memory.heapUsed / 2 ** 20,
        rssMb: memory.rss / 2 ** 20,
        logMb: (await sizeOf(join(directory, 'log'))) / 2 ** 20,
      };
    };
  }
}

/** Delays of this thread, less the time it waited for a core: Linux keeps account of that. */
class OwnDelay {
  longestMs = 0;
  readonly #file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  readonly #buffer = Buffer.alloc(128);
  #at = realClock.monotonic();
  #waitedMs = this.#waited();
  #cancel: Cancel = () => {};

  constructor() {
    this.#watch();
  }

  stop(): void {
    this.#cancel();
    closeSync(this.#file);
  }

  #watch(): void {
    this.#cancel = realClock.timer(resolutionMs, () => {
      const [at, waitedMs] = [realClock.monotonic(), this.#waited()];
      this.longestMs = Math.max(this.longestMs, at - this.#at - (waitedMs - this.#waitedMs) - resolutionMs);
      [this.#at, this.#waitedMs] = [at, waitedMs];
      this.#watch();
    });
  }

  /** Its second number: nanoseconds in the queue for a core. */
  #waited(): number {
    const length = readSync(this.#file, this.#buffer, 0, this.#buffer.length, 0);
    return Number(this.#buffer.toString('latin1', 0, length).split(' ')[1]) / 1e6;
  }
}

async function sizeOf(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = await Promise.all(names.map((name) => stat(join(directory, name)).then(({ size }) => size)));
  return sizes.reduce((sum, size) => sum + size, 0);
}
