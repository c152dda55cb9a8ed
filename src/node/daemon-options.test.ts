import { describe, expect, test } from 'vitest';
import { parseDaemonOptions } from './daemon-options.ts';

describe('daemon options', () => {
  test('defaults, but for the name of the machine', () => {
    expect(parseDaemonOptions({ hostname: 'h' }, {})).toEqual({
      dataDir: '/var/lib/tscluster',
      socket: '/run/tscluster/tscluster.sock',
      listenAddr: '0.0.0.0:2377',
      advertiseAddr: '',
      containerd: '/run/containerd/containerd.sock',
      containerdNamespace: 'tscluster',
      registryMirrors: [],
      insecureRegistries: [],
      snapshotter: undefined,
      hostname: 'h',
      cgroupParent: undefined,
      labels: {},
      genericResources: [],
      trace: [],
    });
  });

  test('flags win over variables; lists in variables have commas', () => {
    const env = {
      TSCLUSTER_DATA_DIR: '/env',
      TSCLUSTER_SOCKET: '/env.sock',
      TSCLUSTER_REGISTRY_MIRRORS: 'http://a, b:5000',
      TSCLUSTER_LABELS: 'x=y,z=',
    };
    expect(parseDaemonOptions({ dataDir: '/flag/', trace: ['raft,dispatcher', 'api'] }, env)).toMatchObject({
      dataDir: '/flag',
      socket: '/env.sock',
      registryMirrors: ['http://a', 'https://b:5000'],
      labels: { x: 'y', z: '' },
      trace: ['raft', 'dispatcher', 'api'],
    });
  });

  test('generic resources are counted, or named one by one', () => {
    const { genericResources } = parseDaemonOptions({}, { TSCLUSTER_NODE_GENERIC_RESOURCES: 'SSD=3,GPU=a,GPU=b' });
    expect(genericResources).toEqual([
      { DiscreteResourceSpec: { Kind: 'SSD', Value: 3 } },
      { NamedResourceSpec: { Kind: 'GPU', Value: 'a' } },
      { NamedResourceSpec: { Kind: 'GPU', Value: 'b' } },
    ]);
  });

  test.each([
    [{ dataDir: 'x' }, '--data-dir (or TSCLUSTER_DATA_DIR): must be an absolute path'],
    [{ socket: `/${'x'.repeat(200)}` }, 'the limit for sockets'],
    [{ listenAddr: '0.0.0.0:99999' }, '--listen-addr'],
    [{ registryMirrors: ['ftp://x'] }, '--registry-mirror'],
    [{ labels: ['=x'] }, 'must be key=value'],
    [{ genericResources: ['GPU'] }, '--node-generic-resource'],
    [{ genericResources: ['SSD=0'] }, 'at least 1'],
    [{ genericResources: ['SSD=2', 'SSD=3'] }, 'SSD is given twice'],
    [{ hostname: 'a b' }, '--hostname'],
    [{ containerdNamespace: 'a/b' }, '--containerd-namespace'],
  ])('%j is refused', (flags, message) => {
    expect(() => parseDaemonOptions(flags, {})).toThrow(message);
  });
});
