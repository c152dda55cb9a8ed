import { describe, expect, test } from 'vitest';
import { FakeDaemon } from '../testing/fake-daemon.ts';

/** What `service create` posts, recorded from Docker's own client (28.2.2) with the same flags, empty parts left out. */
async function posted(line: string[], env: Record<string, string> = {}): Promise<unknown> {
  const daemon = await FakeDaemon.start();
  try {
    daemon.on('POST', '/services/create', () => ({ status: 201, body: { ID: 's1' } }));
    daemon.on('GET', /^\/(secrets|configs)$/, ({ query }) =>
      Object.keys(JSON.parse(query['filters'] ?? '{}').name).map((name) => ({
        ID: `id-${name}`,
        Spec: { Name: name },
      })),
    );
    daemon.on('GET', /^\/networks\//, ({ path }) => ({ Id: `net-${path.slice('/networks/'.length)}` }));
    const result = await daemon.run(['service', 'create', '-d', '--no-resolve-image', ...line], {
      env: { ...env, TSCLUSTER_HOST: `unix://${daemon.socket}` },
    });
    expect(result).toEqual({ code: 0, stdout: 's1\n', stderr: '' });
    return daemon.posts()[0]?.body;
  } finally {
    await daemon.stop();
  }
}

describe('service create', () => {
  test('posts what Docker posts for the plainest service', async () => {
    expect(
      await posted(['--name', 'web', '--replicas', '3', '-p', 'mode=host,target=80,published=8080', 'nginx']),
    ).toEqual({
      Name: 'web',
      Labels: {},
      TaskTemplate: {
        ContainerSpec: { Image: 'nginx:latest', Init: false, DNSConfig: {} },
        Resources: { Limits: {}, Reservations: {} },
        Placement: {},
        ForceUpdate: 0,
      },
      Mode: { Replicated: { Replicas: 3 } },
      EndpointSpec: {
        Mode: 'vip',
        Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }],
      },
    });
  });

  test('fills the container', async () => {
    const body = await posted(
      [
        ...[
          '-e',
          'A=1',
          '-e',
          'FROM_ENV',
          '-e',
          'UNSET',
          '-e',
          'A=2',
          '--entrypoint',
          'sh -c "a b"',
          '--hostname',
          'h',
          '-w',
          '/w',
          '-u',
          '1:2',
        ],
        ...[
          '--secret',
          's',
          '--config',
          'source=c,target=/etc/c,mode=0400,uid=5',
          '--mount',
          'type=bind,src=/a,dst=/b,ro',
        ],
        ...[
          '--health-cmd',
          'true',
          '--health-interval',
          '1m30s',
          '--cap-add',
          'net_admin',
          '--cap-drop',
          'ALL',
          '--ulimit',
          'nofile=1:2',
        ],
        ...[
          '--host',
          'a:1.2.3.4',
          '--dns',
          '1.1.1.1',
          '--stop-grace-period',
          '3s',
          '--tty',
          '--read-only',
          '--init',
          'busybox:1',
          'echo',
          '--flag',
        ],
      ],
      { FROM_ENV: 'x' },
    );
    expect((body as { TaskTemplate: { ContainerSpec: unknown } }).TaskTemplate.ContainerSpec).toEqual({
      Image: 'busybox:1',
      Command: ['sh', '-c', 'a b'],
      Args: ['echo', '--flag'],
      Env: ['A=2', 'FROM_ENV=x', 'UNSET'],
      Hostname: 'h',
      Dir: '/w',
      User: '1:2',
      StopGracePeriod: 3_000_000_000,
      Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 90_000_000_000 },
      Init: true,
      TTY: true,
      ReadOnly: true,
      Mounts: [{ Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true }],
      Hosts: ['1.2.3.4 a'],
      DNSConfig: { Nameservers: ['1.1.1.1'] },
      CapabilityAdd: ['CAP_NET_ADMIN'],
      CapabilityDrop: ['ALL'],
      Ulimits: [{ Name: 'nofile', Hard: 2, Soft: 1 }],
      Secrets: [{ File: { Name: 's', UID: '0', GID: '0', Mode: 292 }, SecretID: 'id-s', SecretName: 's' }],
      Configs: [{ File: { Name: '/etc/c', UID: '5', GID: '0', Mode: 256 }, ConfigID: 'id-c', ConfigName: 'c' }],
    });
  });

  test('one policy flag fills the policy', async () => {
    const body = await posted([
      ...[
        '--restart-condition',
        'on-failure',
        '--update-delay',
        '1s',
        '--rollback-order',
        'start-first',
        '--limit-cpu',
        '.5',
        '--reserve-memory',
        '1g',
      ],
      ...[
        '--constraint',
        'node.role==worker',
        '--placement-pref',
        'spread=node.labels.z',
        '--replicas-max-per-node',
        '2',
        '--network',
        'n2',
        'x',
      ],
    ]);
    expect(body).toMatchObject({
      TaskTemplate: {
        RestartPolicy: { Condition: 'on-failure', Delay: 5_000_000_000, MaxAttempts: 0 },
        Resources: { Limits: { NanoCPUs: 500_000_000 }, Reservations: { MemoryBytes: 1_073_741_824 } },
        Placement: {
          Constraints: ['node.role==worker'],
          Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.z' } }],
          MaxReplicas: 2,
        },
        Networks: [{ Target: 'net-n2' }],
      },
      UpdateConfig: {
        Parallelism: 1,
        Delay: 1_000_000_000,
        FailureAction: 'pause',
        Monitor: 5_000_000_000,
        Order: 'stop-first',
      },
      RollbackConfig: { Order: 'start-first' },
    });
  });

  test.each([
    [
      ['--mode', 'replicated-job', '--replicas', '4', '--max-concurrent', '2'],
      { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 4 } },
    ],
    [['--mode', 'global'], { Global: {} }],
    [['--mode', 'global-job'], { GlobalJob: {} }],
    [[], { Replicated: {} }],
  ])('mode %j', async (flags, mode) => {
    expect(await posted([...flags, 'x'])).toMatchObject({ Mode: mode });
  });
});

