import type { Command } from 'commander';
import type { InitBody } from '../../client/index.ts';
import type { Context } from '../context.ts';
import { addDaemonFlags, daemonFlagValues } from '../daemon/flags.ts';
import { CliError } from '../failure.ts';
import { collect, collectList, duration, uint } from '../options.ts';
import { ensureDaemon } from './ensure-daemon.ts';
import { adoptSocket } from './host-of.ts';

interface Options {
  readonly advertiseAddr?: string;
  readonly autolock?: boolean;
  readonly availability?: string;
  readonly certExpiry?: number;
  readonly dataPathAddr?: string;
  readonly dataPathPort?: number;
  readonly defaultAddrPool?: string[];
  readonly defaultAddrPoolMaskLength?: number;
  readonly dispatcherHeartbeat?: number;
  readonly externalCa?: string[];
  readonly forceNewCluster?: boolean;
  readonly gatewayPool?: string[];
  readonly ingressPool?: string;
  readonly listenAddr?: string;
  readonly maxSnapshots?: number;
  readonly snapshotInterval?: number;
  readonly taskHistoryLimit?: number;
}

export function define(command: Command, ctx: Context): void {
  command
    .usage('[OPTIONS]')
    .option('--autolock', 'Enable manager autolocking (requiring an unlock key to start a stopped manager)')
    .option('--availability <availability>', 'Availability of the node ("active", "pause", "drain")')
    .option('--cert-expiry <duration>', 'Validity period for node certificates (ns|us|ms|s|m|h)', duration)
    .option('--data-path-addr <addr>', 'Address or interface to use for data path traffic')
    .option('--data-path-port <port>', 'Port number to use for data path traffic (1024 - 49151, default 4789)', uint)
    .option('--default-addr-pool <cidr>', 'Default address pool in CIDR format (default 10.0.0.0/8)', collectList)
    .option('--default-addr-pool-mask-length <bits>', 'Default address pool subnet mask length (default 24)', uint)
    .option('--dispatcher-heartbeat <duration>', 'Dispatcher heartbeat period (ns|us|ms|s|m|h)', duration)
    .option('--external-ca <spec>', 'Specifications of one or more certificate signing endpoints', collect)
    .option('--force-new-cluster', 'Force create a new cluster from current state')
    .option(
      '--gateway-pool <cidr>',
      "Pool for containers' own links to their node, a /24 each (default 172.28.0.0/14)",
      collectList,
    )
    .option(
      '--ingress-pool <cidr>',
      'Pool for the link that carries published ports between nodes (default 10.255.0.0/16)',
    )
    .option('--max-snapshots <count>', 'Number of additional Raft snapshots to retain', uint)
    .option('--snapshot-interval <count>', 'Number of log entries between Raft snapshots', uint)
    .option('--task-history-limit <count>', 'Task history retention limit', uint);
  addDaemonFlags(command, []);
  command.action(async (options: Options) => {
    adoptSocket(command);
    checkAvailability(options.availability);
    await ensureDaemon(ctx, daemonFlagValues({ ...options }));
    await init(ctx, options);
  });
}

export function checkAvailability(value: string | undefined): void {
  if (value === undefined || ['active', 'pause', 'drain'].includes(value)) return;
  throw new CliError(`Error: invalid availability "${value}", only active, pause and drain are supported`);
}

async function init(ctx: Context, options: Options): Promise<void> {
  const client = await ctx.client();
  const nodeId = await client.initSwarm({
    ListenAddr: options.listenAddr ?? '',
    AdvertiseAddr: options.advertiseAddr ?? '',
    DataPathAddr: options.dataPathAddr ?? '',
    DataPathPort: options.dataPathPort ?? 0,
    ForceNewCluster: options.forceNewCluster ?? false,
    Spec: clusterSettings(options),
    AutoLockManagers: options.autolock ?? false,
    Availability: options.availability ?? 'active',
    DefaultAddrPool: options.defaultAddrPool ?? [],
    SubnetSize: options.defaultAddrPoolMaskLength ?? 24,
    ...ownPools(options),
  });
  const [swarm, node] = await Promise.all([client.swarm(), client.node(nodeId)]);
  const addr = node.ManagerStatus?.Addr ?? '';
  const join = (token: string) => `    tscluster join --token ${token} ${addr}\n`;
  ctx.stdout.write(
    `Cluster initialized: current node (${nodeId}) is now a manager.\n\n` +
      `To add a worker to this cluster, run the following command:\n\n${join(swarm.JoinTokens?.Worker ?? '')}\n` +
      `To add a manager to this cluster, run the following command:\n\n${join(swarm.JoinTokens?.Manager ?? '')}\n`,
  );
}

function ownPools({ gatewayPool, ingressPool }: Options): Pick<InitBody, 'TsCluster'> {
  if (gatewayPool === undefined && ingressPool === undefined) return {};
  return {
    TsCluster: {
      ...(gatewayPool === undefined ? {} : { GatewayPools: gatewayPool }),
      ...(ingressPool === undefined ? {} : { IngressPool: ingressPool }),
    },
  };
}

/** Only what was asked for: the daemon has its own defaults. */
function clusterSettings(options: Options): Record<string, unknown> {
  const raft = {
    ...(options.snapshotInterval === undefined ? {} : { SnapshotInterval: options.snapshotInterval }),
    ...(options.maxSnapshots === undefined ? {} : { KeepOldSnapshots: options.maxSnapshots }),
  };
  const ca = {
    ...(options.certExpiry === undefined ? {} : { NodeCertExpiry: options.certExpiry }),
    ...(options.externalCa === undefined
      ? {}
      : { ExternalCAs: options.externalCa.map((URL) => ({ Protocol: 'cfssl', URL })) }),
  };
  return {
    ...(options.taskHistoryLimit === undefined
      ? {}
      : { Orchestration: { TaskHistoryRetentionLimit: options.taskHistoryLimit } }),
    ...(Object.keys(raft).length > 0 ? { Raft: raft } : {}),
    ...(options.dispatcherHeartbeat === undefined
      ? {}
      : { Dispatcher: { HeartbeatPeriod: options.dispatcherHeartbeat } }),
    ...(Object.keys(ca).length > 0 ? { CAConfig: ca } : {}),
    ...(options.autolock === true ? { EncryptionConfig: { AutoLockManagers: true } } : {}),
  };
}
