import type { Command } from 'commander';
import type { ApiService, Client } from '../../client/index.ts';
import { ClusterError, isKind } from '../../lib/errors.ts';
import type { ServiceMode } from '../../model/spec.ts';
import { parseUint } from '../../stack/values.ts';
import type { Context } from '../context.ts';
import { describeError } from '../describe-error.ts';
import { CliError } from '../failure.ts';
import { waitForService } from './progress.ts';

interface Wish {
  readonly name: string;
  readonly count: number;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('SERVICE=REPLICAS [SERVICE=REPLICAS...]')
    .argument('<wishes...>')
    .option('-d, --detach', 'Exit immediately instead of waiting for the service to converge')
    .action((words: string[], options: { detach?: boolean }) =>
      scale(ctx, words.map(parseWish), options.detach === true),
    );
}

function parseWish(word: string): Wish {
  const at = word.indexOf('=');
  const name = word.slice(0, at);
  const amount = word.slice(at + 1);
  if (at < 1) throw new CliError(`Error: invalid scale specifier '${word}': use SERVICE=REPLICAS`);
  try {
    return { name, count: parseUint(amount) };
  } catch {
    throw new CliError(`Error: invalid replicas value ${amount}: ${name} needs a whole number of 0 or more`);
  }
}

async function scale(ctx: Context, wishes: readonly Wish[], detach: boolean): Promise<void> {
  const client = await ctx.client();
  const scaled: { readonly name: string; readonly paused: boolean }[] = [];
  for (const wish of wishes) {
    try {
      const { warnings, status } = await scaleOne(client, wish);
      for (const warning of warnings) ctx.stderr.write(`${warning}\n`);
      ctx.stdout.write(`${wish.name} scaled to ${wish.count}\n`);
      const paused = status?.State === 'paused' || status?.State === 'rollback_paused';
      if (paused) ctx.stderr.write(`${wish.name}: its update stays paused: ${status.Message ?? ''}\n`);
      scaled.push({ name: wish.name, paused });
    } catch (error) {
      ctx.stderr.write(`${wish.name}: ${describeError(error)}\n`);
      ctx.fail(1);
    }
  }
  if (detach) return;
  for (const { name, paused } of scaled) await waitForService(ctx, name, { quiet: false, paused });
}

const attemptsMax = 5;

interface Scaled {
  readonly warnings: readonly string[];
  /** How an update stood before. */
  readonly status: ApiService['UpdateStatus'];
}

/** Others change services, too: a stale version is read again. */
async function scaleOne(client: Client, wish: Wish): Promise<Scaled> {
  for (let attempt = 1; ; attempt++) {
    const service = await client.service(wish.name);
    const spec = { ...service.Spec, Mode: scaledMode(service.Spec.Mode, wish.count) };
    try {
      const { Warnings } = await client.updateService(service.ID, spec, { version: service.Version.Index });
      return { warnings: Warnings ?? [], status: service.UpdateStatus };
    } catch (error) {
      if (!isKind(error, 'conflict') || attempt >= attemptsMax) throw error;
    }
  }
}

function scaledMode(mode: ServiceMode, count: number): ServiceMode {
  if (mode.Replicated !== undefined) return { Replicated: { ...mode.Replicated, Replicas: count } };
  if (mode.ReplicatedJob !== undefined) return { ReplicatedJob: { ...mode.ReplicatedJob, TotalCompletions: count } };
  throw new ClusterError('invalid', 'scale can only be used with replicated or replicated-job mode');
}
