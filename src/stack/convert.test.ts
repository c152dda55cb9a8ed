import { describe, expect, test } from 'vitest';
import { convertStack } from './convert.ts';
import { mergeFiles } from './merge.ts';
import { parseSource } from './parse.ts';
import { renderStack } from './render.ts';

const paths = (path: string) => (path.startsWith('/') ? path : `/base/${path.replace(/^\.\//, '')}`);
const parse = (text: string, variables: Record<string, string> = {}) =>
  parseSource({ name: 'stack.yml', text }, variables, paths);

function convert(
  text: string,
  options: { more?: string[]; env?: Record<string, string>; files?: Record<string, string> } = {},
) {
  const env = options.env ?? {};
  const file = mergeFiles([text, ...(options.more ?? [])].map((source) => parse(source, env).file));
  const contents = new Map(Object.entries(options.files ?? {}).map(([name, data]) => [paths(name), Buffer.from(data)]));
  return convertStack({ stack: 'st', file, contents, environment: env, envFiles: {} });
}

const web = (body: string, rest = '') =>
  convert(`services:\n  web:\n    image: nginx\n${body.replace(/^/gm, '    ')}\n${rest}`).services[0]?.spec;
const container = (body: string, rest = '') => web(body, rest)?.TaskTemplate.ContainerSpec;

