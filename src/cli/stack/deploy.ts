import type { Command } from 'commander';
import type { ApiService, Client } from '../../client/index.ts';
import { ClusterError, isKind } from '../../lib/errors.ts';
import type { NetworkSpec, ServiceSpec } from '../../model/spec.ts';
import {
  type FilePlan,
  imageLabel,
  type NetworkPlan,
  namespaceLabel,
  planStack,
  type StackPlan,
} from '../../stack/index.ts';
import type { Context } from '../context.ts';
import { causeText } from '../describe-error.ts';
import { CliError } from '../failure.ts';
import { pinImage, withDefaultTag } from '../service/image.ts';
import { waitForServices } from '../service/progress.ts';
import { registryAuth } from '../service/registry-auth.ts';
import { addFileOption, type FileOptions, load } from './load.ts';

interface Options extends FileOptions {
  readonly detach?: boolean;
  readonly prune?: boolean;
  readonly quiet?: boolean;
  readonly resolveImage?: string;
  readonly withRegistryAuth?: boolean;
}

export function define(command: Command, ctx: Context): void {
  command.usage('[OPTIONS] STACK').argument('<stack>');
  addFileOption(command);
  command
    .option('-d, --detach', 'Exit immediately instead of waiting for the stack services to converge (default true)')
    .option('--prune', 'Prune services that are no longer referenced')
    .option('-q, --quiet', 'Suppress progress output')
    .option('--resolve-image <when>', 'Resolve image digests: "always", "changed" or "never" (default "always")')
    .option('--with-registry-auth', 'Send registry authentication details to the nodes')
    .action((stack: string, options: Options) => deploy(ctx, stack, options));
}

