/**
 * What was given and is free now rests before anyone else gets it: virtual addresses of a service, the place of a node. Written
 * with the change that frees it, so that whoever leads knows.
 */
import { withoutPrefix } from '../../model/ip.ts';
import { addressRestMs } from '../../model/network.ts';
import type { NetworkAddresses } from '../../model/objects.ts';
import type { Transaction } from './port.ts';

/** Nodes removed within a minute that are remembered; more are removed by nobody. */
const placesMax = 10_000;

export function restAddresses(tx: Transaction, freed: readonly NetworkAddresses[]): void {
  for (const { networkId, addresses } of freed) {
    const network = tx.get('network', networkId);
    if (network === undefined || addresses.length === 0) continue;
    const { meta: _, resting = {}, ...draft } = network;
    const still = Object.entries(resting).filter(([, until]) => until > tx.now);
    const added = addresses.map((address) => [withoutPrefix(address), tx.now + addressRestMs] as const);
    tx.update('network', { ...draft, resting: Object.fromEntries([...still, ...added]) });
  }
}

/** To be called before the node is removed. It may be running yet, cut off from the managers. */
export function restPlace(tx: Transaction, nodeId: string): void {
  const place = tx.get('node', nodeId)?.network;
  const cluster = tx.cluster();
  if (place === undefined || cluster === undefined) return;
  const { meta: _, restingPlaces = {}, ...draft } = cluster;
  const still = Object.entries(restingPlaces).filter(([id, { until }]) => until > tx.now && id !== nodeId);
  const added = [nodeId, { ...place, until: tx.now + addressRestMs }] as const;
  tx.update('cluster', { ...draft, restingPlaces: Object.fromEntries([...still.slice(1 - placesMax), added]) });
}
