import type { Command } from 'commander';
import type { ApiService, Client } from '../../client/index.ts';
import { ClusterError, isKind } from '../../lib/errors.ts';
import type {
  ConfigReference,
  ContainerSpec,
  NetworkAttachmentConfig,
  SecretReference,
  ServiceSpec,
} from '../../model/spec.ts';
import { parsePublish } from '../../stack/ports.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { collect, collectAs, collectLabel } from '../options.ts';
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
import { resolveConfigs, resolveSecrets } from './references.ts';
import { registryAuth } from './registry-auth.ts';
import { rollback } from './rollback.ts';
import { type UpdateFlags, updateSpec } from './update-spec.ts';

export function define(command: Command, ctx: Context): void {
  addCommonFlags(command);
  command.usage('[OPTIONS] SERVICE').argument('<service>');
  const lists: readonly [string, string, (text: string, previous: never) => unknown][] = [
    ['config', 'a config file', collectAs(parseFileReference)],
    ['constraint', 'a placement constraint', collect],
    ['container-label', 'a container label', collectLabel],
    ['dns', 'a custom DNS server', collectAs(parseDnsServer)],
    ['dns-option', 'a DNS option', collect],
    ['dns-search', 'a custom DNS search domain', collect],
    ['env', 'an environment variable', collect],
    ['generic-resource', 'a generic resource', collectAs(parseGenericResource)],
    ['group', 'a supplementary user group', collect],
    ['host', 'a custom host-to-IP mapping (host:ip)', collectAs(parseHost)],
    ['label', 'a service label', collectLabel],
    ['mount', 'a mount', collectAs(parseMount)],
    ['network', 'a network', collectAs(parseNetwork)],
    ['placement-pref', 'a placement preference', collectAs(parsePreference)],
    ['publish', 'a published port', collectAs(parsePublish)],
    ['secret', 'a secret', collectAs(parseFileReference)],
    ['sysctl', 'a Sysctl option', collect],
    ['ulimit', 'a ulimit option', collectAs(parseUlimit)],
  ];
  for (const [name, what, read] of lists) {
    command.option(
      `--${name}-add <value>`,
      `Add or update ${what}`,
      read as (text: string, previous: unknown) => unknown,
    );
    command.option(
      `--${name}-rm <value>`,
      `Remove ${what}`,
      name === 'placement-pref' ? collectAs(parsePreference) : collect,
    );
  }
  command
    .option('--args <command>', 'Service command args')
    .option('--force', 'Force update even if no changes require it')
    .option('--image <image>', 'Service image tag')
    .option('--rollback', 'Rollback to previous specification')
    .action((name: string, flags: UpdateFlags) => update(ctx, { name, flags, command }));
}

async function update(
  ctx: Context,
  { name, flags, command }: { name: string; flags: UpdateFlags; command: Command },
): Promise<void> {
  if (flags.rollback === true) {
    const others = command.options.filter(
      (option) =>
        !['--rollback', '--detach', '--quiet', '--host'].includes(option.long ?? '') &&
        command.getOptionValueSource(option.attributeName()) === 'cli',
    );
    if (others.length > 0) throw new CliError('Error: other flags may not be combined with --rollback');
    return rollback(ctx, name, flags);
  }
  const client = await ctx.client();
  if (flags.dryRun === true) {
    const service = await client.service(name);
    return showForecast(ctx, await client.dryRunService(await changed(ctx, service, flags), service.ID));
  }
  const auth =
    flags.withRegistryAuth === true
      ? await registryAuth(ctx, flags.image ?? (await client.service(name)).Spec.TaskTemplate.ContainerSpec.Image)
      : undefined;
  const warnings = await write(ctx, client, { name, flags, auth });
  for (const warning of warnings) ctx.stderr.write(`${warning}\n`);
  ctx.stdout.write(`${name}\n`);
  if (flags.detach !== true) await waitForService(ctx, name, { quiet: flags.quiet === true });
}

const attemptsMax = 5;

/** The orchestrator writes services, too: on a stale version the flags are applied to what is there now. */
async function write(
  ctx: Context,
  client: Client,
  { name, flags, auth }: { name: string; flags: UpdateFlags; auth: string | undefined },
): Promise<readonly string[]> {
  for (let attempt = 1; ; attempt++) {
    const service = await client.service(name);
    const spec = await changed(ctx, service, flags, auth);
    try {
      const { Warnings } = await client.updateService(service.ID, spec, {
        version: service.Version.Index,
        ...(auth === undefined ? {} : { registryAuth: auth }),
      });
      return Warnings ?? [];
    } catch (error) {
      if (!isKind(error, 'conflict') || attempt >= attemptsMax) throw error;
    }
  }
}

async function changed(ctx: Context, service: ApiService, flags: UpdateFlags, auth?: string): Promise<ServiceSpec> {
  const client = await ctx.client();
  const spec = updateSpec(service.Spec, flags, ctx.env);
  const { TaskTemplate: task } = spec;
  const container: ContainerSpec = {
    ...task.ContainerSpec,
    ...(await changedSecrets(client, task.ContainerSpec.Secrets ?? [], flags)),
    ...(await changedConfigs(client, task.ContainerSpec.Configs ?? [], flags)),
  };
  const networks = await changedNetworks(client, task.Networks ?? [], flags);
  const result = { ...spec, TaskTemplate: { ...task, ContainerSpec: container, ...networks } };
  const asks = flags.image !== undefined && flags.resolveImage;
  return asks ? pinImage(client, result, (text) => ctx.stderr.write(text), auth) : result;
}

async function changedSecrets(
  client: Client,
  current: readonly SecretReference[],
  flags: UpdateFlags,
): Promise<Partial<ContainerSpec>> {
  if (flags.secretAdd === undefined && flags.secretRm === undefined) return {};
  const added = await resolveSecrets(client, flags.secretAdd ?? []);
  const kept = current.filter(
    (use) =>
      !(flags.secretRm ?? []).includes(use.SecretName) && added.every((other) => other.SecretName !== use.SecretName),
  );
  return { Secrets: [...kept, ...added] };
}

async function changedConfigs(
  client: Client,
  current: readonly ConfigReference[],
  flags: UpdateFlags,
): Promise<Partial<ContainerSpec>> {
  if (flags.configAdd === undefined && flags.configRm === undefined) return {};
  const added = await resolveConfigs(client, flags.configAdd ?? []);
  const kept = current.filter(
    (use) =>
      !(flags.configRm ?? []).includes(use.ConfigName) && added.every((other) => other.ConfigName !== use.ConfigName),
  );
  return { Configs: [...kept, ...added] };
}

async function changedNetworks(
  client: Client,
  current: readonly NetworkAttachmentConfig[],
  flags: UpdateFlags,
): Promise<{ Networks?: readonly NetworkAttachmentConfig[] }> {
  if (flags.networkAdd === undefined && flags.networkRm === undefined) return {};
  const idOf = async (name: string) => (await client.network(name)).Id;
  const removed = await Promise.all((flags.networkRm ?? []).map(idOf));
  const networks = current.filter((network) => !removed.includes(network.Target));
  for (const network of flags.networkAdd ?? []) {
    const id = await idOf(network.Target);
    if (networks.some((other) => other.Target === id))
      throw new ClusterError('invalid', `service is already attached to network ${network.Target}`);
    networks.push({ ...network, Target: id });
  }
  return { Networks: networks.sort((a, b) => (a.Target < b.Target ? -1 : 1)) };
}
