/** The service tables of `service ls` and `stack services`. */
import type { ApiService } from '../../client/index.ts';
import type { PortConfig } from '../../model/spec.ts';
import type { Context } from '../context.ts';
import { type Column, printList } from './table.ts';
import { imageWithoutDigest, naturally, shortId } from './text.ts';

export interface ServiceListOptions {
  readonly format?: string;
  readonly quiet?: true;
}

export function printServices(ctx: Context, services: readonly ApiService[], options: ServiceListOptions): void {
  const sorted = [...services].sort((a, b) => naturally(a.Spec.Name, b.Spec.Name));
  if (options.quiet === true && options.format === undefined) {
    for (const service of sorted) ctx.stdout.write(`${shortId(service.ID)}\n`);
    return;
  }
  printList(ctx, columns, sorted, { format: options.format });
}

const column = (field: string, header: string, value: (service: ApiService) => unknown): Column<ApiService> => ({
  field,
  header,
  shown: true,
  value,
});

const columns: readonly Column<ApiService>[] = [
  column('ID', 'ID', (service) => shortId(service.ID)),
  column('Name', 'NAME', (service) => service.Spec.Name),
  column('Mode', 'MODE', modeText),
  column('Replicas', 'REPLICAS', replicasText),
  column('Image', 'IMAGE', (service) => imageWithoutDigest(service.Spec.TaskTemplate.ContainerSpec.Image)),
  column('Ports', 'PORTS', (service) => portsText(service.Endpoint?.Ports ?? [])),
];

export function modeText(service: ApiService): string {
  const { Mode } = service.Spec;
  if (Mode.Global !== undefined) return 'global';
  if (Mode.ReplicatedJob !== undefined) return 'replicated job';
  return Mode.GlobalJob === undefined ? 'replicated' : 'global job';
}

function replicasText(service: ApiService): string {
  const {
    RunningTasks: running = 0,
    DesiredTasks: desired = 0,
    CompletedTasks: completed = 0,
  } = service.ServiceStatus ?? {};
  const { Mode, TaskTemplate } = service.Spec;
  if (Mode.ReplicatedJob !== undefined) {
    return `${running}/${desired} (${completed}/${Mode.ReplicatedJob.TotalCompletions ?? 1} completed)`;
  }
  if (Mode.GlobalJob !== undefined) return `${running}/${desired} (${completed}/${desired + completed} completed)`;
  const max = TaskTemplate.Placement?.MaxReplicas ?? 0;
  return `${running}/${desired}${max > 0 ? ` (max ${max} per node)` : ''}`;
}

/** Only ports of the whole cluster; neighbours are joined: `*:80-81->80-81/tcp`. */
export function portsText(ports: readonly PortConfig[]): string {
  const sorted = ports
    .filter((port) => port.PublishMode === 'ingress')
    .map(({ HostIP, PublishedPort = 0, TargetPort, Protocol = 'tcp' }) => ({
      head: hostText(HostIP),
      tail: Protocol,
      published: PublishedPort,
      target: TargetPort,
    }))
    .sort((a, b) => compare(a.tail, b.tail) || compare(a.head, b.head) || a.published - b.published);
  const groups: { head: string; tail: string; published: number; target: number; count: number }[] = [];
  for (const port of sorted) {
    const last = groups.at(-1);
    const joins =
      last?.tail === port.tail &&
      last.head === port.head &&
      last.published + last.count === port.published &&
      last.target + last.count === port.target;
    if (last !== undefined && joins) last.count++;
    else groups.push({ ...port, count: 1 });
  }
  const range = (first: number, count: number) => (count === 1 ? `${first}` : `${first}-${first + count - 1}`);
  return groups
    .map(
      ({ head, tail, published, target, count }) =>
        `${head}:${range(published, count)}->${range(target, count)}/${tail}`,
    )
    .join(', ');
}

/** The address of the hosts that answer: `*` for all of them. */
export function hostText(address = ''): string {
  if (address === '') return '*';
  return address.includes(':') ? `[${address}]` : address;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
