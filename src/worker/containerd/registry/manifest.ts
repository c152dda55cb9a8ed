/** Manifests and image configs: Docker's and OCI's media types read into one shape, platform choice. Pure. */
import { createHash } from 'node:crypto';
import { ClusterError } from '../../../lib/errors.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface ImagePlatform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
}

export interface IndexEntry extends Descriptor {
  /** Undefined when the index does not say. */
  readonly platform: ImagePlatform | undefined;
}

export type Manifest =
  | { readonly kind: 'index'; readonly entries: readonly IndexEntry[] }
  | { readonly kind: 'image'; readonly config: Descriptor; readonly layers: readonly Descriptor[] };

/** The part of an image's config that running it needs. */
export interface ImageConfig {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly stopSignal: string;
  readonly volumes: readonly string[];
  readonly shell: readonly string[];
  readonly healthcheck: Readonly<Record<string, unknown>> | undefined;
  readonly diffIds: readonly string[];
}

const docker = 'application/vnd.docker.distribution.manifest';
const oci = 'application/vnd.oci.image';
export const indexTypes = [`${docker}.list.v2+json`, `${oci}.index.v1+json`] as const;
export const manifestTypes = [`${docker}.v2+json`, `${oci}.manifest.v1+json`] as const;
export const acceptHeader = [...manifestTypes, ...indexTypes].join(', ');

const layersMax = 256;
const entriesMax = 1024;

export function sha256(data: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

export function parseManifest(body: Uint8Array, mediaType: string): Manifest {
  const fields = parseObject(body, 'manifest');
  const type = typeof fields['mediaType'] === 'string' ? fields['mediaType'] : mediaType;
  if (indexTypes.includes(type as never) || (fields['manifests'] !== undefined && fields['config'] === undefined)) {
    const entries = list(fields['manifests'], entriesMax).map((entry) => ({
      ...descriptor(entry),
      platform: platform(entry['platform']),
    }));
    return { kind: 'index', entries };
  }
  if (fields['schemaVersion'] === 1) {
    throw new ClusterError('unimplemented', 'image manifests of schema version 1 are not supported');
  }
  const config = fields['config'];
  if (!isObject(config)) throw invalid('manifest');
  return { kind: 'image', config: descriptor(config), layers: list(fields['layers'], layersMax).map(descriptor) };
}

export function parseImageConfig(body: Uint8Array): ImageConfig {
  const fields = parseObject(body, 'image config');
  const config = isObject(fields['config']) ? fields['config'] : {};
  const rootfs = isObject(fields['rootfs']) ? fields['rootfs'] : {};
  const healthcheck = config['Healthcheck'];
  return {
    os: text(fields['os']),
    architecture: text(fields['architecture']),
    variant: text(fields['variant']),
    entrypoint: texts(config['Entrypoint']),
    command: texts(config['Cmd']),
    env: texts(config['Env']),
    workingDir: text(config['WorkingDir']),
    user: text(config['User']),
    stopSignal: text(config['StopSignal']),
    volumes: isObject(config['Volumes']) ? Object.keys(config['Volumes']).sort() : [],
    shell: texts(config['Shell']),
    healthcheck: isObject(healthcheck) ? healthcheck : undefined,
    diffIds: texts(rootfs['diff_ids']),
  };
}

/** Node's architecture name as OCI spells it. */
export function hostPlatform(arch: string): ImagePlatform {
  const names: Record<string, readonly [string, string]> = {
    x64: ['amd64', ''],
    arm64: ['arm64', 'v8'],
    arm: ['arm', 'v7'],
    ia32: ['386', ''],
    ppc64: ['ppc64le', ''],
    s390x: ['s390x', ''],
    riscv64: ['riscv64', ''],
  };
  const [architecture, variant] = names[arch] ?? [arch, ''];
  return { os: 'linux', architecture, variant };
}

/** The entry for this host: exact variant first, then older ones, then entries that do not say their platform. */
export function choosePlatform(entries: readonly IndexEntry[], host: ImagePlatform): IndexEntry {
  const ranked = entries
    .map((entry) => ({ entry, rank: rank(entry.platform, host) }))
    .filter((candidate) => candidate.rank >= 0)
    .sort((a, b) => a.rank - b.rank);
  const best = ranked[0];
  if (best !== undefined) return best.entry;
  const name = `${host.os}/${host.architecture}${host.variant === '' ? '' : `/${host.variant}`}`;
  throw new ClusterError('failed_precondition', `no matching manifest for ${name} in the manifest list entries`);
}

/** Lower is better, −1 = does not run here. */
function rank(candidate: ImagePlatform | undefined, host: ImagePlatform): number {
  if (candidate === undefined) return 100;
  if (candidate.os !== host.os || candidate.architecture !== host.architecture) return -1;
  if (candidate.architecture === 'arm64') return ['', 'v8'].includes(candidate.variant) ? 0 : -1;
  if (candidate.architecture !== 'arm') return candidate.variant === host.variant ? 0 : 1;
  const fallback = ['v7', 'v6', 'v5'];
  const from = fallback.indexOf(host.variant);
  const at = fallback.indexOf(candidate.variant === '' ? 'v7' : candidate.variant);
  return at < from ? -1 : at - from;
}

/** The name of the snapshot that the first n layers make (OCI image spec, "ChainID"). */
export function chainIds(diffIds: readonly string[]): readonly string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const parent = chain.at(-1);
    chain.push(parent === undefined ? diffId : sha256(`${parent} ${diffId}`));
  }
  return chain;
}

function descriptor(fields: Record<string, unknown>): Descriptor {
  const { mediaType, digest, size } = fields;
  if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest)) throw invalid('manifest');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid('manifest');
  return { mediaType: typeof mediaType === 'string' ? mediaType : '', digest, size };
}

function platform(value: unknown): ImagePlatform | undefined {
  if (!isObject(value)) return undefined;
  return { os: text(value['os']), architecture: text(value['architecture']), variant: text(value['variant']) };
}

function parseObject(body: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    throw invalid(what);
  }
  if (!isObject(value)) throw invalid(what);
  return value;
}

function list(value: unknown, countMax: number): readonly Record<string, unknown>[] {
  if (!Array.isArray(value) || value.length > countMax || !value.every(isObject)) throw invalid('manifest');
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((part): part is string => typeof part === 'string') : [];
}

function invalid(what: string): ClusterError {
  return new ClusterError('failed_precondition', `the registry's ${what} is not valid`);
}
