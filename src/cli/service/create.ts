import type { Command } from 'commander';
import type { ServiceSpec } from '../../model/spec.ts';
import { parsePublish } from '../../stack/ports.ts';
import type { Context } from '../context.ts';
import { collect, collectAs, collectLabel } from '../options.ts';
import { type CreateFlags, createSpec } from './create-spec.ts';
import { readEnvFiles } from './env-file.ts';
import { addCommonFlags } from './flags.ts';
import { showForecast } from './forecast.ts';
import { pinImage } from './image.ts';
import { parseMount } from './parse-mount.ts';
import {
  parseDnsServer,
  parseFileReference,
  parseGenericResource,
  parseHost,
  parseNetwork,
  parsePreference,
  parseUlimit,
} from './parse-values.ts';
import { waitForService } from './progress.ts';
import { resolveConfigs, resolveNetworks, resolveSecrets } from './references.ts';
import { registryAuth } from './registry-auth.ts';

export function define(command: Command, ctx: Context): void {
  addCommonFlags(command);
  command
    .usage('[OPTIONS] IMAGE [COMMAND] [ARG...]')
    .argument('<image>')
    .argument('[command...]')
    .option('--config <config>', 'Specify configurations to expose to the service', collectAs(parseFileReference))
    .option('--constraint <constraint>', 'Placement constraints', collect)
    .option('--container-label <label>', 'Container labels', collectLabel)
    .option('--dns <address>', 'Set custom DNS servers', collectAs(parseDnsServer))
    .option('--dns-option <option>', 'Set DNS options', collect)
    .option('--dns-search <domain>', 'Set custom DNS search domains', collect)
    .option('-e, --env <variable>', 'Set environment variables', collect)
    .option('--env-file <file>', 'Read in a file of environment variables', collect)
    .option('--generic-resource <resource>', 'User defined resources', collectAs(parseGenericResource))
    .option('--group <group>', 'Set one or more supplementary user groups for the container', collect)
    .option('--host <host>', 'Set one or more custom host-to-IP mappings (host:ip)', collectAs(parseHost))
    .option('-l, --label <label>', 'Service labels', collectLabel)
    .option('--mode <mode>', 'Service mode ("replicated", "global", "replicated-job", "global-job")')
    .option('--mount <mount>', 'Attach a filesystem mount to the service', collectAs(parseMount))
    .option('--name <name>', 'Service name')
    .option('--network <network>', 'Network attachments', collectAs(parseNetwork))
    .option('--placement-pref <preference>', 'Add a placement preference', collectAs(parsePreference))
    .option('-p, --publish <port>', 'Publish a port as a node port', collectAs(parsePublish))
    .option('--secret <secret>', 'Specify secrets to expose to the service', collectAs(parseFileReference))
    .option('--sysctl <option>', 'Sysctl options', collect)
    .option('--ulimit <limit>', 'Ulimit options', collectAs(parseUlimit))
    .action((image: string, args: string[], flags: CreateFlags) => createService(ctx, { image, args, flags }));
}

async function createService(
  ctx: Context,
  given: { image: string; args: string[]; flags: CreateFlags },
): Promise<void> {
  const { flags } = given;
  const envFileLines = await readEnvFiles(ctx, flags.envFile ?? []);
  const auth = flags.withRegistryAuth === true ? await registryAuth(ctx, given.image) : undefined;
  let spec = await withReferences(ctx, createSpec({ ...given, envFileLines, environment: ctx.env }), flags);
  const client = await ctx.client();
  if (flags.resolveImage) spec = await pinImage(client, spec, (text) => ctx.stderr.write(text), auth);
  if (flags.dryRun === true) return showForecast(ctx, await client.dryRunService(spec));
  const { ID, Warnings } = await client.createService(spec, auth);
  for (const warning of Warnings ?? []) ctx.stderr.write(`${warning}\n`);
  ctx.stdout.write(`${ID}\n`);
  if (flags.detach !== true) await waitForService(ctx, ID, { quiet: flags.quiet === true });
}

async function withReferences(ctx: Context, spec: ServiceSpec, flags: CreateFlags): Promise<ServiceSpec> {
  const client = await ctx.client();
  const { TaskTemplate: task } = spec;
  const [networks, secrets, configs] = [
    await resolveNetworks(client, task.Networks ?? []),
    await resolveSecrets(client, flags.secret ?? []),
    await resolveConfigs(client, flags.config ?? []),
  ];
  return {
    ...spec,
    TaskTemplate: {
      ...task,
      ContainerSpec: {
        ...task.ContainerSpec,
        ...(secrets.length > 0 ? { Secrets: secrets } : {}),
        ...(configs.length > 0 ? { Configs: configs } : {}),
      },
      ...(networks.length > 0 ? { Networks: networks } : {}),
    },
  };
}
