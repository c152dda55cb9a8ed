import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { waitForService } from './progress.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] SERVICE')
    .argument('<service>')
    .option('-d, --detach', 'Exit immediately instead of waiting for the service to converge')
    .option('-q, --quiet', 'Suppress progress output')
    .action(async (name: string, options: { detach?: boolean; quiet?: boolean }) => {
      await rollback(ctx, name, options);
    });
}

/** Asks for the previous spec; also behind `service update --rollback`. */
export async function rollback(
  ctx: Context,
  name: string,
  options: { detach?: boolean; quiet?: boolean },
): Promise<void> {
  const client = await ctx.client();
  const service = await client.service(name);
  const { Warnings } = await client.updateService(service.ID, service.Spec, {
    version: service.Version.Index,
    rollback: true,
  });
  for (const warning of Warnings ?? []) ctx.stderr.write(`${warning}\n`);
  ctx.stdout.write(`${name}\n`);
  if (options.detach !== true) await waitForService(ctx, name, { quiet: options.quiet === true });
}
