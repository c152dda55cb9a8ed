import type { Command } from 'commander';
import type { Client } from '../../client/index.ts';
import { isKind } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';

interface Options {
  readonly quiet?: boolean;
  readonly rotate?: boolean;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] (worker|manager)')
    .argument('<role>')
    .option('-q, --quiet', 'Only display token')
    .option('--rotate', 'Rotate join token')
    .action((role: string, options: Options) => showToken(ctx, role, options));
}

async function showToken(ctx: Context, role: string, options: Options): Promise<void> {
  if (role !== 'worker' && role !== 'manager') throw new CliError(`Error: unknown role ${role}: use worker or manager`);
  const client = await ctx.client();
  if (options.rotate === true) {
    await rotate(client, role);
    if (options.quiet !== true) ctx.stdout.write(`Successfully rotated ${role} join token.\n\n`);
  }
  const { JoinTokens } = await client.swarm();
  const token = (role === 'worker' ? JoinTokens?.Worker : JoinTokens?.Manager) ?? '';
  if (options.quiet === true) {
    ctx.stdout.write(`${token}\n`);
    return;
  }
  const node = await client.node((await client.info()).Swarm.NodeID);
  const addr = node.ManagerStatus?.Addr ?? '';
  ctx.stdout.write(
    `To add a ${role} to this cluster, run the following command:\n\n    tscluster join --token ${token} ${addr}\n\n`,
  );
}

const attemptsMax = 5;

async function rotate(client: Client, role: 'worker' | 'manager'): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const swarm = await client.swarm();
    try {
      await client.updateSwarm(swarm.Spec, {
        version: swarm.Version.Index,
        rotateWorkerToken: role === 'worker',
        rotateManagerToken: role === 'manager',
      });
      return;
    } catch (error) {
      if (!isKind(error, 'conflict') || attempt >= attemptsMax) throw error;
    }
  }
}