async function deploy(ctx: Context, stack: string, options: Options): Promise<void> {
  const resolveImage = options.resolveImage ?? 'always';
  if (!['always', 'changed', 'never'].includes(resolveImage)) {
    throw new CliError(`Error: Invalid option ${resolveImage} for flag --resolve-image`);
  }
  if (stack.trim() === '' || /['"]/.test(stack))
    throw new CliError(`Error: invalid stack name: ${JSON.stringify(stack)}`);
  const { file } = await load(ctx, options);
  const plan = await planStack(stack, file, ctx.env);
  const client = await ctx.client();
  await checkManager(client);
  const existing = new Map(
    (await client.services({ label: [`${namespaceLabel}=${stack}`] })).map((service) => [service.Spec.Name, service]),
  );
  await checkExternalNetworks(client, plan);
  const networks = await missingNetworks(client, { stack, networks: plan.networks });
  const auth = options.withRegistryAuth === true;
  const services: ServiceApply[] = [];
  for (const { spec } of plan.services) {
    services.push(await prepared(ctx, client, { spec, existing: existing.get(spec.Name), resolveImage, auth }));
  }
  // Nothing is written before everything is known to be good.
  await client.checkPlan({
    networks,
    secrets: plan.secrets.map(withData),
    configs: plan.configs.map(withData),
    services: services.map((one) => ({ ...(one.existing && { id: one.existing.ID }), spec: one.spec })),
  });
  if (options.prune === true) await prune(ctx, client, { plan, existing });
  await createNetworks(ctx, client, networks);
  for (const secret of plan.secrets) await applyFile(ctx, 'secret', { plan: secret, api: secretApi(client) });
  for (const config of plan.configs) await applyFile(ctx, 'config', { plan: config, api: configApi(client) });
  const names: string[] = [];
  for (const service of services) {
    await applyService(ctx, client, service);
    names.push(service.spec.Name);
  }
  if (options.detach === false) await waitForServices(ctx, names, { quiet: options.quiet === true });
  else if (options.detach === undefined && options.quiet !== true) {
    ctx.stderr.write(
      `The services are being started in the background: watch them with \`tscluster stack ps ${stack}\`, or wait with --detach=false.\n`,
    );
  }
}

async function checkManager(client: Client): Promise<void> {
  const { Swarm } = await client.info();
  if (Swarm.ControlAvailable) return;
  throw new CliError(
    'Error: this node is not a manager of a cluster. Use "tscluster init" or "tscluster join", or run this command on a manager.',
  );
}

async function prune(
  ctx: Context,
  client: Client,
  { plan, existing }: { plan: StackPlan; existing: ReadonlyMap<string, ApiService> },
): Promise<void> {
  const wanted = new Set(plan.services.map(({ spec }) => spec.Name));
  for (const service of existing.values()) {
    if (wanted.has(service.Spec.Name)) continue;
    ctx.stdout.write(`Removing service ${service.Spec.Name}\n`);
    await client.removeService(service.ID);
  }
}

async function checkExternalNetworks(client: Client, plan: StackPlan): Promise<void> {
  for (const name of plan.externalNetworks) {
    if (['host', 'bridge', 'none'].includes(name)) continue;
    try {
      const network = await client.network(name);
      if (network.Scope !== 'swarm') {
        throw new ClusterError(
          'invalid',
          `network "${name}" is declared as external, but it is not in the right scope: "${network.Scope}" instead of "swarm"`,
        );
      }
    } catch (error) {
      if (!isKind(error, 'not_found')) throw error;
      throw new ClusterError(
        'not_found',
        `network "${name}" is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed`,
        { cause: error },
      );
    }
  }
}

type NewNetwork = Omit<NetworkPlan, 'IPAM'> & Pick<NetworkSpec, 'IPAM' | 'Scope' | 'Ingress' | 'ConfigOnly'>;

async function missingNetworks(
  client: Client,
  { stack, networks }: { stack: string; networks: readonly NetworkPlan[] },
): Promise<readonly NewNetwork[]> {
  if (networks.length === 0) return [];
  const existing = new Set(
    (await client.networks({ label: [`${namespaceLabel}=${stack}`] })).map((network) => network.Name),
  );
  return networks
    .filter((network) => !existing.has(network.Name))
    .map(({ IPAM, ...network }) => ({
      ...network,
      ...(IPAM === null ? {} : { IPAM }),
      Scope: '',
      Ingress: false,
      ConfigOnly: false,
    }));
}

async function createNetworks(ctx: Context, client: Client, networks: readonly NewNetwork[]): Promise<void> {
  for (const network of networks) {
    ctx.stdout.write(`Creating network ${network.Name}\n`);
    await during(`failed to create network ${network.Name}`, () => client.createNetwork({ ...network }));
  }
}

function withData(plan: FilePlan): FilePlan & { readonly Data: string } {
  return { ...plan, Data: plan.Data ?? '' };
}

interface FileApi {
  get(name: string): Promise<{ readonly ID: string; readonly Version: { readonly Index: number } }>;
  create(plan: FilePlan): Promise<unknown>;
  update(id: string, version: number, plan: FilePlan): Promise<void>;
}

function secretApi(client: Client): FileApi {
  return {
    get: (name) => client.secret(name),
    create: (plan) => client.createSecret(plan),
    update: (id, version, plan) => client.updateSecret(id, version, plan),
  };
}

function configApi(client: Client): FileApi {
  return {
    get: (name) => client.config(name),
    create: (plan) => client.createConfig(withData(plan)),
    update: (id, version, plan) => client.updateConfig(id, version, withData(plan)),
  };
}

/** Creates, or posts again: the daemon accepts changed labels and refuses changed contents. */
async function applyFile(
  ctx: Context,
  kind: 'secret' | 'config',
  { plan, api }: { plan: FilePlan; api: FileApi },
): Promise<void> {
  const existing = await api.get(plan.Name).catch((error: unknown) => {
    if (isKind(error, 'not_found')) return undefined;
    throw error;
  });
  if (existing === undefined) {
    ctx.stdout.write(`Creating ${kind} ${plan.Name}\n`);
    await during(`failed to create ${kind} ${plan.Name}`, () => api.create(plan));
  } else {
    await during(`failed to update ${kind} ${plan.Name}`, () => api.update(existing.ID, existing.Version.Index, plan));
  }
}

interface ServicePlanned {
  readonly spec: ServiceSpec;
  readonly existing: ApiService | undefined;
  readonly resolveImage: string;
  readonly auth: boolean;
}

/** Its image resolved; secrets and configs still by name. */
interface ServiceApply {
  readonly spec: ServiceSpec;
  readonly existing: ApiService | undefined;
  readonly auth: string | undefined;
}

async function prepared(ctx: Context, client: Client, planned: ServicePlanned): Promise<ServiceApply> {
  const auth = planned.auth ? await registryAuth(ctx, planned.spec.TaskTemplate.ContainerSpec.Image) : undefined;
  return { spec: await withImage(ctx, client, planned, auth), existing: planned.existing, auth };
}

async function applyService(ctx: Context, client: Client, apply: ServiceApply): Promise<void> {
  const { existing, auth } = apply;
  const spec = await withIds(client, apply.spec);
  if (existing === undefined) {
    ctx.stdout.write(`Creating service ${spec.Name}\n`);
    const { Warnings } = await during(`failed to create service ${spec.Name}`, () => client.createService(spec, auth));
    for (const warning of Warnings ?? []) ctx.stderr.write(`${warning}\n`);
    return;
  }
  ctx.stdout.write(`Updating service ${spec.Name} (id: ${existing.ID})\n`);
  const answer = await during(`failed to update service ${spec.Name}`, () =>
    updateService(client, { spec, id: existing.ID, auth }),
  );
  for (const warning of answer.Warnings ?? []) ctx.stderr.write(`${warning}\n`);
}

const attemptsMax = 5;

/** ForceUpdate is kept, so that deploying again restarts nothing by itself. */
async function updateService(
  client: Client,
  { spec, id, auth }: { spec: ServiceSpec; id: string; auth: string | undefined },
) {
  for (let attempt = 1; ; attempt++) {
    const current = await client.service(id);
    const forced = {
      ...spec,
      TaskTemplate: { ...spec.TaskTemplate, ForceUpdate: current.Spec.TaskTemplate.ForceUpdate ?? 0 },
    };
    try {
      return await client.updateService(id, forced, {
        version: current.Version.Index,
        ...(auth === undefined ? {} : { registryAuth: auth }),
      });
    } catch (error) {
      if (!isKind(error, 'conflict') || attempt >= attemptsMax) throw error;
    }
  }
}

/** The tag is pinned to a digest now, or stays what it was pinned to when the file's image has not changed. */
async function withImage(
  ctx: Context,
  client: Client,
  { spec, existing, resolveImage }: ServicePlanned,
  auth: string | undefined,
): Promise<ServiceSpec> {
  const written = spec.TaskTemplate.ContainerSpec.Image;
  const tagged = replaceImage(spec, withDefaultTag(written));
  const unchanged = existing?.Spec.Labels[imageLabel] === written;
  if (existing !== undefined && unchanged && resolveImage !== 'always') {
    const { ContainerSpec, Placement } = existing.Spec.TaskTemplate;
    const pinned = replaceImage(spec, ContainerSpec.Image);
    if (Placement?.Platforms === undefined) return pinned;
    return {
      ...pinned,
      TaskTemplate: {
        ...pinned.TaskTemplate,
        Placement: { ...pinned.TaskTemplate.Placement, Platforms: Placement.Platforms },
      },
    };
  }
  return resolveImage === 'never' ? tagged : pinImage(client, tagged, (text) => ctx.stderr.write(text), auth);
}

function replaceImage(spec: ServiceSpec, image: string): ServiceSpec {
  const { TaskTemplate: task } = spec;
  return { ...spec, TaskTemplate: { ...task, ContainerSpec: { ...task.ContainerSpec, Image: image } } };
}

/** Secrets and configs are referred to by name in files and by id in specs. */
async function withIds(client: Client, spec: ServiceSpec): Promise<ServiceSpec> {
  const { TaskTemplate: task } = spec;
  const { Secrets: secrets = [], Configs: configs = [] } = task.ContainerSpec;
  const secretNames = [...new Set(secrets.map((secret) => secret.SecretName))];
  const configNames = [...new Set(configs.map((config) => config.ConfigName))];
  const secretIds = idsOf(secretNames.length === 0 ? [] : await client.secrets({ name: secretNames }));
  const configIds = idsOf(configNames.length === 0 ? [] : await client.configs({ name: configNames }));
  const container = {
    ...task.ContainerSpec,
    ...(secrets.length > 0
      ? { Secrets: secrets.map((use) => ({ ...use, SecretID: known('secret', use.SecretName, secretIds) })) }
      : {}),
    ...(configs.length > 0
      ? { Configs: configs.map((use) => ({ ...use, ConfigID: known('config', use.ConfigName, configIds) })) }
      : {}),
  };
  return { ...spec, TaskTemplate: { ...task, ContainerSpec: container } };
}

function idsOf(
  objects: readonly { readonly ID: string; readonly Spec: { readonly Name: string } }[],
): Map<string, string> {
  return new Map(objects.map((object) => [object.Spec.Name, object.ID]));
}

function known(kind: string, name: string, ids: ReadonlyMap<string, string>): string {
  const id = ids.get(name);
  if (id === undefined) throw new ClusterError('not_found', `${kind} not found: ${name}`);
  return id;
}

/** Says which step of the deployment an error belongs to. */
async function during<T>(step: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw new CliError(`${step}: ${causeText(error)}`);
  }
}
