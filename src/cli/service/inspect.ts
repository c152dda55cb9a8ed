import type { Command } from 'commander';
import type { ApiService } from '../../client/index.ts';
import type { ContainerSpec, PortConfig, TaskSpec, UpdateConfig } from '../../model/spec.ts';
import { formatDuration } from '../../stack/values.ts';
import type { Context } from '../context.ts';
import { defineInspect } from '../inspect.ts';
import { heading, labelLines, line } from '../output/pretty.ts';
import { hostText, modeText } from '../output/services.ts';
import { capitalize } from '../output/text.ts';
import { ago } from '../output/time.ts';

export function define(command: Command, ctx: Context): void {
  defineInspect(command, ctx, {
    argument: 'SERVICE',
    fetch: async (context, id) => (await context.client()).service(id, { insertDefaults: true }),
    pretty: (object, context) => prettyService(object as ApiService, context),
  });
}

async function prettyService(service: ApiService, ctx: Context): Promise<string> {
  const { Spec: spec } = service;
  const { TaskTemplate: task } = spec;
  return [
    line('ID', service.ID),
    line('Name', spec.Name),
    heading('Labels', labelLines(spec.Labels)),
    line('Service Mode', capitalize(modeText(service))),
    line('Replicas', spec.Mode.Replicated?.Replicas, 1),
    updateStatus(service, ctx),
    placement(task),
    heading('UpdateConfig', updateLines(spec.UpdateConfig)),
    heading('RollbackConfig', updateLines(spec.RollbackConfig)),
    container(task.ContainerSpec),
    resources(task),
    await networks(service, ctx),
    line('Endpoint Mode', service.Endpoint?.Spec?.Mode ?? spec.EndpointSpec?.Mode),
    ports(service),
    line('Endpoint Error', service.TsCluster?.EndpointError),
    heading('Healthcheck', healthcheck(task.ContainerSpec)),
  ].join('');
}

function updateStatus(service: ApiService, ctx: Context): string {
  const status = service.UpdateStatus;
  if (status === undefined || status === null || status.State === undefined || status.State === '') return '';
  const now = ctx.clock.now();
  return heading(
    'UpdateStatus',
    line('State', status.State, 1) +
      line('Started', status.StartedAt === undefined ? undefined : ago(status.StartedAt, now), 1) +
      line('Completed', status.CompletedAt === undefined ? undefined : ago(status.CompletedAt, now), 1) +
      line('Message', status.Message, 1),
  );
}

function placement(task: TaskSpec): string {
  const constraints = task.Placement?.Constraints ?? [];
  const preferences = (task.Placement?.Preferences ?? []).map(
    (preference) => `spread=${preference.Spread?.SpreadDescriptor ?? ''}`,
  );
  return heading(
    'Placement',
    line('Constraints', constraints.length === 0 ? undefined : `[${constraints.join(' ')}]`, 1) +
      line('Preferences', preferences.length === 0 ? undefined : `[${preferences.join(' ')}]`, 1) +
      line('Max Replicas Per Node', task.Placement?.MaxReplicas || undefined, 1),
  );
}

function updateLines(config: UpdateConfig | undefined): string {
  if (config === undefined) return '';
  const time = (nanos: number | undefined) => (nanos === undefined || nanos === 0 ? undefined : formatDuration(nanos));
  return [
    line('Parallelism', config.Parallelism, 1),
    line('Delay', time(config.Delay), 1),
    line('On failure', config.FailureAction, 1),
    line('Monitoring Period', time(config.Monitor), 1),
    line('Max failure ratio', config.MaxFailureRatio, 1),
    line('Order', config.Order, 1),
  ].join('');
}

function container(spec: ContainerSpec): string {
  const files = [
    ...(spec.Secrets ?? []).map((secret) => ({ kind: 'secret', name: secret.SecretName, file: secret.File })),
  ];
  const configs = (spec.Configs ?? []).map((config) => ({
    kind: 'config',
    name: config.ConfigName,
    file: config.File,
  }));
  const mounts = (spec.Mounts ?? []).map(
    (mount) =>
      `  ${mount.Target} (${mount.Type}${mount.Source === undefined ? '' : ` from ${mount.Source}`}${mount.ReadOnly === true ? ', read-only' : ''})\n`,
  );
  return heading(
    'ContainerSpec',
    line('Image', spec.Image, 1) +
      line('Command', words(spec.Command), 1) +
      line('Args', words(spec.Args), 1) +
      line('Env', words(spec.Env), 1) +
      line('Dir', spec.Dir, 1) +
      line('User', spec.User, 1) +
      line('Init', spec.Init, 1),
  )
    .concat(heading('Mounts', mounts.join('')))
    .concat(
      heading(
        'Files',
        [...files, ...configs].map(({ kind, name, file }) => `  ${file?.Name ?? ''} (${kind} ${name})\n`).join(''),
      ),
    );
}

function words(list: readonly string[] | undefined): string | undefined {
  return list === undefined || list.length === 0 ? undefined : list.join(' ');
}

function resources(task: TaskSpec): string {
  const lines = (part: { NanoCPUs?: number; MemoryBytes?: number } | undefined) =>
    line('CPU', part?.NanoCPUs === undefined ? undefined : part.NanoCPUs / 1e9, 2) +
    line('Memory', part?.MemoryBytes === undefined ? undefined : `${part.MemoryBytes / 1024 ** 2}MiB`, 2);
  const pids = line('Pids', task.Resources?.Limits?.Pids, 2);
  return heading(
    'Resources',
    heading('Reservations', lines(task.Resources?.Reservations), 1) +
      heading('Limits', lines(task.Resources?.Limits) + pids, 1),
  );
}

/** By name, with the virtual addresses there. */
async function networks({ Spec, Endpoint }: ApiService, ctx: Context): Promise<string> {
  const client = await ctx.client();
  const texts = (Spec.TaskTemplate.Networks ?? []).map(async ({ Target }) => {
    const name = await client.network(Target).then(
      (network) => network.Name,
      () => Target,
    );
    const addresses = (Endpoint?.VirtualIPs ?? []).filter(({ NetworkID }) => NetworkID === Target);
    return addresses.length === 0 ? name : `${name} (${addresses.map(({ Addr }) => Addr).join(' ')})`;
  });
  return line('Networks', (await Promise.all(texts)).join(', '));
}

function ports(service: ApiService): string {
  return heading(
    'Ports',
    (service.Endpoint?.Ports ?? service.Spec.EndpointSpec?.Ports ?? []).map((port) => `  ${portLine(port)}\n`).join(''),
  );
}

function portLine({ HostIP = '', PublishedPort = 0, TargetPort, Protocol, PublishMode, Source }: PortConfig): string {
  const published = PublishedPort === 0 ? '(automatic)' : String(PublishedPort);
  const host = HostIP === '' ? '' : `${hostText(HostIP)}:`;
  const source = Source === undefined ? '' : `, source ${Source}`;
  return `${host}${published}->${TargetPort}/${Protocol ?? 'tcp'} (${PublishMode ?? 'ingress'}${source})`;
}

function healthcheck(spec: ContainerSpec): string {
  const check = spec.Healthcheck;
  if (check === undefined) return '';
  const time = (nanos: number | undefined) => (nanos === undefined ? undefined : formatDuration(nanos));
  return [
    line('Test', words(check.Test), 1),
    line('Interval', time(check.Interval), 1),
    line('Timeout', time(check.Timeout), 1),
    line('Retries', check.Retries, 1),
    line('StartPeriod', time(check.StartPeriod), 1),
  ].join('');
}
