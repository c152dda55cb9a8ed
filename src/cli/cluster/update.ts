import type { Command } from 'commander';
import { isKind } from '../../lib/errors.ts';
import { nodeGraceLabel } from '../../model/cluster-labels.ts';
import type { ClusterSpec } from '../../model/spec.ts';
import { formatDuration } from '../../stack/values.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { duration, uint } from '../options.ts';

interface Options {
  readonly certExpiry?: number;
  readonly dispatcherHeartbeat?: number;
  readonly nodeGrace?: number;
  readonly taskHistoryLimit?: number;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('--cert-expiry <duration>', 'Validity period for node certificates (ns|us|ms|s|m|h)', duration)
    .option('--dispatcher-heartbeat <duration>', 'How often nodes give a sign of life (ns|us|ms|s|m|h)', duration)
    .option('--node-grace <duration>', 'Silence after which a node is down (0s = three heartbeats)', duration)
    .option('--task-history-limit <count>', 'Task history retention limit', uint)
    .action((options: Options) => update(ctx, options));
}

const attemptsMax = 5;

async function update(ctx: Context, options: Options): Promise<void> {
  if (Object.keys(options).length === 0) throw new CliError('Error: nothing to update: see "tscluster update --help"');
  const client = await ctx.client();
  for (let attempt = 1; ; attempt++) {
    const swarm = await client.swarm();
    try {
      await client.updateSwarm(changed(swarm.Spec, options), { version: swarm.Version.Index });
      ctx.stdout.write('Cluster updated.\n');
      return;
    } catch (error) {
      if (!isKind(error, 'conflict') || attempt >= attemptsMax) throw error;
    }
  }
}

function changed(spec: ClusterSpec, options: Options): ClusterSpec {
  const { certExpiry, dispatcherHeartbeat, nodeGrace, taskHistoryLimit } = options;
  const { [nodeGraceLabel]: _, ...others } = spec.Labels ?? {};
  const grace = nodeGrace === 0 ? {} : { [nodeGraceLabel]: formatDuration(nodeGrace ?? 0) };
  return {
    ...spec,
    ...(nodeGrace === undefined ? {} : { Labels: { ...others, ...grace } }),
    ...(certExpiry === undefined ? {} : { CAConfig: { ...spec.CAConfig, NodeCertExpiry: certExpiry } }),
    ...(dispatcherHeartbeat === undefined ? {} : { Dispatcher: { HeartbeatPeriod: dispatcherHeartbeat } }),
    ...(taskHistoryLimit === undefined
      ? {}
      : { Orchestration: { ...spec.Orchestration, TaskHistoryRetentionLimit: taskHistoryLimit } }),
  };
}
