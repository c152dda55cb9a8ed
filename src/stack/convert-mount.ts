import { ClusterError } from '../lib/errors.ts';
import type { Mount } from '../model/spec.ts';
import type { VolumeUse } from './document.ts';
import { type ConvertInput, scopedName, stackLabels } from './names.ts';

export function convertMount(use: VolumeUse, input: ConvertInput): Mount {
  if (use.target === '') throw new ClusterError('invalid', 'invalid volume: target is missing');
  const base = {
    Type: use.type,
    Target: use.target,
    ...(use.read_only === true ? { ReadOnly: true } : {}),
    ...(use.consistency === undefined ? {} : { Consistency: use.consistency }),
  };
  for (const part of ['bind', 'volume', 'tmpfs'] as const) {
    if (use[part] !== undefined && use.type !== part) {
      throw new ClusterError('invalid', `${part} options are incompatible with type ${use.type}`);
    }
  }
  switch (use.type) {
    case 'volume':
      return { ...base, ...volumeParts(use, input) };
    case 'bind': {
      const propagation = use.bind?.propagation;
      return {
        ...base,
        Source: use.source ?? '',
        ...(propagation === undefined ? {} : { BindOptions: { Propagation: propagation } }),
      };
    }
    case 'tmpfs':
      if (use.source !== undefined) throw new ClusterError('invalid', 'invalid tmpfs source, source must be empty');
      return { ...base, ...(use.tmpfs?.size === undefined ? {} : { TmpfsOptions: { SizeBytes: use.tmpfs.size } }) };
    default:
      return { ...base, ...(use.source === undefined ? {} : { Source: use.source }) };
  }
}

function volumeParts(use: VolumeUse, { stack, file }: ConvertInput): Pick<Mount, 'Source' | 'VolumeOptions'> {
  const own = {
    ...(use.volume?.nocopy === true ? { NoCopy: true } : {}),
    ...(use.volume?.subpath === undefined ? {} : { Subpath: use.volume.subpath }),
  };
  const plain = Object.keys(own).length > 0 ? { VolumeOptions: own } : {};
  if (use.source === undefined || use.source === '') return plain;
  const entry = Object.hasOwn(file.volumes, use.source) ? file.volumes[use.source] : undefined;
  if (entry === undefined) throw new ClusterError('invalid', `undefined volume "${use.source}"`);
  const source = scopedName(stack, use.source, entry);
  if (entry.external === true) return { Source: source, ...plain };
  const driver = {
    ...(entry.driver === undefined ? {} : { Name: entry.driver }),
    ...(entry.driver_opts === undefined ? {} : { Options: entry.driver_opts }),
  };
  return {
    Source: source,
    VolumeOptions: {
      ...own,
      Labels: stackLabels(stack, entry.labels),
      ...(Object.keys(driver).length > 0 ? { DriverConfig: driver } : {}),
    },
  };
}
