import { ConnectionError } from '../../client/errors.ts';
import { ClusterError } from '../../lib/errors.ts';
import { type DaemonFlagValues, daemonFlags, parseDaemonOptions } from '../../node/daemon-options.ts';
import type { Context } from '../context.ts';
import { daemonArgs } from '../daemon/flags.ts';

/**
 * Makes sure that a daemon answers, starting one if none does. Daemon settings given while one runs already are refused:
 * they would be ignored. The addresses are exempt: they are part of the request, too.
 */
export async function ensureDaemon(ctx: Context, given: DaemonFlagValues): Promise<void> {
  const client = await ctx.client();
  try {
    await client.ping();
  } catch (error) {
    if (!(error instanceof ConnectionError) || error.sent || client.address.kind !== 'unix') throw error;
    await start(ctx, given, client.address.path);
    return;
  }
  const ignored = Object.keys(given).filter(
    (key) => key !== 'listenAddr' && key !== 'advertiseAddr',
  ) as (keyof DaemonFlagValues)[];
  const first = ignored[0];
  if (first !== undefined) {
    throw new ClusterError(
      'failed_precondition',
      `a daemon is running already: ${daemonFlags[first].flag} would have no effect. Stop it first, or leave the flag out`,
    );
  }
}

async function start(ctx: Context, given: DaemonFlagValues, socket: string): Promise<void> {
  const values: DaemonFlagValues = { ...given, socket };
  const { dataDir } = parseDaemonOptions(values, ctx.env);
  ctx.stderr.write(`No tscluster daemon answers at unix://${socket}: starting one.\n`);
  const { pid, logFile } = await ctx.startDaemon({
    args: daemonArgs(values),
    socket,
    dataDir,
    client: await ctx.client(),
  });
  ctx.stderr.write(`Daemon started (pid ${pid}, data in ${dataDir}, log ${logFile}).\n`);
}
