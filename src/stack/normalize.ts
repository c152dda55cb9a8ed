/** Short forms → long forms: one way to say each thing from here on. The data has passed `check.ts`. */
import { ClusterError } from '../lib/errors.ts';
import type {
  Data,
  Environment,
  FileUse,
  NetworkUse,
  Pairs,
  PortEntry,
  ServiceEntry,
  StackFile,
  VolumeUse,
} from './document.ts';
import { isData } from './document.ts';
import { parseShortPort } from './ports.ts';
import { splitWords } from './values.ts';

/** Makes paths of the file absolute; `~` is the user's home. */
export type PathResolver = (path: string) => string;

export function normalize(data: Data, version: string, paths: PathResolver): StackFile {
  const section = <T>(key: string, read: (value: Data, name: string) => T): Record<string, T> => {
    const entries = isData(data[key]) ? Object.entries(data[key]) : [];
    const kept = entries.filter(([name]) => !name.startsWith('x-'));
    return Object.fromEntries(kept.map(([name, value]) => [name, read(isData(value) ? value : {}, name)]));
  };
  const file: StackFile = {
    version,
    services: section('services', (value, name) => normalizeService(value, { name, paths })),
    networks: section('networks', (value, name) => withIpam(topLevel(value, name))),
    volumes: section('volumes', topLevel),
    secrets: section('secrets', (value, name) => withFile(topLevel(value, name), paths)),
    configs: section('configs', (value, name) => withFile(topLevel(value, name), paths)),
  };
  return file;
}

/** `external: {name: x}` is the old spelling of `external: true` and `name: x`. */
function topLevel(value: Data, key: string): Data {
  const { external, labels, driver_opts: options, ...rest } = value;
  const nested = isData(external) ? external['name'] : undefined;
  const isExternal = external === true || isData(external);
  if (isData(external) && typeof nested === 'string' && rest['name'] !== undefined) {
    throw new ClusterError('invalid', `${key}.external.name and ${key}.name conflict; only use ${key}.name`);
  }
  const name = nested ?? rest['name'] ?? (isExternal ? key : undefined);
  return {
    ...rest,
    ...(name === undefined ? {} : { name }),
    ...(isExternal ? { external: true } : {}),
    ...(labels === undefined ? {} : { labels: pairs(labels) }),
    ...(options === undefined ? {} : { driver_opts: pairs(options) }),
  };
}

function withIpam(value: Data): Data {
  const { ipam } = value;
  return isData(ipam) && ipam['options'] !== undefined
    ? { ...value, ipam: { ...ipam, options: pairs(ipam['options']) } }
    : value;
}

function withFile(value: Data, paths: PathResolver): Data {
  return typeof value['file'] === 'string' ? { ...value, file: paths(value['file']) } : value;
}

interface ServiceContext {
  readonly name: string;
  readonly paths: PathResolver;
}

type Reader = (value: unknown, context: ServiceContext) => unknown;

const readers: Readonly<Record<string, Reader>> = {
  command: words,
  entrypoint: words,
  environment: (value) => environment(value),
  env_file: (value, { paths }) => strings(value).map(paths),
  labels: (value) => pairs(value),
  sysctls: (value) => pairs(value),
  dns: strings,
  dns_search: strings,
  extra_hosts: (value) => extraHosts(value),
  ports: (value) => list(value).flatMap(ports),
  volumes: (value, context) => list(value).map((volume) => volumeUse(volume, context)),
  networks: (value) => networkUses(value),
  secrets: (value) => list(value).map(fileUse),
  configs: (value) => list(value).map(fileUse),
  healthcheck: (value) =>
    isData(value) && value['test'] !== undefined ? { ...value, test: healthTest(value['test']) } : value,
  logging: (value) =>
    isData(value) && value['options'] !== undefined ? { ...value, options: pairs(value['options']) } : value,
  deploy: (value) =>
    isData(value) && value['labels'] !== undefined ? { ...value, labels: pairs(value['labels']) } : (value ?? {}),
};

function normalizeService(value: Data, context: ServiceContext): ServiceEntry {
  const entries = Object.entries(value).filter(([key]) => !key.startsWith('x-'));
  return Object.fromEntries(entries.map(([key, part]) => [key, readers[key]?.(part, context) ?? part]));
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function strings(value: unknown): string[] {
  return typeof value === 'string' ? [value] : list(value).map(String);
}

function words(value: unknown): string[] {
  return typeof value === 'string' ? splitWords(value) : list(value).map(String);
}

function healthTest(value: unknown): string[] {
  return typeof value === 'string' ? ['CMD-SHELL', value] : list(value).map(String);
}

/** A mapping, or a list of `k=v`. */
function pairs(value: unknown): Pairs {
  if (isData(value))
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, item === null ? '' : String(item)]));
  return Object.fromEntries(list(value).map((item): [string, string] => splitPair(String(item), '')));
}

