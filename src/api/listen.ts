import { chmod, lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { ClusterError } from '../lib/errors.ts';

/** Listens on a unix socket that root and its group may use. A socket that a dead daemon left behind is replaced. */
export async function listen(app: FastifyInstance, socketPath: string): Promise<void> {
  await removeStale(socketPath);
  await app.listen({ path: socketPath });
  await chmod(socketPath, 0o660);
}

async function removeStale(path: string): Promise<void> {
  await assertUnused(path);
  await rm(path, { force: true });
}

/** Errors: `failed_precondition` when somebody answers at `path`, or when it is something else than a socket. */
export async function assertUnused(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new ClusterError('failed_precondition', `Cannot listen: ${path} exists and is not a socket`);
  if (await answers(path))
    throw new ClusterError('failed_precondition', `Cannot listen: another daemon answers on ${path}`);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