describe('a service', () => {
  test('at its plainest: names and labels of the stack, and its default network', () => {
    expect(convert('services: {web: {image: nginx}}')).toEqual({
      services: [
        {
          key: 'web',
          spec: {
            Name: 'st_web',
            Labels: { 'com.docker.stack.namespace': 'st', 'com.docker.stack.image': 'nginx' },
            TaskTemplate: {
              ContainerSpec: { Image: 'nginx', Labels: { 'com.docker.stack.namespace': 'st' } },
              Resources: {},
              Placement: {},
              Networks: [{ Target: 'st_default', Aliases: ['web'] }],
              ForceUpdate: 0,
            },
            Mode: { Replicated: {} },
            EndpointSpec: {},
          },
        },
      ],
      networks: [
        {
          Name: 'st_default',
          Driver: 'overlay',
          Options: {},
          Labels: { 'com.docker.stack.namespace': 'st' },
          Internal: false,
          Attachable: false,
          IPAM: null,
        },
      ],
      externalNetworks: [],
      secrets: [],
      configs: [],
    });
  });

  test.each([
    ['command: sh -c "a b"', { Args: ['sh', '-c', 'a b'] }],
    ['entrypoint: [x, y]', { Command: ['x', 'y'] }],
    ['environment: {A: 1, B: two, C: null}', { Env: ['A=1', 'B=two', 'C'] }],
    ['environment: [B=2, A]', { Env: ['A', 'B=2'] }],
    ['labels: [a=b, c]', { Labels: { a: 'b', c: '', 'com.docker.stack.namespace': 'st' } }],
    [
      'healthcheck: {test: "curl x", interval: 1m30s, retries: 3}',
      { Healthcheck: { Test: ['CMD-SHELL', 'curl x'], Interval: 90e9, Retries: 3 } },
    ],
    ['healthcheck: {disable: true}', { Healthcheck: { Test: ['NONE'] } }],
    ['extra_hosts: ["a:1.2.3.4", "b:::1"]', { Hosts: ['1.2.3.4 a', '::1 b'] }],
    ['extra_hosts: {a: 1.2.3.4}', { Hosts: ['1.2.3.4 a'] }],
    [
      'ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}',
      {
        Ulimits: [
          { Name: 'nofile', Hard: 2, Soft: 1 },
          { Name: 'nproc', Hard: 5, Soft: 5 },
        ],
      },
    ],
    ['sysctls: {net.core.somaxconn: 1024}', { Sysctls: { 'net.core.somaxconn': '1024' } }],
    [
      'dns: 8.8.8.8\ndns_search: [a.b]\ndns_opt: [ndots:2]',
      { DNSConfig: { Nameservers: ['8.8.8.8'], Search: ['a.b'], Options: ['ndots:2'] } },
    ],
    ['stop_grace_period: 1m\nstop_signal: SIGINT', { StopGracePeriod: 60e9, StopSignal: 'SIGINT' }],
    [
      'tty: true\nstdin_open: true\nread_only: true\ninit: true',
      { TTY: true, OpenStdin: true, ReadOnly: true, Init: true },
    ],
    ['cap_add: [net_admin]\ncap_drop: [ALL]', { CapabilityAdd: ['CAP_NET_ADMIN'], CapabilityDrop: ['ALL'] }],
    ['volumes: ["/anon"]', { Mounts: [{ Type: 'volume', Target: '/anon' }] }],
    [
      'volumes: ["./a:/b:ro,rslave"]',
      {
        Mounts: [
          { Type: 'bind', Target: '/b', ReadOnly: true, Source: '/base/a', BindOptions: { Propagation: 'rslave' } },
        ],
      },
    ],
    [
      'volumes: [{type: tmpfs, target: /t, tmpfs: {size: 9}}]',
      { Mounts: [{ Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 9 } }] },
    ],
  ])('%s', (body, expected) => expect(container(body)).toMatchObject(expected));

  test('named volumes belong to the stack, external ones do not', () => {
    const volumes =
      'volumes:\n  data: {driver: local, driver_opts: {type: nfs}, labels: {a: b}}\n  ext: {external: true}\n  named: {name: n}';
    expect(container('volumes: ["data:/d:nocopy", "ext:/e", "named:/n"]', volumes)?.Mounts).toEqual([
      {
        Type: 'volume',
        Target: '/d',
        Source: 'st_data',
        VolumeOptions: {
          NoCopy: true,
          Labels: { a: 'b', 'com.docker.stack.namespace': 'st' },
          DriverConfig: { Name: 'local', Options: { type: 'nfs' } },
        },
      },
      { Type: 'volume', Target: '/e', Source: 'ext' },
      { Type: 'volume', Target: '/n', Source: 'n', VolumeOptions: { Labels: { 'com.docker.stack.namespace': 'st' } } },
    ]);
  });

  test.each([
    [
      'ports: ["8080:80", 90]',
      [
        { Protocol: 'tcp', TargetPort: 90, PublishMode: 'ingress' },
        { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
      ],
    ],
    [
      'ports: [{target: 80, published: 8081, mode: host}]',
      [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8081, PublishMode: 'host' }],
    ],
    [
      'ports: ["127.0.0.1:53:53/udp", {target: 80, published: 80, host_ip: 192.0.2.1, source: masquerade}]',
      [
        { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'ingress', HostIP: '127.0.0.1' },
        {
          Protocol: 'tcp',
          TargetPort: 80,
          PublishedPort: 80,
          PublishMode: 'ingress',
          HostIP: '192.0.2.1',
          Source: 'masquerade',
        },
      ],
    ],
  ])('%s', (body, ports) => expect(web(body)?.EndpointSpec?.Ports).toEqual(ports));

  test('deploy', () => {
    const spec = web(
      [
        'deploy:',
        '  replicas: 2',
        '  endpoint_mode: dnsrr',
        '  labels: {l: m}',
        '  update_config: {delay: 10s, order: start-first}',
        '  restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 2m}',
        '  placement: {constraints: [node.role==manager], preferences: [{spread: node.labels.z}], max_replicas_per_node: 1}',
        '  resources: {limits: {cpus: "0.5", memory: 50M, pids: 5}, reservations: {memory: 20M}}',
      ].join('\n'),
    );
    expect(spec).toMatchObject({
      Labels: { l: 'm' },
      Mode: { Replicated: { Replicas: 2 } },
      UpdateConfig: { Parallelism: 1, Delay: 10e9, Order: 'start-first' },
      EndpointSpec: { Mode: 'dnsrr' },
      TaskTemplate: {
        RestartPolicy: { Condition: 'on-failure', Delay: 5e9, MaxAttempts: 3, Window: 120e9 },
        Placement: {
          Constraints: ['node.role==manager'],
          Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.z' } }],
          MaxReplicas: 1,
        },
        Resources: {
          Limits: { NanoCPUs: 5e8, MemoryBytes: 50 * 2 ** 20, Pids: 5 },
          Reservations: { MemoryBytes: 20 * 2 ** 20 },
        },
      },
    });
  });

  test.each([
    ['restart: always', { Condition: 'any' }],
    ['restart: on-failure:4', { Condition: 'on-failure', MaxAttempts: 4 }],
    ['restart: always\ndeploy: {restart_policy: {condition: none}}', { Condition: 'none' }],
    ['restart: "no"', undefined],
  ])('%s', (body, policy) => expect(web(body)?.TaskTemplate.RestartPolicy).toEqual(policy));

  test('jobs count completions', () => {
    expect(web('deploy: {mode: replicated-job, replicas: 3}')?.Mode).toEqual({
      ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 },
    });
    expect(web('deploy: {mode: global}')?.Mode).toEqual({ Global: {} });
  });
});

