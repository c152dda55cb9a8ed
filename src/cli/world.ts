/** The process as the CLI sees it. */
import { realClock } from '../lib/real.ts';
import type { World } from './context.ts';

export function realWorld(): World {
  process.stdout.on('error', ignoreClosedPipe);
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    clock: realClock,
    async readStdin() {
      const chunks: Buffer[] = [];
      for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    },
    async createClient(host) {
      const { createClient } = await import('../client/index.ts');
      return createClient({ host });
    },
    onInterrupt(handle) {
      process.on('SIGINT', handle);
      return () => process.off('SIGINT', handle);
    },
    async startDaemon(request) {
      const { startDaemon } = await import('./daemon/start.ts');
      return startDaemon(request);
    },
  };
}

/** `tscluster service ls | head -1`: the reader has seen enough. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
}
