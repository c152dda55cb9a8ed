import { describe, expect, test } from 'vitest';
import type { AssignedTask } from '../../model/assignment.ts';
import { signalNumber } from '../../model/signal.ts';
import type { ContainerSpec, TaskSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import { defaultCapabilities } from './capabilities.ts';
import type { ImageConfig } from './registry/manifest.ts';
import { containerSpec, logLimits, type SpecInput, validateTask } from './spec.ts';

const image: ImageConfig = {
  os: 'linux',
  architecture: 'amd64',
  variant: '',
  entrypoint: ['/entry'],
  command: ['serve'],
  env: ['PATH=/bin', 'LANG=C'],
  workingDir: '/srv',
  user: '',
  stopSignal: '',
  volumes: [],
  shell: [],
  healthcheck: undefined,
  diffIds: [],
};

function taskOf(container: Partial<ContainerSpec>, spec: Partial<TaskSpec> = {}): AssignedTask {
  return {
    id: 'task1',
    serviceId: 's',
    serviceName: 'web',
    serviceLabels: {},
    slot: 1,
    nodeId: 'n',
    spec: { ...spec, ContainerSpec: { Image: 'x', ...container } },
    specVersion: 1,
    endpoint: {},
    desired: TaskState.running,
    status: { state: TaskState.assigned, timestamp: 0, message: '', err: '' },
  };
}

function specOf(container: Partial<ContainerSpec>, spec: Partial<TaskSpec> = {}, input: Partial<SpecInput> = {}) {
  return containerSpec({
    task: taskOf(container, spec),
    image,
    user: { uid: 1, gid: 2, additionalGids: [2], home: '/' },
    host: {
      hostname: 'h',
      arch: 'x64',
      kernel: '6.1.0',
      capabilities: defaultCapabilities,
      swapAccounting: true,
      cgroupV2: false,
      nofile: 4096,
    },
    hostname: 'web-1',
    templates: {
      Service: { ID: 's', Name: 'web', Labels: {} },
      Node: { ID: 'n', Hostname: 'h', Platform: { Architecture: 'x86_64', OS: 'linux' } },
      Task: { ID: 'task1', Name: 'web.1.task1', Slot: '1' },
    },
    netnsPath: '/run/netns/x',
    cgroupsPath: '/tscluster/task1',
    mounts: [],
    initPath: undefined,
    ...input,
  }) as {
    process: Record<string, unknown>;
    mounts: { destination: string }[];
    linux: Record<string, unknown>;
    root: unknown;
  };
}

describe('the runtime spec', () => {
  test('the process has Docker defaults', () => {
    const { capabilities, ...process } = specOf({}).process;
    expect(capabilities).toEqual({
      bounding: defaultCapabilities,
      effective: defaultCapabilities,
      permitted: defaultCapabilities,
    });
    expect(process).toMatchInlineSnapshot(`
      {
        "args": [
          "/entry",
          "serve",
        ],
        "cwd": "/srv",
        "env": [
          "PATH=/bin",
          "HOSTNAME=web-1",
          "LANG=C",
        ],
        "noNewPrivileges": false,
        "oomScoreAdj": 0,
        "rlimits": [
          {
            "hard": 4096,
            "soft": 4096,
            "type": "RLIMIT_NOFILE",
          },
        ],
        "terminal": false,
        "user": {
          "additionalGids": [
            2,
          ],
          "gid": 2,
          "uid": 1,
        },
      }
    `);
  });

  test('limits become cgroup settings, swap twice the memory', () => {
    const limits = {
      Limits: { NanoCPUs: 1_500_000_000, MemoryBytes: 1000, Pids: 5 },
      Reservations: { MemoryBytes: 500 },
    };
    expect(specOf({}, { Resources: limits }).linux['resources']).toMatchInlineSnapshot(`
      {
        "cpu": {
          "period": 100000,
          "quota": 150000,
        },
        "devices": [
          {
            "access": "rwm",
            "allow": false,
          },
          {
            "access": "rwm",
            "allow": true,
            "major": 5,
            "minor": 1,
            "type": "c",
          },
        ],
        "memory": {
          "limit": 1000,
          "reservation": 500,
          "swap": 2000,
        },
        "pids": {
          "limit": 5,
        },
      }
    `);
  });

  test('variables win by key, a bare name takes one away', () => {
    expect(specOf({ Env: ['LANG=de', 'X=1', 'PATH'], TTY: true }).process['env']).toEqual([
      'HOSTNAME=web-1',
      'TERM=xterm',
      'LANG=de',
      'X=1',
    ]);
  });

  test('generic resources that the task got are told by kind, names one after the other', () => {
    const genericResources = [
      { NamedResourceSpec: { Kind: 'gpu', Value: 'a' } },
      { DiscreteResourceSpec: { Kind: 'SSD', Value: 3 } },
      { NamedResourceSpec: { Kind: 'gpu', Value: 'b' } },
    ];
    const { process } = specOf({}, {}, { task: { ...taskOf({}), genericResources } });
    expect(process['env']).toEqual(expect.arrayContaining(['DOCKER_RESOURCE_GPU=a,b', 'DOCKER_RESOURCE_SSD=3']));
  });

  test('own mounts replace default ones, parents come before what is below them', () => {
    const bind = (destination: string) => ({ destination, type: 'bind', source: '/s', options: [] });
    const { mounts } = specOf({}, {}, { mounts: [bind('/a/b/c'), bind('/dev/shm'), bind('/a')] });
    expect(mounts.map((mount) => mount.destination)).toEqual([
      '/proc',
      '/dev',
      '/dev/pts',
      '/sys',
      '/sys/fs/cgroup',
      '/dev/mqueue',
      '/a',
      '/dev/shm',
      '/a/b/c',
    ]);
  });

  test('an init process runs in front', () => {
    const spec = specOf({ Args: ['x'] }, {}, { initPath: '/usr/bin/tini-static' });
    expect(spec.process['args']).toEqual(['/sbin/docker-init', '--', '/entry', 'x']);
    expect(spec.mounts.at(-1)).toMatchObject({ destination: '/sbin/docker-init', source: '/usr/bin/tini-static' });
  });

  test('the network namespace is joined, or left out for the host', () => {
    expect(specOf({}).linux['namespaces']).toContainEqual({ type: 'network', path: '/run/netns/x' });
    const host = specOf({}, {}, { netnsPath: undefined }).linux;
    expect(JSON.stringify(host['namespaces'])).not.toContain('network');
    expect(host['sysctl']).toEqual({});
  });

  test("the host's network settings are not the container's to change, wherever its namespace is", () => {
    const named = { netnsPath: '/proc/1/ns/net', isHostNetwork: true };
    expect(specOf({}, {}, named).linux['sysctl']).toEqual({});
    const Sysctls = { 'net.core.somaxconn': '1' };
    for (const where of [named, { netnsPath: undefined }]) {
      expect(() => specOf({ Sysctls }, {}, where)).toThrow("'net.core.somaxconn' is not allowed in the host's network");
    }
    expect(specOf({ Sysctls }).linux['sysctl']).toMatchObject(Sysctls);
  });

  test('seccomp can be switched off, a custom profile is refused', () => {
    expect(specOf({}).linux['seccomp']).toBeDefined();
    expect(specOf({ Privileges: { Seccomp: { Mode: 'unconfined' } } }).linux['seccomp']).toBeUndefined();
    expect(() => specOf({ Privileges: { Seccomp: { Mode: 'custom' } } })).toThrow(
      'seccomp mode "custom" is not supported yet',
    );
  });

  test('nothing to run is an error', () => {
    expect(() => specOf({}, {}, { image: { ...image, entrypoint: [], command: [] } })).toThrow('no command specified');
  });

  test.each([
    [{ OpenStdin: true }, {}, 'an open standard input is not supported yet'],
    [{}, { LogDriver: { Name: 'syslog' } }, 'log driver "syslog" is not supported yet'],
    [{}, { LogDriver: { Options: { tag: 'x' } } }, 'log option "tag" is not supported yet'],
    [{}, { Runtime: 'plugin' }, 'runtime "plugin" is not supported yet'],
    [{ Isolation: 'hyperv' }, {}, `invalid isolation "hyperv": only 'default' is supported`],
  ])('%j %j is refused by name', (container, spec, message) => {
    expect(() => validateTask(taskOf(container, spec))).toThrow(message);
  });

  test('log limits are read as json-file has them', () => {
    expect(logLimits({ Name: 'json-file', Options: { 'max-size': '2m', 'max-file': '5' } })).toEqual({
      fileBytesMax: 2 * 1024 * 1024,
      filesMax: 5,
    });
    expect(() => logLimits({ Options: { 'max-size': 'big' } })).toThrow('invalid log option max-size: "big"');
    expect(() => logLimits({ Options: { 'max-file': '0' } })).toThrow('invalid log option max-file: "0"');
  });

  test.each([
    ['', 15],
    ['SIGQUIT', 3],
    ['usr1', 10],
    ['9', 9],
    ['SIGRTMIN+3', 37],
    ['RTMAX-1', 63],
  ])('signal %j is %i', (text, number) => {
    expect(signalNumber(text)).toBe(number);
  });

  test('an unknown signal is refused', () => {
    for (const text of ['SIGNOPE', '0', '99']) expect(() => signalNumber(text)).toThrow('Invalid signal');
  });
});
