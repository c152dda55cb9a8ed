import { ClusterError } from '../../lib/errors.ts';
import {
  addedAddressPools,
  addressPoolsLabel,
  addressPoolsMax,
  nodeGraceLabel,
  nodeGraceMaxMs,
} from '../../model/cluster-labels.ts';
import { nanosToMs } from '../../model/defaults.ts';
import { durationMs } from '../../model/duration.ts';
import { type Block, formatBlock, overlaps, parseBlock } from '../../model/ip.ts';
import { defaultClusterNetwork } from '../../model/network.ts';
import type { Cluster } from '../../model/objects.ts';
import type { ClusterSpec } from '../../model/spec.ts';
import { checkVersion, type Handler, invalid, unsupported } from './context.ts';

const hour = 3_600_000_000_000;

export const updateCluster: Handler<'cluster.update'> = async ({ store, makeJoinToken }, request) => {
  const { spec } = request;
  await store.transact((tx) => {
    const cluster = tx.cluster();
    if (cluster === undefined) throw new ClusterError('not_found', 'cluster not found');
    checkVersion(cluster, request.version);
    checkClusterSpec(spec, cluster.spec);
    checkAddressPools({ ...cluster, spec });
    const tokens = cluster.rootCa.joinTokens;
    const joinTokens = {
      worker: request.rotateWorkerToken ? makeJoinToken(cluster.rootCa.certPem) : tokens.worker,
      manager: request.rotateManagerToken ? makeJoinToken(cluster.rootCa.certPem) : tokens.manager,
    };
    const { meta: _, ...draft } = cluster;
    tx.update('cluster', { ...draft, spec, rootCa: { ...cluster.rootCa, joinTokens } });
  });
  return {};
};

function checkClusterSpec(spec: ClusterSpec, stored: ClusterSpec): void {
  if (spec.Name !== stored.Name) throw invalid(`swarm spec must be named "${stored.Name}"`);
  if (spec.EncryptionConfig.AutoLockManagers) throw unsupported('autolock is');
  if (spec.TaskDefaults.LogDriver?.Name) throw unsupported('a default log driver is');
  if (spec.CAConfig.NodeCertExpiry < hour) throw invalid('minimum certificate expiry time is 1h0m0s');
  if (spec.Dispatcher.HeartbeatPeriod < 0) throw invalid('heartbeat time period cannot be a negative duration');
  if (spec.Dispatcher.HeartbeatPeriod === 0) throw invalid('heartbeat time period cannot be zero');
  if (!Number.isSafeInteger(spec.Orchestration.TaskHistoryRetentionLimit)) throw invalid('invalid task history limit');
  checkNodeGrace(spec);
  checkRaft(spec, stored);
}

function checkNodeGrace({ Labels: labels, Dispatcher: { HeartbeatPeriod } }: ClusterSpec): void {
  const text = labels !== undefined && Object.hasOwn(labels, nodeGraceLabel) ? labels[nodeGraceLabel] : undefined;
  if (text === undefined) return;
  const graceMs = durationMs(text);
  if (graceMs === undefined) throw invalid(`label ${nodeGraceLabel}: invalid duration "${text}"`);
  if (graceMs > nodeGraceMaxMs) throw invalid(`label ${nodeGraceLabel}: at most 10m, not "${text}"`);
  if (graceMs < 2 * nanosToMs(HeartbeatPeriod)) {
    throw invalid(`label ${nodeGraceLabel}: "${text}" is less than two heartbeat periods`);
  }
}

/** Pools are added; what has been given out of one stays when the pool is taken out of the label again. */
function checkAddressPools(cluster: Cluster): void {
  const pools = addedAddressPools(cluster.spec.Labels);
  if (pools.length > addressPoolsMax) throw invalid(`label ${addressPoolsLabel}: at most ${addressPoolsMax} pools`);
  const { addressPools, subnetSize, gatewayPools, ingressPool } = cluster.network ?? defaultClusterNetwork;
  const others = [...addressPools, ...gatewayPools, ingressPool];
  for (const pool of pools) {
    const block = parseBlock(pool);
    if (block?.family !== 4) throw invalid(`label ${addressPoolsLabel}: "${pool}" is no IPv4 block such as 10.0.0.0/8`);
    if (formatBlock(block) !== pool)
      throw invalid(`label ${addressPoolsLabel}: "${pool}" should be ${formatBlock(block)}`);
    if (block.prefix > subnetSize) {
      throw invalid(`label ${addressPoolsLabel}: "${pool}" is smaller than one subnet (/${subnetSize})`);
    }
    const other = others.find((one) => overlap(one, block));
    if (other !== undefined) throw invalid(`label ${addressPoolsLabel}: "${pool}" overlaps with ${other}`);
    others.push(pool);
  }
}

function overlap(text: string, block: Block): boolean {
  const other = parseBlock(text);
  return other !== undefined && overlaps(other, block);
}

/** The managers read these at their start, from their own defaults: changing one here would be without effect. */
function checkRaft(spec: ClusterSpec, stored: ClusterSpec): void {
  for (const key of Object.keys(stored.Raft) as (keyof ClusterSpec['Raft'])[]) {
    if (spec.Raft[key] !== stored.Raft[key]) throw unsupported(`changing Raft.${key} is`);
  }
}
