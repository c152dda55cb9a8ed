/** Several files → one: later files win for single values, mappings merge, lists append (a few merge by a key). */
import { ClusterError } from '../lib/errors.ts';
import { type Data, isData, type ServiceEntry, type StackFile } from './document.ts';

export function mergeFiles(files: readonly StackFile[]): StackFile {
  const [first, ...others] = files;
  if (first === undefined) throw new ClusterError('invalid', 'no stack file given: use -c FILE');
  return others.reduce(mergeTwo, first);
}

function mergeTwo(base: StackFile, other: StackFile): StackFile {
  if (base.version !== other.version) {
    throw new ClusterError(
      'invalid',
      `version mismatched between two composefiles : ${base.version} and ${other.version}`,
    );
  }
  return {
    version: base.version,
    services: mergeMaps(base.services, other.services, mergeService),
    networks: mergeMaps(base.networks, other.networks, overlay),
    volumes: mergeMaps(base.volumes, other.volumes, overlay),
    secrets: mergeMaps(base.secrets, other.secrets, overlay),
    configs: mergeMaps(base.configs, other.configs, overlay),
  };
}

function mergeMaps<T>(
  base: Readonly<Record<string, T>>,
  other: Readonly<Record<string, T>>,
  merge: (a: T, b: T) => T,
): Record<string, T> {
  const result: Record<string, T> = { ...base };
  for (const [key, value] of Object.entries(other)) {
    const existing = Object.hasOwn(base, key) ? base[key] : undefined;
    result[key] = existing === undefined ? value : merge(existing, value);
  }
  return result;
}

function overlay<T extends object>(base: T, other: T): T {
  return { ...base, ...other };
}

type Merge = (base: unknown, other: unknown) => unknown;

const replace: Merge = (_base, other) => other;

const byKey =
  (keyOf: (item: Data) => unknown): Merge =>
  (base, other) => {
    const items = new Map<unknown, unknown>();
    for (const item of [...asList(base), ...asList(other)]) items.set(isData(item) ? keyOf(item) : item, item);
    return [...items.values()];
  };

const rules: Readonly<Record<string, Merge>> = {
  command: replace,
  entrypoint: replace,
  ulimits: replace,
  ports: byKey(
    ({ host_ip = '', published, target, protocol = 'tcp' }) =>
      `${String(host_ip)}:${String(published ?? `target ${String(target)}`)}/${String(protocol)}`,
  ),
  volumes: (base, other) => sortBy(byKey((volume) => volume['target'])(base, other), 'target'),
  secrets: byKey((use) => use['source']),
  configs: byKey((use) => use['source']),
  networks: (base, other) => ({ ...(isData(base) ? base : {}), ...(isData(other) ? other : {}) }),
  logging: (base, other) =>
    isData(base) &&
    isData(other) &&
    (base['driver'] === other['driver'] || other['driver'] === undefined || base['driver'] === undefined)
      ? mergeValue(base, other)
      : other,
};

function mergeService(base: ServiceEntry, other: ServiceEntry): ServiceEntry {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(other)) {
    result[key] = base[key] === undefined ? value : (rules[key] ?? mergeValue)(base[key], value);
  }
  return result;
}

function mergeValue(base: unknown, other: unknown): unknown {
  if (Array.isArray(base) && Array.isArray(other))
    return [...base, ...other.filter((item) => isData(item) || !base.includes(item))];
  if (!isData(base) || !isData(other)) return other;
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(other)) {
    // `test` is one command, not a list to append to.
    result[key] = base[key] === undefined || key === 'test' ? value : mergeValue(base[key], value);
  }
  return result;
}

function sortBy(value: unknown, key: string): unknown[] {
  const text = (item: unknown) => (isData(item) ? String(item[key]) : '');
  return [...asList(value)].sort((a, b) => (text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0));
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
