/** Starts the daemon in the background for `init` and `join`. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, watch } from 'node:fs';
import { dirname, join } from 'node:path';
import { ClusterError } from '../../lib/errors.ts';
import { realClock } from '../../lib/real.ts';
import type { DaemonStart, DaemonStarted } from '../context.ts';

const startLimitMs = 60_000;
const logTailBytes = 2_000;

export async function startDaemon(request: DaemonStart): Promise<DaemonStarted> {
  if (process.getuid?.() !== 0) {
    throw new ClusterError(
      'permission_denied',
      'no daemon answers, and starting one needs root: run this command as root (sudo)',
    );
  }
  mkdirSync(request.dataDir, { recursive: true, mode: 0o711 });
  mkdirSync(dirname(request.socket), { recursive: true });
  const logFile = join(request.dataDir, 'daemon.log');
  const log = openSync(logFile, 'a', 0o600);
  const main = process.argv[1] ?? '';
  const child = spawn(process.execPath, [...process.execArgv, main, 'daemon', ...request.args], {
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  try {
    await untilAnswers(request, child, logFile);
  } finally {
    child.unref();
  }
  return { pid: child.pid ?? 0, logFile };
}

function untilAnswers(request: DaemonStart, child: ReturnType<typeof spawn>, logFile: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let settled = false;
    const finish = (error?: Error) => {
      if (settled) return;
      settled = true;
      watcher.close();
      cancel();
      child.removeAllListeners();
      if (error === undefined) resolve();
      else reject(error);
    };
    const look = () => {
      if (settled) return;
      request.client.ping().then(
        () => finish(),
        // Not listening yet: the next change of the directory, or the short timer below, looks again.
        () => settled || realClock.timer(50, look),
      );
    };
    const watcher = watch(dirname(request.socket), (_event, name) => {
      if (name === null || request.socket.endsWith(`/${name}`)) look();
    });
    const cancel = realClock.timer(startLimitMs, () => {
      child.kill();
      finish(
        new ClusterError('deadline', `the daemon did not answer within ${startLimitMs / 1000} s; its log: ${logFile}`),
      );
    });
    child.once('error', (error) => finish(new ClusterError('internal', `cannot start the daemon: ${error.message}`)));
    child.once('exit', (code) => finish(new ClusterError('internal', stoppedText(code, logFile))));
  });
}

function stoppedText(code: number | null, logFile: string): string {
  const tail = readFileSync(logFile, 'utf8').slice(-logTailBytes).trim().split('\n').slice(-5).join('\n  ');
  return `the daemon stopped right after its start (exit code ${code ?? 'by signal'}); the end of ${logFile}:\n  ${tail}`;
}
