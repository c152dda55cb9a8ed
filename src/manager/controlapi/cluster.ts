import { ClusterError } from '../../lib/errors.ts';
import { nodeGraceLabel, nodeGraceMaxMs } from '../../model/cluster-labels.ts';
import { nanosToMs } from '../../model/defaults.ts';
import { durationMs } from '../../model/duration.ts';
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

/** The managers read these at their start, from their own defaults: changing one here would be without effect. */
function checkRaft(spec: ClusterSpec, stored: ClusterSpec): void {
  for (const key of Object.keys(stored.Raft) as (keyof ClusterSpec['Raft'])[]) {
    if (spec.Raft[key] !== stored.Raft[key]) throw unsupported(`changing Raft.${key} is`);
  }
}
