import { ClusterError } from '../../lib/errors.ts';
import type { Mount } from '../../model/spec.ts';
import { splitOnce } from '../../stack/ports.ts';
import { parseBool, parseBytes, splitCsv } from '../../stack/values.ts';

interface Draft {
  type: string;
  source: string;
  target: string;
  readOnly: boolean;
  consistency: string;
  readonly bind: Record<string, unknown>;
  readonly volume: Record<string, unknown>;
  readonly driverOptions: Record<string, string>;
  readonly volumeLabels: Record<string, string>;
  driver: string;
  readonly tmpfs: Record<string, unknown>;
  readonly image: Record<string, unknown>;
}

/** `--mount type=…,source=…,target=…`, all keys of Docker's. */
export function parseMount(text: string): Mount {
  const draft: Draft = {
    type: 'volume',
    source: '',
    target: '',
    readOnly: false,
    consistency: '',
    bind: {},
    volume: {},
    driverOptions: {},
    volumeLabels: {},
    driver: '',
    tmpfs: {},
    image: {},
  };
  for (const field of splitCsv(text)) readField(draft, field);
  return finish(draft);
}

const switches = new Set(['readonly', 'ro', 'volume-nocopy', 'bind-nonrecursive', 'bind-create-src']);

function readField(draft: Draft, field: string): void {
  const [rawKey, given] = splitOnce(field, '=');
  const key = rawKey.toLowerCase();
  const value = given ?? (switches.has(key) ? 'true' : undefined);
  if (value === undefined) throw new ClusterError('invalid', `invalid field '${field}' must be a key=value pair`);
  switch (key) {
    case 'type':
      draft.type = value.toLowerCase();
      return;
    case 'source':
    case 'src':
      draft.source = value;
      return;
    case 'target':
    case 'dst':
    case 'destination':
      draft.target = value;
      return;
    case 'readonly':
    case 'ro':
      draft.readOnly = switchValue(key, value);
      return;
    case 'consistency':
      draft.consistency = value.toLowerCase();
      return;
    default:
      readTypedField(draft, { key, value, field });
  }
}

interface Field {
  readonly key: string;
  readonly value: string;
  readonly field: string;
}

function readTypedField(draft: Draft, { key, value, field }: Field): void {
  switch (key) {
    case 'bind-propagation':
      draft.bind['Propagation'] = value.toLowerCase();
      return;
    case 'bind-nonrecursive':
      draft.bind['NonRecursive'] = switchValue(key, value);
      return;
    case 'bind-create-src':
      draft.bind['CreateMountpoint'] = switchValue(key, value);
      return;
    case 'bind-recursive':
      readRecursion(draft, value);
      return;
    case 'volume-nocopy':
      draft.volume['NoCopy'] = switchValue(key, value);
      return;
    case 'volume-subpath':
      draft.volume['Subpath'] = value;
      return;
    case 'volume-label':
      addPair(draft.volumeLabels, value);
      return;
    case 'volume-driver':
      draft.driver = value;
      return;
    case 'volume-opt':
      addPair(draft.driverOptions, value);
      return;
    case 'image-subpath':
      draft.image['Subpath'] = value;
      return;
    case 'tmpfs-size':
      draft.tmpfs['SizeBytes'] = parseBytes(value);
      return;
    case 'tmpfs-mode':
      if (!/^[0-7]{1,6}$/.test(value)) throw new ClusterError('invalid', `invalid value for ${key}: ${value}`);
      draft.tmpfs['Mode'] = Number.parseInt(value, 8);
      return;
    default:
      throw new ClusterError('invalid', `unexpected key '${key}' in '${field}'`);
  }
}

function readRecursion(draft: Draft, value: string): void {
  if (value === 'enabled') return;
  const keys: Readonly<Record<string, string>> = {
    disabled: 'NonRecursive',
    writable: 'ReadOnlyNonRecursive',
    readonly: 'ReadOnlyForceRecursive',
  };
  const key = keys[value];
  if (key === undefined) {
    throw new ClusterError(
      'invalid',
      `invalid value for bind-recursive: ${value} (must be "enabled", "disabled", "writable", or "readonly")`,
    );
  }
  draft.bind[key] = true;
}

function switchValue(key: string, value: string): boolean {
  try {
    return parseBool(value);
  } catch {
    throw new ClusterError('invalid', `invalid value for ${key}: ${value}`);
  }
}

function addPair(map: Record<string, string>, text: string): void {
  const [key, value = ''] = splitOnce(text, '=');
  map[key] = value;
}

function finish(draft: Draft): Mount {
  const { type, target } = draft;
  if (type === '') throw new ClusterError('invalid', 'type is required');
  if (target === '') throw new ClusterError('invalid', 'target is required');
  const hasDriver = draft.driver !== '' || Object.keys(draft.driverOptions).length > 0;
  const volume = {
    ...draft.volume,
    ...(Object.keys(draft.volumeLabels).length > 0 ? { Labels: draft.volumeLabels } : {}),
    ...(hasDriver
      ? {
          DriverConfig: {
            ...(draft.driver === '' ? {} : { Name: draft.driver }),
            ...nonEmpty('Options', draft.driverOptions),
          },
        }
      : {}),
  };
  const parts = { volume, bind: draft.bind, tmpfs: draft.tmpfs, image: draft.image };
  for (const [kind, options] of Object.entries(parts)) {
    if (Object.keys(options).length > 0 && kind !== type) {
      throw new ClusterError('invalid', `cannot mix '${kind}-*' options with mount type '${type}'`);
    }
  }
  return {
    Type: type,
    ...(draft.source === '' ? {} : { Source: draft.source }),
    Target: target,
    ...(draft.readOnly ? { ReadOnly: true } : {}),
    ...(draft.consistency === '' ? {} : { Consistency: draft.consistency }),
    ...nonEmpty('BindOptions', draft.bind),
    ...nonEmpty('VolumeOptions', volume),
    ...nonEmpty('TmpfsOptions', draft.tmpfs),
    ...nonEmpty('ImageOptions', draft.image),
  };
}

function nonEmpty(key: string, value: Record<string, unknown>): Record<string, unknown> {
  return Object.keys(value).length === 0 ? {} : { [key]: value };
}
