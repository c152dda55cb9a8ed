import type { Command } from 'commander';
import type { ApiVersion } from '../../client/index.ts';
import { apiVersion } from '../../client/transport.ts';
import type { Context } from '../context.ts';
import { inspectFormatHelp } from '../options.ts';
import { compileTemplate } from '../output/template.ts';
import { clientVersion } from './client-version.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('-f, --format <template>', inspectFormatHelp)
    .action((options: { format?: string }) => showVersion(ctx, options.format));
}

/** The client's part is shown even when no daemon answers; that is still a failure. */
async function showVersion(ctx: Context, format: string | undefined): Promise<void> {
  const client = {
    Version: clientVersion(),
    ApiVersion: apiVersion,
    NodeVersion: process.version,
    Os: process.platform,
    Arch: process.arch,
  };
  let server: ApiVersion | undefined;
  let failure: unknown;
  try {
    server = await (await ctx.client()).version();
  } catch (error) {
    failure = error;
  }
  const data = { Client: client, Server: server };
  if (format === undefined || format === '') {
    ctx.stdout.write(clientText(client) + (server === undefined ? '' : serverText(server)));
  } else if (format === 'json') {
    ctx.stdout.write(`${JSON.stringify(data)}\n`);
  } else {
    ctx.stdout.write(`${compileTemplate(format).render(data)}\n`);
  }
  if (failure !== undefined) throw failure;
}

function row(label: string, value: unknown): string {
  return ` ${`${label}:`.padEnd(18)}${String(value ?? '')}\n`;
}

function clientText(client: {
  Version: string;
  ApiVersion: string;
  NodeVersion: string;
  Os: string;
  Arch: string;
}): string {
  return [
    'Client: tscluster\n',
    row('Version', client.Version),
    row('API version', client.ApiVersion),
    row('Node version', client.NodeVersion),
    row('OS/Arch', `${client.Os}/${client.Arch}`),
  ].join('');
}

function serverText(server: ApiVersion): string {
  return [
    '\nServer:\n',
    row('Version', server.Version),
    row('API version', `${server.ApiVersion ?? ''} (minimum version ${server.MinAPIVersion ?? ''})`),
    row('OS/Arch', `${server.Os ?? ''}/${server.Arch ?? ''}`),
  ].join('');
}
