/** What a command may touch. Tests pass their own; `main.ts` passes the process. */
import type { Client } from '../client/index.ts';
import type { Cancel, Clock } from '../lib/clock.ts';

export interface Output {
  write(text: string | Uint8Array): unknown;
  readonly isTTY?: boolean | undefined;
}

export interface World {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  /** Everything on standard input. */
  readStdin(): Promise<Buffer>;
  createClient(host: string): Promise<Client>;
  /** Calls `handle` on Ctrl-C instead of ending the process. */
  onInterrupt(handle: () => void): Cancel;
  /** Starts `tscluster daemon` in the background and resolves once its socket answers. */
  startDaemon(request: DaemonStart): Promise<DaemonStarted>;
}

export interface DaemonStart {
  readonly args: readonly string[];
  readonly socket: string;
  readonly dataDir: string;
  readonly client: Client;
}

export interface DaemonStarted {
  readonly pid: number;
  readonly logFile: string;
}

export interface Context extends World {
  /** The daemon's address as chosen by flag or environment. */
  host(): string;
  client(): Promise<Client>;
  /** The command succeeded in part: what went wrong is on stderr already. */
  fail(code: number): void;
}
