import type { Command } from 'commander';
import type { Client, Filters } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { resolveNode } from '../node/self.ts';
import { collectFilter, formatHelp } from '../options.ts';
import { nodeName, printTasks, type TaskListOptions } from '../output/tasks.ts';

interface Options extends TaskListOptions {
  readonly filter?: Filters;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] SERVICE [SERVICE...]')
    .argument('<services...>')
    .option('-f, --filter <filter>', 'Filter output: desired-state, id, name, node', collectFilter)
    .option('--format <format>', formatHelp)
    .option('--no-resolve', 'Do not map IDs to names')
    .option('--no-trunc', 'Do not truncate output')
    .option('-q, --quiet', 'Only display task IDs')
    .action((services: string[], options: Options) => listTasks(ctx, services, options));
}

async function listTasks(ctx: Context, names: readonly string[], options: Options): Promise<void> {
  const client = await ctx.client();
  const { ids, missing } = await findServices(client, names);
  if (ids.length > 0) {
    const filters = await taskFilters(client, options.filter ?? {});
    await printTasks(ctx, await client.tasks({ ...filters, service: ids }), { ...options, fullIds: true });
    if (options.quiet !== true && options.format === undefined) await printProblems(ctx, client, ids);
  }
  for (const name of missing) ctx.stderr.write(`no such service: ${name}\n`);
  if (missing.length > 0) ctx.fail(1);
}

/** What could not be given or done for a service, such as a published port that another program has: no task would tell. */
async function printProblems(ctx: Context, client: Client, ids: readonly string[]): Promise<void> {
  const services = await client.services({ id: [...ids] });
  const networks = services.flatMap(({ Spec }) => (Spec.TaskTemplate.Networks ?? []).map(({ Target }) => Target));
  for (const { Spec, TsCluster } of services) {
    const error = TsCluster?.EndpointError ?? '';
    if (error !== '') ctx.stderr.write(`WARNING: service ${Spec.Name}: ${error}\n`);
  }
  for (const node of await client.nodes()) {
    for (const { ServiceID = '', NetworkID = '', Message } of node.TsCluster?.NetworkProblems ?? []) {
      const concerns = ServiceID === '' ? networks.includes(NetworkID) : ids.includes(ServiceID);
      if (concerns) ctx.stderr.write(`WARNING: node ${nodeName(node)}: ${Message}\n`);
    }
  }
}

/** Full id first, then name, then an id prefix that fits one service only. */
async function findServices(client: Client, names: readonly string[]): Promise<{ ids: string[]; missing: string[] }> {
  const [byId, byName] = await Promise.all([
    client.services({ id: [...names] }),
    client.services({ name: [...names] }),
  ]);
  const ids: string[] = [];
  const missing: string[] = [];
  for (const name of names) {
    const exact = byId.find((service) => service.ID === name) ?? byName.find((service) => service.Spec.Name === name);
    const prefixed = byId.filter((service) => service.ID.startsWith(name));
    const found = exact ?? (prefixed.length === 1 ? prefixed[0] : undefined);
    if (found === undefined) missing.push(name);
    else ids.push(found.ID);
  }
  return { ids, missing };
}

async function taskFilters(client: Client, filters: Filters): Promise<Filters> {
  const nodes = filters['node'];
  if (nodes === undefined) return filters;
  return { ...filters, node: await Promise.all(nodes.map((name) => resolveNode(client, name))) };
}
