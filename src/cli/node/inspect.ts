import type { Command } from 'commander';
import type { ApiNode } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { defineInspect } from '../inspect.ts';
import { heading, labelLines, line } from '../output/pretty.ts';
import { capitalize } from '../output/text.ts';
import { resolveNode } from './self.ts';

export function define(command: Command, ctx: Context): void {
  defineInspect(command, ctx, {
    argument: 'NODE',
    fetch: async (context, id) => {
      const client = await context.client();
      return client.node(await resolveNode(client, id));
    },
    pretty: (node) => prettyNode(node as ApiNode),
  });
}

function prettyNode(node: ApiNode): string {
  const { Description: description, ManagerStatus: manager } = node;
  const memory = (description.Resources?.MemoryBytes ?? 0) / 1024 ** 3;
  return [
    line('ID', node.ID),
    line('Name', node.Spec.Name),
    heading('Labels', labelLines(node.Spec.Labels)),
    line('Hostname', description.Hostname),
    line('Joined at', node.CreatedAt),
    heading('Status', line('State', capitalize(node.Status.State ?? ''), 1) + line('Message', node.Status.Message, 1)),
    line('Availability', capitalize(node.Spec.Availability), 1),
    line('Address', node.Status.Addr, 1),
    manager === undefined || manager === null
      ? ''
      : heading(
          'Manager Status',
          line('Address', manager.Addr, 1) +
            line('Raft Status', capitalize(manager.Reachability ?? ''), 1) +
            line('Leader', manager.Leader === true ? 'Yes' : 'No', 1),
        ),
    heading(
      'Platform',
      line('Operating System', description.Platform?.OS, 1) +
        line('Architecture', description.Platform?.Architecture, 1),
    ),
    heading(
      'Resources',
      line('CPUs', (description.Resources?.NanoCPUs ?? 0) / 1e9, 1) + line('Memory', `${memory.toFixed(3)}GiB`, 1),
    ),
    line('Engine Version', description.Engine?.EngineVersion),
    heading('Engine Labels', labelLines(description.Engine?.Labels)),
    heading(
      'Network',
      line('Gateway Subnet', node.TsCluster?.GatewaySubnet, 1) +
        line('Ingress Address', node.TsCluster?.IngressAddress, 1),
    ),
    heading(
      'Network Problems',
      (node.TsCluster?.NetworkProblems ?? []).map(({ Message }) => ` - ${Message}\n`).join(''),
    ),
  ].join('');
}