function environment(value: unknown): Environment {
  if (isData(value))
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, item === null ? null : String(item)]));
  return Object.fromEntries(list(value).map((item): [string, string | null] => splitPair(String(item), null)));
}

function splitPair<T>(text: string, missing: T): [string, string | T] {
  const at = text.indexOf('=');
  return at < 0 ? [text, missing] : [text.slice(0, at), text.slice(at + 1)];
}

/** As `host:ip`. */
function extraHosts(value: unknown): string[] {
  if (isData(value))
    return Object.entries(value)
      .map(([host, ip]) => `${host}:${String(ip)}`)
      .sort();
  return list(value).map((item) => String(item).replace(/^([^:=]+)=/, '$1:'));
}

function ports(value: unknown): PortEntry[] {
  if (isData(value)) {
    const port: PortEntry = { target: Number(value['target']), ...value };
    return [{ ...port, mode: port.mode ?? 'ingress', protocol: port.protocol ?? 'tcp' }];
  }
  return parseShortPort(String(value)).map((port) => ({
    mode: 'ingress',
    target: port.TargetPort,
    ...(port.PublishedPort === undefined ? {} : { published: port.PublishedPort }),
    protocol: port.Protocol,
    ...(port.HostIP === undefined ? {} : { host_ip: port.HostIP }),
  }));
}

function networkUses(value: unknown): Record<string, NetworkUse | null> {
  if (!isData(value)) return Object.fromEntries(list(value).map((name) => [String(name), null]));
  return Object.fromEntries(
    Object.entries(value).map(([name, use]) => [
      name,
      isData(use) && use['driver_opts'] !== undefined
        ? { ...use, driver_opts: pairs(use['driver_opts']) }
        : (use as NetworkUse | null),
    ]),
  );
}

function fileUse(value: unknown): FileUse {
  if (!isData(value)) return { source: String(value) };
  if (typeof value['source'] !== 'string')
    throw new ClusterError('invalid', 'a secret or config of a service needs a source');
  return { ...value, source: value['source'] };
}

function volumeUse(value: unknown, { name, paths }: ServiceContext): VolumeUse {
  if (isData(value)) {
    const use = { type: String(value['type']), target: String(value['target'] ?? ''), ...value } as VolumeUse;
    if (use.type === 'bind' && (use.source ?? '') === '') {
      throw new ClusterError(
        'invalid',
        `services.${name}.volumes: invalid mount config for type "bind": field Source must not be empty`,
      );
    }
    return use.type === 'bind' && use.source !== undefined ? { ...use, source: paths(use.source) } : use;
  }
  return shortVolume(String(value), { name, paths });
}

const propagations = new Set(['rprivate', 'private', 'rshared', 'shared', 'rslave', 'slave']);
const accessModes = new Set(['ro', 'rw']);

/** `[source:]target[:options]`. */
function shortVolume(text: string, { name, paths }: ServiceContext): VolumeUse {
  const bad = () =>
    new ClusterError('invalid', `services.${name}.volumes: invalid spec: ${text}: use [source:]target[:options]`);
  const parts = text.split(':');
  if (parts.length > 3 || parts.some((part) => part === '')) throw bad();
  if (parts.length === 1) return { type: 'volume', target: text };
  const [source = '', target = '', optionText = ''] = parts;
  const isBind = /^[./~]/.test(source);
  const extras: { read_only?: boolean; bind?: { propagation: string }; volume?: { nocopy: boolean } } = {};
  for (const option of optionText === '' ? [] : optionText.split(',')) {
    if (accessModes.has(option)) extras.read_only = option === 'ro';
    else if (option === 'nocopy') extras.volume = { nocopy: true };
    else if (propagations.has(option)) extras.bind = { propagation: option };
    else throw new ClusterError('invalid', `services.${name}.volumes: unknown option "${option}" in ${text}`);
  }
  const { read_only: readOnly, ...rest } = extras;
  return {
    type: isBind ? 'bind' : 'volume',
    source: isBind ? paths(source) : source,
    target,
    ...(readOnly === true ? { read_only: true } : {}),
    ...rest,
  };
}
