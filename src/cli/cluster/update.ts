import type { Command } from 'commander';
import { isKind } from '../../lib/errors.ts';
import { addedAddressPools, addressPoolsLabel, nodeGraceLabel } from '../../model/cluster-labels.ts';
import type { ClusterSpec, Labels } from '../../model/spec.ts';
import { formatDuration } from '../../stack/values.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { collectList, duration, uint } from '../options.ts';

interface Options {
  readonly addrPoolAdd?: string[];
  readonly certExpiry?: number;
  readonly dispatcherHeartbeat?: number;
  readonly nodeGrace?: number;
  readonly taskHistoryLimit?: number;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('--addr-pool-add <cidr>', 'Also take subnets of networks from this pool', collectList)
    .option('--cert-expiry <duration>', 'Validity period for node certificates (ns|us|ms|s|m|h)', duration)
    .option('--dispatcher-heartbeat <duration>', 'How often nodes give a sign of life (ns|us|ms|s|m|h)', duration)
    .option('--node-grace <duration>', 'Silence after which a node is down (0s = three heartbeats)', duration)
    .option('--task-history-limit <count>', 'Task history retention limit', uint)
    .action((options: Options) => update(ctx, options));
}

const attemptsMax = 5;

/** Settings that Docker's spec has no field for. */
function changedLabels(labels: Labels, { addrPoolAdd = [], nodeGrace }: Options): Labels {
  const { [nodeGraceLabel]: grace, ...others } = labels;
  const kept = nodeGrace === undefined ? grace : nodeGrace === 0 ? undefined : formatDuration(nodeGrace);
  const pools = [...new Set([...addedAddressPools(labels), ...addrPoolAdd])].join(',');
  return {
    ...others,
    ...(kept === undefined ? {} : { [nodeGraceLabel]: kept }),
    ...(pools === '' ? {} : { [addressPoolsLabel]: pools }),
  };
}

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
  const { certExpiry, dispatcherHeartbeat, taskHistoryLimit } = options;
  return {
    ...spec,
    Labels: changedLabels(spec.Labels ?? {}, options),
    ...(certExpiry === undefined ? {} : { CAConfig: { ...spec.CAConfig, NodeCertExpiry: certExpiry } }),
    ...(dispatcherHeartbeat === undefined ? {} : { Dispatcher: { HeartbeatPeriod: dispatcherHeartbeat } }),
    ...(taskHistoryLimit === undefined
      ? {}
      : { Orchestration: { ...spec.Orchestration, TaskHistoryRetentionLimit: taskHistoryLimit } }),
  };
}
