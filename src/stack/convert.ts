/** A checked stack file → what is posted to the API. Pure: file contents and environment come in. */
import { ClusterError } from '../lib/errors.ts';
import type { ServiceSpec } from '../model/spec.ts';
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
  readonly IPAM: { readonly Driver: string; readonly Config: readonly { readonly Subnet: string }[] } | null;
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

/**
 * The networks that services name. There is no network that every service joins without being told: overlay networks are
 * asked for explicitly, `default` by declaring it at the top level.
 */
function usedNetworks(file: StackFile): string[] {
  const used = new Set<string>();
  for (const [name, service] of Object.entries(file.services)) {
    const keys = service.networks === undefined ? [] : Object.keys(service.networks);
    for (const key of keys) {
      if (file.networks[key] === undefined && key !== 'default') {
        throw new ClusterError(
          'invalid',
          `service "${name}" refers to undefined network ${key}: declare it under networks`,
        );
      }
      used.add(key);
    }
    if (keys.length === 0 && file.networks['default'] !== undefined) used.add('default');
  }
  return [...used].sort();
}

function networkPlan(stack: string, key: string, entry: NetworkEntry): NetworkPlan {
  const subnets = (entry.ipam?.config ?? []).flatMap(({ subnet }) =>
    subnet === undefined ? [] : [{ Subnet: subnet }],
  );
  return {
    Name: scopedName(stack, key, entry),
    Driver: entry.driver ?? 'overlay',
    Options: entry.driver_opts ?? {},
    Labels: stackLabels(stack, entry.labels),
    Internal: entry.internal ?? false,
    Attachable: entry.attachable ?? false,
    IPAM: entry.ipam === undefined ? null : { Driver: entry.ipam.driver ?? '', Config: subnets },
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
