import type { Command } from 'commander';
import { isKind } from '../../lib/errors.ts';
import type { Context } from '../context.ts';
import { uint } from '../options.ts';
import { waitForService } from './progress.ts';

export interface RollbackOptions {
  readonly detach?: boolean;
  readonly quiet?: boolean;
  /** The number of an earlier spec; absent: the one before the last change. */
  readonly to?: number;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] SERVICE')
    .argument('<service>')
    .option('-d, --detach', 'Exit immediately instead of waiting for the service to converge')
    .option('-q, --quiet', 'Suppress progress output')
    .option('--to <revision>', 'Go back to this revision (see "service history") but keep the number of replicas', uint)
    .action((name: string, options: RollbackOptions) => rollback(ctx, name, options));
}

/** Asks for an earlier spec; also behind `service update --rollback`. */
export async function rollback(ctx: Context, name: string, options: RollbackOptions): Promise<void> {
  const warnings = await ask(ctx, name, options.to);
  for (const warning of warnings) ctx.stderr.write(`${warning}\n`);
  ctx.stdout.write(`${name}\n`);
  if (options.detach !== true) await waitForService(ctx, name, { quiet: options.quiet === true });
}

const attemptsMax = 5;

/** The update loop writes services, too: a version that is stale already is read again. */
async function ask(ctx: Context, name: string, to: number | undefined): Promise<readonly string[]> {
  const client = await ctx.client();
  for (let attempt = 1; ; attempt++) {
    const service = await client.service(name);
    const version = service.Version.Index;
    try {
      const { Warnings } =
        to === undefined
          ? await client.updateService(service.ID, service.Spec, { version, rollback: true })
          : await client.rollbackService(service.ID, { version, to });
      return Warnings ?? [];
    } catch (error) {
      if (!isKind(error, 'conflict') || attempt >= attemptsMax) throw error;
    }
  }
}
