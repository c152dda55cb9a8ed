/**
 * Child processes, ports and the data folder of one run. Whatever happens, at the end nothing is left: every child leads
 * a process group of its own, and all groups and the folder go when this process does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const memoryFileSystems = new Map([
  [0x0102_1994, 'tmpfs'],
  [0x8584_58f6, 'ramfs'],
]);

export class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<void>;
  #output = '';

  constructor(command: string, args: readonly string[]) {
    this.#process = spawn(command, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const keep = (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString()).slice(-4000);
    };
    this.#process.stdout?.on('data', keep);
    this.#process.stderr?.on('data', keep);
    this.#ended = new Promise((resolve) => {
      this.#process.once('exit', () => resolve());
      this.#process.once('error', (error) => {
        this.#output += error.message;
        resolve();
      });
    });
  }

  /** The last of what it printed. */
  get output(): string {
    return this.#output;
  }

  get running(): boolean {
    return this.#process.pid !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  signal(name: 'SIGTERM' | 'SIGKILL'): void {
    const { pid } = this.#process;
    if (pid === undefined || !this.running) return;
    try {
      process.kill(-pid, name);
    } catch (error) {
      // It ended by itself just now.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }

  async stop(name: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.signal(name);
    const timer = setTimeout(() => this.signal('SIGKILL'), 5000);
    await this.#ended;
    clearTimeout(timer);
  }
}

export class Workplace {
  readonly directory: string;
  readonly #children = new Set<Child>();

  constructor(parent: string | undefined) {
    const place = parent ?? tmpdir();
    mkdirSync(place, { recursive: true });
    const memory = memoryFileSystems.get(statfsSync(place).type);
    if (memory !== undefined) throw new Error(`Cannot measure on ${place}: it is ${memory}; name another with --dir`);
    this.directory = mkdtempSync(join(place, 'raft-bench-'));
    process.once('exit', () => this.#clear());
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => process.exit(130));
  }

  start(command: string, args: readonly string[]): Child {
    const child = new Child(command, args);
    this.#children.add(child);
    return child;
  }

  /** The last words of those that are gone, one way or another. */
  ended(): readonly string[] {
    return [...this.#children].flatMap((child) => (child.running || child.output === '' ? [] : [child.output]));
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.stop('SIGTERM')));
    this.#clear();
  }

  #clear(): void {
    for (const child of this.#children) child.signal('SIGKILL');
    // A process that was killed just now may still be adding files.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** Throws if anything listens there. */
export async function checkPorts(ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    await new Promise<void>((resolve, reject) => {
      const server = createServer();
      server.once('error', () =>
        reject(new Error(`Cannot use port ${String(port)}: it is taken; name others with --port`)),
      );
      server.listen(port, '127.0.0.1', () => server.close(() => resolve()));
    });
  }
}

export function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

/** Asks again and again until there is an answer. */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  options: { readonly limitMs: number; readonly everyMs?: number; readonly what: string },
): Promise<T> {
  const end = performance.now() + options.limitMs;
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error(`Waited ${String(options.limitMs)} ms in vain: ${options.what}`);
    await sleep(options.everyMs ?? 20);
  }
}