describe('secrets, configs, networks', () => {
  test('files become base64, references keep their own name as target', () => {
    const plan = convert(
      'services: {web: {image: x, secrets: [{source: pw, target: /abs, mode: 0400, uid: "5"}], configs: [c, e]}}\nsecrets: {pw: {file: ./pw}}\nconfigs: {c: {file: c, name: c_v1}, e: {external: true}}',
      { files: { pw: 'hush', c: 'conf' } },
    );
    expect(plan.secrets).toEqual([{ Name: 'st_pw', Labels: { 'com.docker.stack.namespace': 'st' }, Data: 'aHVzaA==' }]);
    expect(plan.configs).toEqual([{ Name: 'c_v1', Labels: { 'com.docker.stack.namespace': 'st' }, Data: 'Y29uZg==' }]);
    expect(plan.services[0]?.spec.TaskTemplate.ContainerSpec).toMatchObject({
      Secrets: [{ SecretName: 'st_pw', SecretID: '', File: { Name: '/abs', UID: '5', GID: '0', Mode: 0o400 } }],
      Configs: [{ ConfigName: 'c_v1', File: { Name: 'c', Mode: 0o444 } }, { ConfigName: 'e' }],
    });
  });

  test('networks that services name are made, the default one for those that name none', () => {
    const plan = convert(
      'services: {a: {image: x, networks: {n: {aliases: [q]}, e: }}, b: {image: y}}\nnetworks: {n: {attachable: true}, e: {external: true}, unused: }',
    );
    expect(plan.networks.map((network) => [network.Name, network.Driver, network.Attachable])).toEqual([
      ['st_default', 'overlay', false],
      ['st_n', 'overlay', true],
    ]);
    expect(plan.externalNetworks).toEqual(['e']);
    expect(plan.services.map(({ spec }) => spec.TaskTemplate.Networks)).toEqual([
      [
        { Target: 'e', Aliases: ['a'] },
        { Target: 'st_n', Aliases: ['q', 'a'] },
      ],
      [{ Target: 'st_default', Aliases: ['b'] }],
    ]);
  });

  test('the default network can be declared, and be another one', () => {
    const declared = convert('services: {b: {image: y}}\nnetworks: {default: {internal: true}}');
    expect(declared.networks).toMatchObject([{ Name: 'st_default', Internal: true }]);
    const external = convert('services: {b: {image: y}}\nnetworks: {default: {external: true, name: shared}}');
    expect([external.networks, external.externalNetworks]).toEqual([[], ['shared']]);
    expect(external.services[0]?.spec.TaskTemplate.Networks).toEqual([{ Target: 'shared', Aliases: ['b'] }]);
  });

  test('everything about a network is carried over', () => {
    const text = `services: {a: {image: x, networks: [n]}}
networks:
  n:
    name: own
    driver: macvlan
    driver_opts: {parent: eth0, mtu: 1400}
    enable_ipv6: true
    labels: [l=m]
    ipam:
      options: {a: b}
      config:
        - {subnet: 10.9.0.0/24, ip_range: 10.9.0.128/25, gateway: 10.9.0.1, aux_addresses: {printer: 10.9.0.200}}
        - {subnet: "fd00:9::/64"}
`;
    expect(convert(text).networks).toEqual([
      {
        Name: 'own',
        Driver: 'macvlan',
        Options: { parent: 'eth0', mtu: '1400' },
        Labels: { l: 'm', 'com.docker.stack.namespace': 'st' },
        Internal: false,
        Attachable: false,
        EnableIPv6: true,
        IPAM: {
          Driver: '',
          Options: { a: 'b' },
          Config: [
            {
              Subnet: '10.9.0.0/24',
              IPRange: '10.9.0.128/25',
              Gateway: '10.9.0.1',
              AuxiliaryAddresses: { printer: '10.9.0.200' },
            },
            { Subnet: 'fd00:9::/64' },
          ],
        },
      },
    ]);
  });

  test('the host’s own network, by mode or as an external one, has no aliases and is not made', () => {
    const mode = convert('services: {a: {image: x, network_mode: host}}');
    expect([mode.networks, mode.services[0]?.spec.TaskTemplate.Networks]).toEqual([[], [{ Target: 'host' }]]);
    const named = convert('services: {a: {image: x, networks: [h]}}\nnetworks: {h: {external: true, name: host}}');
    expect([named.networks, named.services[0]?.spec.TaskTemplate.Networks]).toEqual([[], [{ Target: 'host' }]]);
  });
});

