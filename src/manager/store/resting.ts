/** Virtual addresses that a service had rest before anyone else gets them: written with the change that frees them. */
import { withoutPrefix } from '../../model/ip.ts';
import { addressRestMs } from '../../model/network.ts';
import type { NetworkAddresses } from '../../model/objects.ts';
import type { Transaction } from './port.ts';

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
