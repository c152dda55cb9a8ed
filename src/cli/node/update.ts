import type { Command } from 'commander';
import { ClusterError } from '../../lib/errors.ts';
import type { Availability, NodeRole, NodeSpec } from '../../model/spec.ts';
import type { Context } from '../context.ts';
import { collect, collectLabel, labelMap } from '../options.ts';
import { changeNode } from './change.ts';
import { resolveNode } from './self.ts';

interface Options {
  readonly availability?: string;
  readonly labelAdd?: string[];
  readonly labelRm?: string[];
  readonly role?: string;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] NODE')
    .argument('<node>')
    .option('--availability <availability>', 'Availability of the node ("active", "pause", "drain")')
    .option('--label-add <label>', 'Add or update a node label (key=value)', collectLabel)
    .option('--label-rm <key>', 'Remove a node label if exists', collect)
    .option('--role <role>', 'Role of the node ("worker", "manager")')
    .action(async (name: string, options: Options) => {
      const client = await ctx.client();
      await changeNode(client, await resolveNode(client, name), (spec) => changed(spec, options));
      ctx.stdout.write(`${name}\n`);
    });
}

/** Role and availability go to the daemon as typed: it knows which ones exist. */
function changed(spec: NodeSpec, options: Options): NodeSpec {
  const labels: Record<string, string> = { ...spec.Labels, ...labelMap(options.labelAdd) };
  for (const key of options.labelRm ?? []) {
    if (!Object.hasOwn(labels, key)) throw new ClusterError('invalid', `key ${key} doesn't exist in node's labels`);
    delete labels[key];
  }
  return {
    ...spec,
    Labels: labels,
    Role: (options.role as NodeRole | undefined) ?? spec.Role,
    Availability: (options.availability as Availability | undefined) ?? spec.Availability,
  };
}
