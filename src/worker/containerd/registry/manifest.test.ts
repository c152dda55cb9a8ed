import { describe, expect, test } from 'vitest';
import { chainIds, choosePlatform, type IndexEntry, parseImageConfig, parseManifest, sha256 } from './manifest.ts';

const entry = (digest: string, platform: IndexEntry['platform']): IndexEntry => ({
  mediaType: '',
  digest,
  size: 1,
  platform,
});
const linux = (architecture: string, variant = '') => ({ os: 'linux', architecture, variant });

describe('platforms', () => {
  test('an exact match wins over one that does not say', () => {
    const entries = [entry('any', undefined), entry('amd', linux('amd64')), entry('arm', linux('arm64', 'v8'))];
    expect(choosePlatform(entries, linux('amd64')).digest).toBe('amd');
    expect(choosePlatform(entries, linux('arm64', 'v8')).digest).toBe('arm');
    expect(choosePlatform(entries, linux('s390x')).digest).toBe('any');
  });

  test('32-bit ARM takes the newest variant that the host runs', () => {
    const entries = ['v5', 'v6', 'v8'].map((variant) => entry(variant, linux('arm', variant)));
    expect(choosePlatform(entries, linux('arm', 'v7')).digest).toBe('v6');
  });

  test('attestations and other systems are never taken', () => {
    const entries = [
      entry('a', { os: 'unknown', architecture: 'unknown', variant: '' }),
      entry('w', { ...linux('amd64'), os: 'windows' }),
    ];
    expect(() => choosePlatform(entries, linux('amd64'))).toThrow(
      'no matching manifest for linux/amd64 in the manifest list entries',
    );
  });
});

describe('documents from registries', () => {
  const digest = sha256('x');
  const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

  test('an index is known by its type or its shape', () => {
    const manifests = [{ mediaType: 'm', digest, size: 3, platform: { os: 'linux', architecture: 'amd64' } }];
    const expected = { kind: 'index', entries: [{ mediaType: 'm', digest, size: 3, platform: linux('amd64') }] };
    expect(parseManifest(bytes({ manifests }), '')).toEqual(expected);
    expect(parseManifest(bytes({ manifests }), 'application/vnd.oci.image.index.v1+json')).toEqual(expected);
  });

  test.each([
    ['not JSON', Buffer.from('{')],
    ['no config', bytes({ layers: [] })],
    ['a digest that is a path', bytes({ config: { digest: '../../etc', size: 1 }, layers: [] })],
    ['a negative size', bytes({ config: { digest, size: -1 }, layers: [] })],
    ['layers that are no list', bytes({ config: { digest, size: 1 }, layers: 'x' })],
  ])('a manifest with %s is refused', (_what, body) => {
    expect(() => parseManifest(body, '')).toThrow("the registry's manifest is not valid");
  });

  test('a config with wrong types gives empty fields, never a crash', () => {
    const config = parseImageConfig(bytes({ config: { Env: 'x', Cmd: [1, 'a'], Volumes: [] }, rootfs: null }));
    expect(config).toMatchObject({ env: [], command: ['a'], volumes: [], diffIds: [], user: '' });
  });

  test('chain ids follow the OCI rule', () => {
    expect(chainIds(['a', 'b', 'c'])).toEqual(['a', sha256('a b'), sha256(`${sha256('a b')} c`)]);
    expect(chainIds([])).toEqual([]);
  });
});