describe('several files', () => {
  test('later ones win, maps merge, lists append, ports and volumes merge by key', () => {
    const plan = convert(
      'services: {web: {image: a, command: [x, y], environment: {A: 1, B: 2}, ports: ["80:80", "90:90"], cap_add: [KILL], deploy: {replicas: 1, labels: {l: "1"}}}}',
      {
        more: [
          'services: {web: {image: b, command: [z], environment: [B=3], ports: ["80:81"], cap_add: [CHOWN], deploy: {labels: {m: "2"}}}, extra: {image: c}}',
        ],
      },
    );
    expect(plan.services.map(({ key }) => key)).toEqual(['extra', 'web']);
    expect(plan.services[1]?.spec).toMatchObject({
      Labels: { l: '1', m: '2' },
      Mode: { Replicated: { Replicas: 1 } },
      EndpointSpec: {
        Ports: [
          { TargetPort: 81, PublishedPort: 80 },
          { TargetPort: 90, PublishedPort: 90 },
        ],
      },
      TaskTemplate: {
        ContainerSpec: { Image: 'b', Args: ['z'], Env: ['A=1', 'B=3'], CapabilityAdd: ['CAP_CHOWN', 'CAP_KILL'] },
      },
    });
  });

  test('their versions must agree', () => {
    expect(() => convert('version: "3.8"\nservices: {}', { more: ['version: "3.7"'] })).toThrow('version mismatched');
  });
});

describe('what is wrong is named', () => {
  test.each([
    ['services:\n  web: [', 'stack.yml: invalid YAML: '],
    ['- a', 'Top-level object must be a mapping'],
    ['version: "2.4"', 'unsupported Compose file version: 2.4'],
    ['services: {a: {image: x, imaginary: 1}}', 'services.a Additional property imaginary is not allowed'],
    ['imaginary: {}', '(root) Additional property imaginary is not allowed'],
    ['services: {a: {image: 3}}', 'services.a.image must be a string, not 3'],
    ['services: {a: {image: x, ports: [{target: "80"}]}}', 'services.a.ports.0.target must be an integer, not "80"'],
    [
      'services: {a: {image: x, deploy: {resources: {limits: {cpus: 0.5}}}}}',
      'services.a.deploy.resources.limits.cpus must be a string, not 0.5',
    ],
    ['services: {a: {image: x, depends_on: {b: {}}}}', 'services.a.depends_on must be a list, not a mapping'],
    [
      'services: {a: {image: x, mem_limit: 1g}}',
      'Compose file contains unsupported options:\n\nmem_limit: Set resource limits using deploy.resources',
    ],
    ['services: {a: {environment: {A: b}}}', 'invalid image reference for service a: no image specified'],
    ['services: {a: {image: x, volumes: ["nv:/x"]}}', 'undefined volume "nv"'],
    ['services: {a: {image: x, secrets: [s]}}', 'undefined secret "s"'],
    ['services: {a: {image: x, networks: [n]}}', 'undefined network n'],
    ['services: {a: {image: x, ports: ["eth0:80:80"]}}', 'invalid host_ip (eth0): value must be an IP address'],
    ['services: {a: {image: x, network_mode: "service:b"}}', 'network_mode: "service:b" is not supported'],
    [
      'services: {a: {image: x, network_mode: host, networks: [n]}}\nnetworks: {n: }',
      "network_mode and networks can't be set at the same time",
    ],
    ['services: {a: {image: "${X:?give X}"}}', 'required variable X is missing a value: give X'],
    [
      'services: {a: {image: x, deploy: {mode: global, replicas: 2}}}',
      'replicas can only be used with replicated or replicated-job mode',
    ],
    ['secrets: {s: {}}', 'needs one of: file, driver, external'],
    [
      'a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]',
      'alias',
    ],
  ])('%j', (text, message) => {
    expect(() => convert(text)).toThrow(message);
  });

  test('keys without effect are reported once', () => {
    const text =
      'x-any: 1\nservices: {a: {image: x, build: ., depends_on: [b], container_name: n, x-b: 1}, b: {image: y, build: ., networks: {n: {ipv4_address: 10.0.0.9}}}}';
    expect(parse(text).warnings).toMatchInlineSnapshot(`
      [
        "Ignoring unsupported options: build, depends_on, networks.ipv4_address
      ",
        "Ignoring deprecated options:

      container_name: Setting the container name is not supported.
      ",
      ]
    `);
  });
});

test('the rendered file reads back as itself', () => {
  const { file } = parse(
    'services: {b: {image: x, ports: ["80:80"], configs: [c]}, a: {image: y}}\nconfigs: {c: {file: c}}',
  );
  const text = renderStack(file);
  expect(text.indexOf('a:')).toBeLessThan(text.indexOf('b:'));
  expect(parse(text).file).toEqual(file);
});