describe('flags that cannot be right', () => {
  test.each([
    [['--replicas', 'x', 'i'], 125, 'invalid argument "x" for "--replicas" flag'],
    [['--nope', 'i'], 125, 'unknown flag: --nope'],
    [['--name'], 125, 'flag needs an argument: --name'],
    [['-p', '80:80:80:80', 'i'], 125, 'invalid'],
    [['-p', 'target=80,mode=foo', 'i'], 125, "invalid publish mode value (foo): must be either 'ingress' or 'host'"],
    [['-p', 'eth0:80:80', 'i'], 125, 'invalid host_ip (eth0): value must be an IP address'],
    [['-p', 'target=80,source=magic', 'i'], 125, 'must be one of preserve, masquerade, local'],
    [['--mount', 'type=bind,src=/a', 'i'], 125, 'target is required'],
    [
      ['--mount', 'type=bind,src=/a,dst=/b,volume-nocopy', 'i'],
      125,
      "cannot mix 'volume-*' options with mount type 'bind'",
    ],
    [['--limit-cpu', '0.0000000001', 'i'], 125, 'value is too precise'],
    [['--health-interval', '-1s', 'i'], 125, 'duration cannot be negative'],
    [['-l', '=x', 'i'], 125, "invalid label '=x': empty name"],
    [['--detach=maybe', 'i'], 125, 'invalid argument "maybe" for "--detach" flag'],
    [['--dns', 'x', 'i'], 125, 'IP address is not correctly formatted: x'],
    [[], 1, 'requires at least 1 argument'],
    [['--mode', 'foo', 'i'], 1, 'Unknown mode: foo, only replicated and global supported'],
    [
      ['--mode', 'global', '--replicas', '2', 'i'],
      1,
      'replicas can only be used with replicated or replicated-job mode',
    ],
    [['--no-healthcheck', '--health-cmd', 'x', 'i'], 1, '--no-healthcheck conflicts with --health-* options'],
  ])('%j: exit code %i', async (line, code, message) => {
    const daemon = await FakeDaemon.start();
    try {
      const result = await daemon.run(['service', 'create', ...line]);
      expect(result.code).toBe(code);
      expect(result.stderr).toContain(message);
      expect(result.stderr).toMatch(/^Error: /);
      expect(daemon.posts()).toEqual([]);
    } finally {
      await daemon.stop();
    }
  });
});
