import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { addDaemonFlags, daemonFlagValues } from '../daemon/flags.ts';
import { CliError } from '../failure.ts';
import { ensureDaemon } from './ensure-daemon.ts';
import { adoptSocket } from './host-of.ts';
import { checkAvailability } from './init.ts';

interface Options {
  readonly advertiseAddr?: string;
  readonly availability?: string;
  readonly dataPathAddr?: string;
  readonly listenAddr?: string;
  readonly token?: string;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] HOST:PORT')
    .argument('<address>')
    .option('--availability <availability>', 'Availability of the node ("active", "pause", "drain")')
    .option('--data-path-addr <addr>', 'Address or interface to use for data path traffic')
    .option('--token <token>', 'Token for entry into the cluster');
  addDaemonFlags(command, []);
  command.action(async (address: string, options: Options) => {
    adoptSocket(command);
    checkAvailability(options.availability);
    const token = checkToken(options.token);
    await ensureDaemon(ctx, daemonFlagValues({ ...options }));
    await join(ctx, withPort(address), { ...options, token });
  });
}

/** Caught before a daemon is started for nothing. */
function checkToken(token: string | undefined): string {
  if (token === undefined || token === '') {
    throw new CliError('Error: --token is missing. Show it on a manager with: tscluster join-token worker');
  }
  if (!/^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/.test(token)) {
    throw new CliError('Error: invalid join token: it must look like SWMTKN-1-…-…; was it cut when it was copied?');
  }
  return token;
}

function withPort(address: string): string {
  return /:\d+$/.test(address) ? address : `${address}:2377`;
}

async function join(ctx: Context, address: string, options: Options & { readonly token: string }): Promise<void> {
  const client = await ctx.client();
  await client.joinSwarm({
    ListenAddr: options.listenAddr ?? '',
    AdvertiseAddr: options.advertiseAddr ?? '',
    DataPathAddr: options.dataPathAddr ?? '',
    RemoteAddrs: [address],
    JoinToken: options.token,
    Availability: options.availability ?? 'active',
  });
  const { Swarm } = await client.info();
  ctx.stdout.write(`This node joined the cluster as a ${Swarm.ControlAvailable ? 'manager' : 'worker'}.\n`);
}
