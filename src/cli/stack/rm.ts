import type { Command } from 'commander';
import type { Client } from '../../client/index.ts';
import { sleep } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { namespaceLabel } from '../../stack/index.ts';
import type { Context } from '../context.ts';
import { describeError } from '../describe-error.ts';

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS] STACK [STACK...]')
    .argument('<stacks...>')
    .option('-d, --detach', 'Do not wait for stack removal (default true)')
    .action(async (stacks: string[], options: { detach?: boolean }) => {
      for (const stack of stacks) await removeStack(ctx, stack, options.detach !== false);
    });
}

interface Removal {
  readonly kind: string;
  readonly name: string;
  remove(): Promise<void>;
}

async function removeStack(ctx: Context, stack: string, detach: boolean): Promise<void> {
  const client = await ctx.client();
  const removals = await find(client, stack);
  if (removals.length === 0) {
    ctx.stderr.write(`Nothing found in stack: ${stack}\n`);
    return;
  }
  for (const { kind, name, remove } of removals) {
    ctx.stdout.write(`Removing ${kind} ${name}\n`);
    try {
      await (kind === 'network' ? onceUnused(ctx, remove) : remove());
    } catch (error) {
      ctx.stderr.write(`Failed to remove ${kind} ${name}: ${describeError(error)}\n`);
      ctx.fail(1);
    }
  }
  if (!detach) await untilGone(ctx, client, stack);
}

const unusedTriesMax = 60;
const unusedRetryMs = 500;

/** A network goes when the last task of the services that were removed just now has given its address back. */
async function onceUnused(ctx: Context, remove: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await remove();
    } catch (error) {
      if (!/in use by task/.test(messageOf(error)) || attempt >= unusedTriesMax) throw error;
    }
    await sleep(ctx.clock, unusedRetryMs);
  }
}

async function find(client: Client, stack: string): Promise<Removal[]> {
  const filters = { label: [`${namespaceLabel}=${stack}`] };
  const [services, networks, secrets, configs] = await Promise.all([
    client.services(filters),
    client.networks(filters),
    client.secrets(filters),
    client.configs(filters),
  ]);
  const byName = (a: Removal, b: Removal) => (a.name < b.name ? -1 : 1);
  return [
    ...services
      .map(({ ID, Spec }): Removal => ({ kind: 'service', name: Spec.Name, remove: () => client.removeService(ID) }))
      .sort(byName),
    ...secrets
      .map(({ ID, Spec }): Removal => ({ kind: 'secret', name: Spec.Name, remove: () => client.removeSecret(ID) }))
      .sort(byName),
    ...configs
      .map(({ ID, Spec }): Removal => ({ kind: 'config', name: Spec.Name, remove: () => client.removeConfig(ID) }))
      .sort(byName),
    ...networks
      .map(({ Id, Name }): Removal => ({ kind: 'network', name: Name, remove: () => client.removeNetwork(Id) }))
      .sort(byName),
  ];
}

const pollMs = 200;
const ended = new Set(['complete', 'shutdown', 'failed', 'rejected', 'orphaned', 'remove']);

/** Waits until no task of the stack runs any more; Ctrl-C stops the waiting, not the removal. */
async function untilGone(ctx: Context, client: Client, stack: string): Promise<void> {
  let wake = () => {};
  let interrupted = false;
  const cancelInterrupt = ctx.onInterrupt(() => {
    interrupted = true;
    wake();
  });
  try {
    for (;;) {
      const tasks = await client.tasks({ label: [`${namespaceLabel}=${stack}`] });
      if (interrupted || tasks.every((task) => ended.has(task.Status.State))) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
        ctx.clock.timer(pollMs, resolve);
      });
    }
  } finally {
    cancelInterrupt();
  }
}
