/** Starting the names process, and ending one that does not answer on its socket any more. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Clock, deadline } from '../../../lib/clock.ts';
import { ClusterError } from '../../../lib/errors.ts';

const startLimitMs = 10_000;
/** The process says here that it takes orders: no need to look for its socket again and again. */
const readyFd = 3;

export interface NamesPaths {
  readonly dir: string;
  readonly socket: string;
  readonly pid: string;
  readonly log: string;
}

export function namesPaths(stateDir: string): NamesPaths {
  const socket = join(stateDir, 'names.sock');
  // The kernel's limit for the path of a socket.
  if (Buffer.byteLength(socket) > 107) {
    throw new ClusterError('invalid', `the data directory's path is too long for a socket: ${socket}`);
  }
  return { dir: stateDir, socket, pid: join(stateDir, 'names.pid'), log: join(stateDir, 'names.log') };
}

const isSource = import.meta.url.endsWith('.ts');
const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** `tscluster names`, from the sources or as built. The small young generation keeps its memory the same under load. */
export function defaultCommand(): readonly string[] {
  const main = fileURLToPath(new URL(`../../../cli/main.${isSource ? 'ts' : 'js'}`, import.meta.url));
  const flags = ['--max-semi-space-size=1', '--max-old-space-size=256'];
  return [process.execPath, ...flags, ...(isSource ? ['-C', 'source', '--import', 'tsx'] : []), main, 'names'];
}

/**
 * In a session and a process group of its own: it does not go with the daemon. Resolves when it takes orders. Not even a part of
 * the environment but the path and what to trace: it outlives the daemon that had it.
 */
export async function startProcess(command: readonly string[], paths: NamesPaths, clock: Clock): Promise<void> {
  mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
  const [program = '', ...args] = command;
  const { PATH, TSCLUSTER_TRACE } = process.env;
  const log = openSync(paths.log, 'a', 0o600);
  const child = spawn(program, [...args, '--socket', paths.socket, '--pid-file', paths.pid], {
    cwd: root,
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
    env: { PATH, TSCLUSTER_TRACE, TSCLUSTER_READY_FD: String(readyFd) },
  });
  closeSync(log);
  const ready = child.stdio[readyFd];
  const started = new Promise<void>((resolve, reject) => {
    const fail = (why: string) =>
      reject(new ClusterError('unavailable', `the names process does not start: ${why}; its log: ${paths.log}`));
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code, signal) => fail(`it ended with ${signal ?? `exit code ${code}`}`));
    ready?.once('error', (error) => fail(error.message));
    ready?.once('data', () => resolve());
  });
  try {
    await deadline(clock, startLimitMs, started, () => {
      child.kill('SIGKILL');
      return new ClusterError('unavailable', `the names process does not start within ${startLimitMs / 1000} s`);
    });
  } finally {
    child.removeAllListeners();
    // A failure to kill it comes here once it runs.
    child.on('error', () => {});
    child.unref();
    ready?.destroy();
  }
}

/** Kills the process that the pid file names, if that still is a names process of this socket. */
export function killStale(paths: NamesPaths): boolean {
  try {
    const pid = Number(readFileSync(paths.pid, 'utf8'));
    if (!Number.isSafeInteger(pid) || pid <= 1) return false;
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    if (!words.includes(paths.socket)) return false;
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    // No file, no such process, or it ended while we looked.
    return false;
  }
}
