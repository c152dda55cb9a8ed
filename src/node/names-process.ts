/**
 * `tscluster names`: the process that answers the names of this node's containers. It loads next to nothing of the program, holds no
 * secrets, and goes on with what it was told last while the daemon is away. The daemon starts and ends it (`worker/network/dns`).
 */
import { closeSync, fstatSync, ftruncateSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Log } from '../lib/log.ts';
import { seededRandom } from '../lib/random.ts';
import { realClock, realRandom, terminalLog } from '../lib/real.ts';
import { NamesServer } from '../worker/network/dns/names-server.ts';
import { programVersion } from '../worker/network/dns/version.ts';

const logBytesMax = 1024 * 1024;
const linesBetweenLooks = 100;

export async function runNames(args: readonly string[]): Promise<void> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...args],
    options: { socket: text, 'pid-file': text, 'resolv-conf': { ...text, default: '/etc/resolv.conf' } },
  });
  const { socket: socketPath, 'pid-file': pidPath, 'resolv-conf': resolvConf } = values;
  if (socketPath === undefined || pidPath === undefined) throw new Error('--socket and --pid-file are required');
  const log = boundedLog(terminalLog(new Set((process.env['TSCLUSTER_TRACE'] ?? '').split(',')), 'names'));
  const end = async () => {
    await server.close();
    process.exit(0);
  };
  const server = new NamesServer({
    socketPath,
    pidPath,
    pid: process.pid,
    version: programVersion(),
    resolvConf,
    clock: realClock,
    log,
    random: realRandom,
    shuffle: seededRandom(realRandom.uint32()),
    onEnd: () => void end(),
  });
  process.on('SIGTERM', () => void end());
  process.on('SIGINT', () => void end());
  process.on('uncaughtException', (error) => {
    log.error('this is a bug; the daemon starts the process again', { error, stack: error.stack });
    process.exit(1);
  });
  await server.start();
  sayReady();
  log.info('taking orders', { socket: socketPath, pid: process.pid });
}

function sayReady(): void {
  const fd = Number(process.env['TSCLUSTER_READY_FD'] ?? 0);
  if (fd <= 2) return;
  writeSync(fd, '\n');
  closeSync(fd);
}

/** Its standard error is a file that nobody rotates: it begins again when it is full. */
function boundedLog(log: Log): Log {
  let lines = 0;
  const look = () => {
    if (++lines % linesBetweenLooks !== 1) return;
    const stderr = fstatSync(2);
    if (stderr.isFile() && stderr.size > logBytesMax) ftruncateSync(2, 0);
  };
  const looking =
    (write: Log['info']): Log['info'] =>
    (message, fields) => {
      look();
      write(message, fields);
    };
  return {
    debug: looking(log.debug),
    info: looking(log.info),
    warn: looking(log.warn),
    error: looking(log.error),
    part: (name) => boundedLog(log.part(name)),
  };
}
