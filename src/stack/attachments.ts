/** Which networks a service is on, and by which names it is known there. */
import { ClusterError } from '../lib/errors.ts';
import { isPseudoNetwork } from '../model/network.ts';
import type { NetworkAttachmentConfig } from '../model/spec.ts';
import type { NetworkUse, ServiceEntry } from './document.ts';
import { type ConvertInput, scopedName } from './names.ts';

type Uses = Readonly<Record<string, NetworkUse | null>>;

/** By their names in the file; empty for `network_mode`, which takes the place of networks. */
export function networkUses(key: string, entry: ServiceEntry): Uses {
  const named = entry.networks ?? {};
  if (entry.network_mode !== undefined) {
    if (Object.keys(named).length > 0)
      throw new ClusterError('invalid', `services.${key}: network_mode and networks can't be set at the same time`);
    return {};
  }
  return Object.keys(named).length > 0 ? named : { default: null };
}

export function attachments(
  key: string,
  entry: ServiceEntry,
  { stack, file }: ConvertInput,
): NetworkAttachmentConfig[] {
  if (entry.network_mode !== undefined) return [{ Target: pseudoNetwork(key, entry.network_mode) }];
  return Object.entries(networkUses(key, entry))
    .map(([name, use]) => {
      const target = scopedName(stack, name, file.networks[name]);
      const aliases = isPseudoNetwork(target) ? (use?.aliases ?? []) : [...(use?.aliases ?? []), key];
      return {
        Target: target,
        ...(aliases.length === 0 ? {} : { Aliases: aliases }),
        ...(use?.driver_opts === undefined ? {} : { DriverOpts: use.driver_opts }),
      };
    })
    .sort((a, b) => (a.Target < b.Target ? -1 : 1));
}

function pseudoNetwork(key: string, mode: string): string {
  if (isPseudoNetwork(mode)) return mode;
  throw new ClusterError(
    'invalid',
    `services.${key}.network_mode: "${mode}" is not supported: use host, none or bridge, or name networks`,
  );
}
