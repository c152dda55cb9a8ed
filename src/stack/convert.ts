/** A checked stack file → what is posted to the API. Pure: file contents and environment come in. */
import { ClusterError } from '../lib/errors.ts';
import type { NetworkSpec, ServiceSpec } from '../model/spec.ts';
import { networkUses } from './attachments.ts';
import { convertService } from './convert-service.ts';
import type { FileEntry, NetworkEntry, Pairs, StackFile } from './document.ts';
import { type ConvertInput, scopedName, stackLabels } from './names.ts';

/** References inside a service still go by name: ids are known only to the cluster. */
export interface ServicePlan {
  readonly spec: ServiceSpec;
  /** The service's name in the file. */
  readonly key: string;
}

export interface FilePlan {
  readonly Name: string;
  readonly Labels: Pairs;
  readonly Data?: string;
  readonly Driver?: { readonly Name: string; readonly Options?: Pairs };
  readonly Templating?: { readonly Name: string };
}

export interface NetworkPlan {
  readonly Name: string;
  readonly Driver: string;
  readonly Options: Pairs;
  readonly Labels: Pairs;
  readonly Internal: boolean;
  readonly Attachable: boolean;
  /** Only when the file says so. */
  readonly EnableIPv6?: boolean;
  readonly IPAM: NonNullable<NetworkSpec['IPAM']> | null;
}

export interface StackPlan {
  readonly services: readonly ServicePlan[];
  readonly networks: readonly NetworkPlan[];
  /** Names that must exist already. */
  readonly externalNetworks: readonly string[];
  readonly secrets: readonly FilePlan[];
  readonly configs: readonly FilePlan[];
}

export function convertStack(input: ConvertInput): StackPlan {
  const { file, stack } = input;
  if (stack.trim() === '') throw new ClusterError('invalid', 'invalid stack name: must not be empty');
  const used = usedNetworks(file);
  const external = used
    .filter((key) => file.networks[key]?.external === true)
    .map((key) => file.networks[key]?.name ?? key);
  const own = used.filter((key) => file.networks[key]?.external !== true);
  return {
    services: Object.keys(file.services)
      .sort()
      .map((key) => ({ key, spec: convertService(key, input) })),
    networks: own.map((key) => networkPlan(stack, key, file.networks[key] ?? {})),
    externalNetworks: external,
    secrets: filePlans(input, file.secrets),
    configs: filePlans(input, file.configs),
  };
}

/** The networks that services are on: those they name, or `default`. */
function usedNetworks(file: StackFile): string[] {
  const used = new Set<string>();
  for (const [name, service] of Object.entries(file.services)) {
    for (const key of Object.keys(networkUses(name, service))) {
      if (file.networks[key] === undefined && key !== 'default') {
        throw new ClusterError(
          'invalid',
          `service "${name}" refers to undefined network ${key}: declare it under networks`,
        );
      }
      used.add(key);
    }
  }
  return [...used].sort();
}

function networkPlan(stack: string, key: string, entry: NetworkEntry): NetworkPlan {
  return {
    Name: scopedName(stack, key, entry),
    Driver: entry.driver ?? 'overlay',
    Options: entry.driver_opts ?? {},
    Labels: stackLabels(stack, entry.labels),
    Internal: entry.internal ?? false,
    Attachable: entry.attachable ?? false,
    ...(entry.enable_ipv6 === undefined ? {} : { EnableIPv6: entry.enable_ipv6 }),
    IPAM: entry.ipam === undefined ? null : ipam(entry.ipam),
  };
}

function ipam(entry: NonNullable<NetworkEntry['ipam']>): NonNullable<NetworkPlan['IPAM']> {
  const configs = (entry.config ?? []).map(({ subnet, ip_range: range, gateway, aux_addresses: reserved }) => ({
    ...(subnet === undefined ? {} : { Subnet: subnet }),
    ...(range === undefined ? {} : { IPRange: range }),
    ...(gateway === undefined ? {} : { Gateway: gateway }),
    ...(reserved === undefined ? {} : { AuxiliaryAddresses: reserved }),
  }));
  return {
    Driver: entry.driver ?? '',
    ...(entry.options === undefined ? {} : { Options: entry.options }),
    Config: configs.filter((config) => Object.keys(config).length > 0),
  };
}

function filePlans({ stack, contents }: ConvertInput, entries: Readonly<Record<string, FileEntry>>): FilePlan[] {
  return Object.entries(entries)
    .filter(([, entry]) => entry.external !== true)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, entry]) => {
      const data = entry.file === undefined ? undefined : contents.get(entry.file);
      if (data === undefined && entry.driver === undefined) {
        throw new ClusterError('invalid', `"${key}" needs one of: file, driver, external`);
      }
      return {
        Name: scopedName(stack, key, entry),
        Labels: stackLabels(stack, entry.labels),
        ...(data === undefined || entry.driver !== undefined ? {} : { Data: toBase64(data) }),
        ...(entry.driver === undefined
          ? {}
          : {
              Driver: {
                Name: entry.driver,
                ...(entry.driver_opts === undefined ? {} : { Options: entry.driver_opts }),
              },
            }),
        ...(entry.template_driver === undefined ? {} : { Templating: { Name: entry.template_driver } }),
      };
    });
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}
