import type { Command } from 'commander';
import type { NodeRole } from '../../model/spec.ts';
import type { Context } from '../context.ts';
import { forEach } from '../each.ts';
import { changeNode } from './change.ts';
import { resolveNode } from './self.ts';

/** `promote` and `demote`. */
export function defineRoleChange(command: Command, ctx: Context, role: NodeRole): void {
  command
    .usage('NODE [NODE...]')
    .argument('<nodes...>')
    .action(async (nodes: string[]) => {
      const client = await ctx.client();
      const done = role === 'manager' ? 'promoted to a manager in the swarm' : 'demoted in the swarm';
      await forEach(ctx, nodes, async (name) => {
        const id = await resolveNode(client, name);
        const changed = await changeNode(client, id, (spec) =>
          spec.Role === role ? undefined : { ...spec, Role: role },
        );
        if (changed) ctx.stdout.write(role === 'manager' ? `Node ${name} ${done}.\n` : `Manager ${name} ${done}.\n`);
        else ctx.stderr.write(`Node ${name} is already a ${role}.\n`);
      });
    });
}
