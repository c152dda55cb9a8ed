/** Cluster labels that mean something to the managers: settings that Docker's spec has no field for. */
import { durationMs } from './duration.ts';
import { defaultClusterNetwork } from './network.ts';
import type { ClusterNetwork } from './objects.ts';
import type { Labels } from './spec.ts';

/** How long a node may be silent before it counts as down; absent = three beats. */
export const nodeGraceLabel = 'tscluster.node-grace';
export const nodeGraceMaxMs = 10 * 60_000;

/** Milliseconds; undefined for a label that is absent or unreadable (the control API refuses the latter). */
export function nodeGraceMs(labels: Labels | undefined): number | undefined {
  const text = labels !== undefined && Object.hasOwn(labels, nodeGraceLabel) ? labels[nodeGraceLabel] : undefined;
  const graceMs = text === undefined ? undefined : durationMs(text);
  return graceMs === undefined ? undefined : Math.min(nodeGraceMaxMs, graceMs);
}

/** Blocks in CIDR form, separated by commas: subnets of overlay networks are also cut out of these, once the cluster's own pools are used up. */
export const addressPoolsLabel = 'tscluster.addr-pools';
/** Pools in the label. */
export const addressPoolsMax = 64;

/** The label's pools as they are written; empty for a label that is absent. Whether they are blocks is the control API's business. */
export function addedAddressPools(labels: Labels | undefined): readonly string[] {
  const text = labels !== undefined && Object.hasOwn(labels, addressPoolsLabel) ? labels[addressPoolsLabel] : undefined;
  return (text ?? '')
    .split(',')
    .map((pool) => pool.trim())
    .filter((pool) => pool !== '');
}

/** Where the cluster takes addresses from, with the pools that were added later. */
export function clusterNetworkOf(
  cluster: { readonly network?: ClusterNetwork; readonly spec: { readonly Labels: Labels } } | undefined,
): ClusterNetwork {
  const network = cluster?.network ?? defaultClusterNetwork;
  const added = addedAddressPools(cluster?.spec.Labels).filter((pool) => !network.addressPools.includes(pool));
  return added.length === 0 ? network : { ...network, addressPools: [...network.addressPools, ...added] };
}
