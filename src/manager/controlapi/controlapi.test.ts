import { describe, expect, test } from 'vitest';
import { isKind } from '../../lib/errors.ts';
import { silentLog } from '../../lib/log.ts';
import { seededRandom } from '../../lib/random.ts';
import type { ControlRequest, RaftMemberInfo } from '../../model/control.ts';
import { defaultClusterSpec } from '../../model/defaults.ts';
import type { Node, Service, Task } from '../../model/objects.ts';
import type { ContainerSpec, NodeSpec, ServiceSpec, TaskSpec } from '../../model/spec.ts';
import { TaskState } from '../../model/task-state.ts';
import { rolledBack } from '../../model/update.ts';
import { MemoryStore } from '../store/store.ts';
import { createControlApi } from './index.ts';

const start = Date.UTC(2026, 0, 1);

function world() {
  const state = { now: start, members: [] as RaftMemberInfo[], tokens: 0 };
  const store = new MemoryStore({ proposer: null, now: () => state.now });
  const control = createControlApi({
    store,
    random: seededRandom(1),
    log: silentLog,
    makeJoinToken: (caPem) => `${caPem}-${++state.tokens}`,
    members: () => state.members,
  });
  return { state, store, view: store.view, control };
}

type World = ReturnType<typeof world>;

function spec(more: Partial<ServiceSpec> = {}): ServiceSpec {
  return { Name: 'web', Labels: {}, TaskTemplate: { ContainerSpec: { Image: 'nginx' } }, Mode: {}, ...more };
}

const container = (more: Partial<ContainerSpec>) =>
  spec({ TaskTemplate: { ContainerSpec: { Image: 'nginx', ...more } } });
const template = (more: Partial<TaskSpec>) => spec({ TaskTemplate: { ContainerSpec: { Image: 'nginx' }, ...more } });

/** How a call was refused, as `kind: message`. */
async function refusal(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'accepted',
    (error: unknown) =>
      error instanceof Error && 'kind' in error ? `${String(error.kind)}: ${error.message}` : String(error),
  );
}

const bind = { Type: 'bind', Source: '/a', Target: '/b' };
const tcp = { TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' };
const ports = (...Ports: object[]) => spec({ EndpointSpec: { Ports: Ports as never } });
const update = (more: object) => spec({ UpdateConfig: { Parallelism: 1, ...more } });

describe('a service is refused', () => {
  test.each<[string, ServiceSpec]>([
    ['invalid: name must be valid as a DNS name component', spec({ Name: 'a.b' })],
    ['invalid: name must be valid as a DNS name component', spec({ Name: 'a-' })],
    ['invalid: name must be valid as a DNS name component', spec({ Name: `${'a'.repeat(62)}!` })],
    ['invalid: name must be 63 characters or fewer', spec({ Name: 'a'.repeat(64) })],
    ['invalid: ContainerSpec: image reference must be provided', container({ Image: '' })],
    ['invalid: ContainerSpec: "X Y" is not a valid repository/tag', container({ Image: 'X Y' })],
    ['invalid: Invalid signal: SIGFOO', container({ StopSignal: 'SIGFOO' })],
    [
      'invalid: invalid ulimit type: files (known: core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack)',
      container({ Ulimits: [{ Name: 'files', Soft: 1, Hard: 1 }] }),
    ],
    ['invalid: ContainerSpec: duplicate mount point: /b', container({ Mounts: [bind, bind] })],
    [
      'invalid: invalid mount config for type "bind": field Source must not be empty',
      container({ Mounts: [{ ...bind, Source: '' }] }),
    ],
    [
      'invalid: invalid mount config for type "bind": invalid mount path: \'x\' mount path must be absolute',
      container({ Mounts: [{ ...bind, Target: 'x' }] }),
    ],
    [
      'invalid: invalid mount config for type "nfs": mount type unknown',
      container({ Mounts: [{ ...bind, Type: 'nfs' }] }),
    ],
    ['unimplemented: mounts of type npipe are not supported yet', container({ Mounts: [{ ...bind, Type: 'npipe' }] })],
    [
      'unimplemented: volume driver "rexray" is not supported yet',
      container({ Mounts: [{ Type: 'volume', Target: '/b', VolumeOptions: { DriverConfig: { Name: 'rexray' } } }] }),
    ],
    [
      'invalid: ContainerSpec: Interval in HealthConfig cannot be less than 1ms',
      container({ Healthcheck: { Interval: 5 } }),
    ],
    ['invalid: ContainerSpec: Retries in HealthConfig cannot be negative', container({ Healthcheck: { Retries: -1 } })],
    [
      'unimplemented: credential specs are not supported yet',
      container({ Privileges: { CredentialSpec: { File: 'x' } } }),
    ],
    [
      'invalid: expanding env failed: unsupported template {{.Node.Secret}}',
      container({ Env: ['A={{.Node.Secret}}'] }),
    ],
    ['invalid: expanding hostname failed: unclosed action', container({ Hostname: 'a{{.Node' })],
    [
      'invalid: invalid cpu value 0.0005: Must be at least 0.001',
      template({ Resources: { Limits: { NanoCPUs: 500_000 } } }),
    ],
    [
      'invalid: invalid memory value 4194303: Must be at least 4MiB',
      template({ Resources: { Reservations: { MemoryBytes: 4194303 } } }),
    ],
    ['invalid: invalid RestartCondition: "bogus"', template({ RestartPolicy: { Condition: 'bogus' } })],
    ['invalid: TaskSpec: restart-delay cannot be negative', template({ RestartPolicy: { Delay: -1 } })],
    ['invalid: constraint expected one operator from ==, !=', template({ Placement: { Constraints: ['node.role'] } })],
    ["invalid: key 'x!' is invalid", template({ Placement: { Constraints: ['x! == y'] } })],
    ['unimplemented: log driver "syslog" is not supported yet', template({ LogDriver: { Name: 'syslog' } })],
    ['invalid: must specify only one service mode', spec({ Mode: { Replicated: {}, Global: {} } })],
    ['invalid: Total completed jobs must be non-negative', spec({ Mode: { ReplicatedJob: { TotalCompletions: -1 } } })],
    ['invalid: Maximum concurrent jobs must be non-negative', spec({ Mode: { ReplicatedJob: { MaxConcurrent: -1 } } })],
    [
      'invalid: Jobs may not have an update config',
      spec({ Mode: { GlobalJob: {} }, UpdateConfig: { Parallelism: 1 } }),
    ],
    [
      'invalid: label tscluster.failover-delay: invalid duration "soon"',
      spec({ Labels: { 'tscluster.failover-delay': 'soon' } }),
    ],
    [
      'invalid: label tscluster.failover-delay: at most 24h, not "25h"',
      spec({ Labels: { 'tscluster.failover-delay': '25h' } }),
    ],
    [
      'invalid: label tscluster.failover-delay: tasks of a global service do not move',
      spec({ Mode: { Global: {} }, Labels: { 'tscluster.failover-delay': '1m' } }),
    ],
    ['invalid: TaskSpec: update-delay cannot be negative', update({ Delay: -1 })],
    ['invalid: TaskSpec: update-monitor cannot be negative', update({ Monitor: -1 })],
    ['invalid: unrecognized update failure action shrug', update({ FailureAction: 'shrug' })],
    ['invalid: unrecognized update order sideways', update({ Order: 'sideways' })],
    ['invalid: unrecognized update order up', spec({ RollbackConfig: { Parallelism: 1, Order: 'up' } })],
    [
      'invalid: label tscluster.update.progress-deadline: invalid duration "never"',
      spec({ Labels: { 'tscluster.update.progress-deadline': 'never' } }),
    ],
    [
      'invalid: TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1',
      update({ MaxFailureRatio: 2 }),
    ],
    [
      'unimplemented: published ports of protocol sctp are not supported yet',
      ports({ TargetPort: 80, Protocol: 'sctp' }),
    ],
    ['invalid: EndpointSpec: invalid host IP: "eth0"', ports({ TargetPort: 80, HostIP: 'eth0' })],
    [
      'unimplemented: publishing on IPv6 addresses of hosts is not supported yet',
      ports({ TargetPort: 80, HostIP: '2001:db8::1' }),
    ],
    [
      'invalid: EndpointSpec: invalid source of port 80: "mask", it must be one of preserve, masquerade, local',
      ports({ TargetPort: 80, Source: 'mask' }),
    ],
    [
      'invalid: EndpointSpec: the source of port 80 cannot be chosen: it is published in host mode',
      ports({ ...tcp, Source: 'local' }),
    ],
    ['invalid: EndpointSpec: duplicate published ports provided', ports(tcp, { ...tcp, HostIP: '10.0.0.1' })],
    [
      'invalid: label tscluster.drain-delay: invalid duration "soon"',
      spec({ Labels: { 'tscluster.drain-delay': 'soon' } }),
    ],
    [
      'invalid: label tscluster.drain-delay: at most 60s, not "61s"',
      spec({ Labels: { 'tscluster.drain-delay': '61s' } }),
    ],
    [
      "invalid: EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
      spec({ EndpointSpec: { Mode: 'dnsrr', Ports: [{ TargetPort: 80 }] } }),
    ],
    ['invalid: EndpointSpec: duplicate published ports provided', ports(tcp, { ...tcp, TargetPort: 81 })],
    ['invalid: EndpointSpec: invalid published port: 70000', ports({ ...tcp, PublishedPort: 70_000 })],
    ['not_found: network nonet not found', template({ Networks: [{ Target: 'nonet' }] })],
    [
      'invalid: network "host" cannot be combined with other networks',
      template({ Networks: [{ Target: 'host' }, { Target: 'bridge' }] }),
    ],
    [
      'invalid: ports cannot be published in ingress mode on network "host": publish them with mode=host, or use another network',
      { ...template({ Networks: [{ Target: 'host' }] }), EndpointSpec: { Ports: [{ TargetPort: 80 }] } },
    ],
    [
      'invalid: ports cannot be published on network "none": use another network',
      { ...template({ Networks: [{ Target: 'none' }] }), EndpointSpec: { Ports: [tcp] } },
    ],
    [
      'invalid: network-scoped alias is supported only for containers in user defined networks',
      template({ Networks: [{ Target: 'bridge', Aliases: ['db'] }] }),
    ],
    [
      'invalid: service is attached to network bridge more than once',
      template({ Networks: [{ Target: 'bridge' }, { Target: 'bridge' }] }),
    ],
    [
      'unimplemented: driver options of network attachments are not supported yet',
      template({ Networks: [{ Target: 'bridge', DriverOpts: { a: 'b' } }] }),
    ],
    [
      'invalid: Service cannot be explicitly attached to the ingress network "ingress"',
      template({ Networks: [{ Target: 'ingress' }] }),
    ],
  ])('%s', async (expected, given) => {
    const { control, view } = world();
    expect(await refusal(control.call('service.create', { spec: given }))).toBe(expected);
    expect(view.count('service')).toBe(0);
  });

  test('D19: when it mounts a cluster volume, by name', async () => {
    const { control } = world();
    const given = container({ Mounts: [{ ...bind, Type: 'cluster' }] });
    expect(await refusal(control.call('service.create', { spec: given }))).toBe(
      'unimplemented: mounts of type cluster are not supported yet',
    );
  });
});

describe('a service is accepted', () => {
  test.each<[string, ServiceSpec]>([
    [
      'with the update config that docker stack deploy sends',
      update({ Order: '', FailureAction: '', MaxFailureRatio: 0 }),
    ],
    [
      'with every wish about its updates',
      spec({
        UpdateConfig: {
          Parallelism: 0,
          Delay: 1e9,
          Monitor: 1,
          FailureAction: 'rollback',
          MaxFailureRatio: 0.5,
          Order: 'start-first',
        },
        RollbackConfig: { Parallelism: 2, FailureAction: 'continue' },
        Labels: { 'tscluster.update.progress-deadline': '5m' },
      }),
    ],
    ['with the same port for tcp and udp', ports(tcp, { ...tcp, Protocol: 'udp' })],
    ['with privileges full of nothing', container({ Privileges: { NoNewPrivileges: false, SELinuxContext: {} } })],
    [
      'with generic resources',
      template({
        Resources: { Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 1 } }] } },
      }),
    ],
    ['with a healthcheck of zero durations', container({ Healthcheck: { Test: ['CMD', 'x'], Interval: 0 } })],
    [
      'with templates that agents expand',
      container({ Hostname: '{{.Service.Name}}-{{ .Task.Slot }}', Env: ['A={{index .Service.Labels "a"}}'] }),
    ],
    ['with zero replicas', spec({ Mode: { Replicated: { Replicas: 0 } } })],
    ['in mode global', spec({ Mode: { Global: {} } })],
    ['as a replicated job of which the sizes are left to us', spec({ Mode: { ReplicatedJob: {} } })],
    ['as a global job', spec({ Mode: { GlobalJob: {} } })],
    ['with a failover delay', spec({ Labels: { 'tscluster.failover-delay': '1m30s' } })],
  ])('%s', async (_, given) => {
    const { control, view } = world();
    const { id } = await control.call('service.create', { spec: given });
    expect(view.get('service', id)?.specVersion).toBe(1);
  });

  test('a job is executed anew by each change of its spec; other services have no such status', async () => {
    const { control, view } = world();
    const job = spec({ Name: 'job', Mode: { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 5 } } });
    const { id } = await control.call('service.create', { spec: job });
    expect(view.get('service', id)?.jobStatus?.iteration).toBe(0);
    for (const round of [1, 2]) {
      const version = view.get('service', id)?.meta.version ?? 0;
      await control.call('service.update', { id, version, spec: { ...job, Labels: { round: String(round) } } });
      expect(view.get('service', id)?.jobStatus?.iteration).toBe(round);
    }
    const web = await control.call('service.create', { spec: spec() });
    expect(view.get('service', web.id)?.jobStatus).toBeUndefined();
  });

  test('two at once with one name: one wins, the other hears that the name is taken', async () => {
    const { control, view } = world();
    const both = await Promise.all([1, 2].map(() => refusal(control.call('service.create', { spec: spec() }))));
    expect(both.sort()).toEqual([
      'accepted',
      'already_exists: name conflicts with an existing object: service web already exists',
    ]);
    expect(view.count('service')).toBe(1);
  });
});

describe('secret references', () => {
  const file = { Name: 'pw', UID: '0', GID: '0', Mode: 292 };

  async function withSecrets(w: World) {
    const make = async (Name: string) =>
      (await w.control.call('secret.create', { spec: { Name, Labels: {}, Data: 'eA==' } })).id;
    return { a: await make('a'), b: await make('b') };
  }

  test('must exist under the id and the name given', async () => {
    const w = world();
    const { a } = await withSecrets(w);
    const create = (Secrets: ContainerSpec['Secrets']) =>
      refusal(w.control.call('service.create', { spec: container({ Secrets: Secrets ?? [] }) }));
    expect(await create([{ File: file, SecretID: 'nope', SecretName: 'x' }])).toBe('invalid: secret not found: x');
    expect(await create([{ File: file, SecretID: a, SecretName: 'b' }])).toBe('invalid: secret not found: b');
    expect(await create([{ SecretID: a, SecretName: 'a' }])).toBe('invalid: malformed secret reference');
    expect(await create([{ File: { ...file, Name: '../x' }, SecretID: a, SecretName: 'a' }])).toContain(
      'leaves its directory',
    );
    expect(await create([{ File: file, SecretID: a, SecretName: 'a' }])).toBe('accepted');
  });

  test('must not meet in one file', async () => {
    const w = world();
    const { a, b } = await withSecrets(w);
    const Secrets = [
      { File: file, SecretID: a, SecretName: 'a' },
      { File: file, SecretID: b, SecretName: 'b' },
    ];
    expect(await refusal(w.control.call('service.create', { spec: container({ Secrets }) }))).toBe(
      "invalid: secret references 'a' and 'b' have a conflicting target: 'pw'",
    );
  });
});

describe('service.update', () => {
  async function made() {
    const w = world();
    const { id } = await w.control.call('service.create', { spec: spec() });
    const change = (given: ServiceSpec) => {
      const version = w.view.get('service', id)?.meta.version ?? 0;
      return w.control.call('service.update', { id: 'web', version, spec: given });
    };
    const service = () => w.view.get('service', id);
    return { ...w, id, change, service };
  }

  test.each<[string, number, ServiceSpec]>([
    ['scaling', 1, spec({ Mode: { Replicated: { Replicas: 5 } } })],
    ['a service label', 1, spec({ Labels: { a: 'b' } })],
    ['empty fields', 1, container({ Args: [], Labels: {}, Hostname: '' })],
    ['another image', 2, container({ Image: 'nginx:2' })],
    ['force', 2, template({ ForceUpdate: 1 })],
    ['a published port', 2, ports(tcp)],
  ])('%s makes spec version %i', async (_, version, given) => {
    const { change, service } = await made();
    await change(given);
    expect(service()?.specVersion).toBe(version);
    expect(service()?.previousSpec?.TaskTemplate.ContainerSpec.Image).toBe('nginx');
  });

  test('forgets how the update before ended', async () => {
    const { store, id, change, service } = await made();
    await store.transact((tx) => {
      const { meta: _, ...draft } = tx.get('service', id) ?? expect.fail();
      tx.update('service', { ...draft, updateStatus: { state: 'completed', message: 'update completed' } });
    });
    await change(spec());
    expect(service()?.updateStatus).toBeUndefined();
  });

  test('scaling in the middle of an update leaves it as it stands, and what to roll back to, at the new scale', async () => {
    const { store, id, change, service } = await made();
    await change(container({ Image: 'nginx:2' }));
    const updateStatus = { state: 'updating', startedAt: 1, message: 'update in progress' } as const;
    const updateProgress = { total: 1, failed: [1] };
    await store.transact((tx) => {
      const { meta: _, ...draft } = tx.get('service', id) ?? expect.fail();
      tx.update('service', { ...draft, updateStatus, updateProgress });
    });
    const Mode = { Replicated: { Replicas: 9 } };
    await change({ ...container({ Image: 'nginx:2' }), Mode });
    expect(service()).toMatchObject({ updateStatus, updateProgress, specVersion: 2, revision: 2 });
    expect(service()?.previousSpec).toMatchObject({ Mode, TaskTemplate: { ContainerSpec: { Image: 'nginx' } } });
  });

  test('a rollback whose spec refers to what is gone is refused', async () => {
    const { control, view, id, change, service } = await made();
    const secret = await control.call('secret.create', { spec: { Name: 's', Labels: {}, Data: 'YQ==' } });
    const use = { SecretID: secret.id, SecretName: 's', File: { Name: 's', UID: '0', GID: '0', Mode: 292 } };
    await change(container({ Secrets: [use] }));
    await change(container({}));
    await control.call('secret.remove', { id: secret.id });
    const version = service()?.meta.version ?? 0;
    const call = control.call('service.update', { id, version, spec: spec(), rollback: true });
    expect(await refusal(call)).toBe('invalid: secret not found: s');
    expect(view.get('service', id)?.updateStatus).toBeUndefined();
  });

  test('F28: two with the same version: one wins', async () => {
    const { control, id, service } = await made();
    const version = service()?.meta.version ?? 0;
    const change = (Image: string) =>
      refusal(control.call('service.update', { id, version, spec: container({ Image }) }));
    const both = await Promise.all([change('a'), change('b')]);
    expect(both.sort()).toEqual(['accepted', 'conflict: update out of sequence']);
  });

  /** What the loops do: a step of an update, a beat. The spec stays. */
  async function writeStatus(store: World['store'], id: string, updateStatus: Service['updateStatus']): Promise<void> {
    await store.transact((tx) => {
      const { meta: _, updateStatus: __, ...draft } = tx.get('service', id) ?? expect.fail();
      tx.update('service', { ...draft, ...(updateStatus === undefined ? {} : { updateStatus }) });
    });
  }

  test('a version that was read before a step of the update is as good as the newest: the spec is still that one', async () => {
    const { control, store, id, change, service } = await made();
    await change(container({ Image: 'nginx:2' }));
    const read = service()?.meta.version ?? 0;
    await writeStatus(store, id, { state: 'updating', startedAt: 1, message: 'update in progress' });
    await writeStatus(store, id, { state: 'updating', startedAt: 1, message: 'update in progress, still' });
    expect(service()?.meta.version).toBe(read + 2);
    const update = (version: number, Image: string) =>
      refusal(control.call('service.update', { id, version, spec: container({ Image }) }));
    expect(await update(read + 3, 'nginx:3')).toBe('conflict: update out of sequence');
    expect(await update(read - 1, 'nginx:3')).toBe('conflict: update out of sequence');
    expect(await update(read, 'nginx:3')).toBe('accepted');
    expect(await update(read + 2, 'nginx:4')).toBe('conflict: update out of sequence');
    expect(service()?.spec.TaskTemplate.ContainerSpec.Image).toBe('nginx:3');
  });

  test('F28: a version from before another client’s change is refused, whatever was written since: update, scale and rollback', async () => {
    const { control, store, id, change, service } = await made();
    const read = service()?.meta.version ?? 0;
    await change(container({ Image: 'nginx:2' }));
    await writeStatus(store, id, { state: 'updating', startedAt: 1, message: 'update in progress' });
    const ask = (given: ServiceSpec, rollback: boolean) =>
      refusal(control.call('service.update', { id, version: read, spec: given, rollback }));
    const words = 'conflict: update out of sequence';
    expect(await ask(container({ Image: 'nginx:3' }), false)).toBe(words);
    expect(await ask(spec({ Mode: { Replicated: { Replicas: 7 } } }), false)).toBe(words);
    expect(await ask(spec(), true)).toBe(words);
    expect(await refusal(control.call('service.rollback', { id, version: read, to: 1 }))).toBe(words);
    expect(service()?.spec.TaskTemplate.ContainerSpec.Image).toBe('nginx:2');
  });

  test('a rollback by failure is a change of the spec, too', async () => {
    const { control, store, id, change, service } = await made();
    await change(container({ Image: 'nginx:2' }));
    const read = service()?.meta.version ?? 0;
    await store.transact((tx) => {
      const old = tx.get('service', id) ?? expect.fail();
      const by = { spec: old.previousSpec ?? expect.fail(), message: '', startedAt: 1, by: 'failure' } as const;
      tx.update('service', rolledBack(old, by, 1));
    });
    const call = control.call('service.update', { id, version: read, spec: container({ Image: 'nginx:2' }) });
    expect(await refusal(call)).toBe('conflict: update out of sequence');
  });

  test.each(['paused', 'rollback_paused'] as const)('scaling leaves what is %s as it stands', async (state) => {
    const { store, id, change, service } = await made();
    await change(container({ Image: 'nginx:2' }));
    const updateStatus = { state, startedAt: 1, message: 'because' } as const;
    await writeStatus(store, id, updateStatus);
    const Mode = { Replicated: { Replicas: 9 } };
    await change({ ...container({ Image: 'nginx:2' }), Mode });
    expect(service()).toMatchObject({ updateStatus, specVersion: 2, revision: 2 });
    expect(service()?.previousSpec).toMatchObject({ Mode, TaskTemplate: { ContainerSpec: { Image: 'nginx' } } });
    expect(service()?.spec.Mode).toEqual(Mode);
    // Asked for again without a change: resumed.
    await change({ ...container({ Image: 'nginx:2' }), Mode });
    expect(service()?.updateStatus).toBeUndefined();
  });

  test('of an ambiguous prefix is refused', async () => {
    const { control, view, store } = world();
    for (const id of ['aaa1', 'aaa2']) {
      await store.transact((tx) => tx.create('service', { id, spec: spec({ Name: `s-${id}` }), specVersion: 1 }));
    }
    expect(await refusal(control.call('service.remove', { id: 'aaa' }))).toBe(
      'invalid: service aaa is ambiguous (2 matches found)',
    );
    await control.call('service.remove', { id: 'aaa1' });
    await control.call('service.remove', { id: 'aaa' });
    expect(view.count('service')).toBe(0);
  });
});

describe('nodes', () => {
  const member = (nodeId: string, reachability: RaftMemberInfo['reachability'] = 'reachable'): RaftMemberInfo => {
    return { nodeId, raftId: 1, addr: '', leader: false, reachability };
  };

  async function addNode(w: World, id: string, more: Partial<Node> = {}) {
    const draft: Omit<Node, 'meta'> = {
      id,
      spec: { Labels: {}, Role: 'worker', Availability: 'active' },
      role: 'worker',
      status: { state: 'down', message: '', addr: '', since: 0 },
      ...more,
    };
    await w.store.transact((tx) => tx.create('node', draft));
  }

  const asManager: Partial<Node> = { spec: { Labels: {}, Role: 'manager', Availability: 'active' }, role: 'manager' };

  async function demote(w: World, id: string) {
    const version = w.view.get('node', id)?.meta.version ?? 0;
    const request: ControlRequest<'node.update'> = {
      id,
      version,
      spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    };
    return refusal(w.control.call('node.update', request));
  }

  test('a demotion must leave a majority of reachable managers', async () => {
    const w = world();
    for (const id of ['m1', 'm2', 'm3']) await addNode(w, id, asManager);
    w.state.members = [member('m1'), member('m2'), member('m3', 'unreachable')];
    expect(await demote(w, 'm1')).toContain('this would result in a loss of quorum');
    expect(await demote(w, 'm3')).toBe('accepted');
  });

  test('a node is updated though it was written since it was read, but not over another’s change', async () => {
    const w = world();
    await addNode(w, 'n1');
    const read = w.view.get('node', 'n1')?.meta.version ?? 0;
    await w.store.transact((tx) => {
      const { meta: _, ...draft } = tx.get('node', 'n1') ?? expect.fail();
      tx.update('node', { ...draft, status: { ...draft.status, state: 'ready' } });
    });
    const set = (Availability: NodeSpec['Availability']) =>
      refusal(
        w.control.call('node.update', { id: 'n1', version: read, spec: { Labels: {}, Role: 'worker', Availability } }),
      );
    expect(await set('drain')).toBe('accepted');
    expect(await set('pause')).toBe('conflict: update out of sequence');
    expect(w.view.get('node', 'n1')).toMatchObject({ spec: { Availability: 'drain' }, status: { state: 'ready' } });
  });

  test('when a node was drained is kept, whatever else changes, until it is drained no more', async () => {
    const w = world();
    await addNode(w, 'n1');
    const set = async (Availability: NodeSpec['Availability'], Labels = {}) => {
      w.state.now += 1000;
      const version = w.view.get('node', 'n1')?.meta.version ?? 0;
      const spec = { Labels, Role: 'worker', Availability } as const;
      await w.control.call('node.update', { id: 'n1', version, spec });
      return w.view.get('node', 'n1')?.drainedAt;
    };
    expect(await set('pause')).toBeUndefined();
    expect(await set('drain')).toBe(start + 2000);
    expect(await set('drain', { rack: 'a' })).toBe(start + 2000);
    expect(await set('active')).toBeUndefined();
    expect(await set('drain')).toBe(start + 5000);
  });

  test('the last manager stays one', async () => {
    const w = world();
    await addNode(w, 'm1', asManager);
    expect(await demote(w, 'm1')).toBe('failed_precondition: attempting to demote the last manager of the swarm');
  });

  test('a removed node’s tasks are orphaned and its certificate is refused until it has expired', async () => {
    const w = world();
    await w.store.transact((tx) =>
      tx.create('cluster', {
        id: 'c',
        spec: defaultClusterSpec,
        rootCa: { certPem: 'ca', keyPem: '', joinTokens: { worker: 'w', manager: 'm' } },
        removedNodes: { old: start - 1, recent: start + 1 },
        nextRaftId: 1,
      }),
    );
    await addNode(w, 'n1');
    const { id: serviceId } = await w.control.call('service.create', { spec: spec() });
    for (const [id, state] of [
      ['t1', TaskState.running],
      ['t2', TaskState.failed],
    ] as const) {
      await w.store.transact((tx) => tx.create('task', task(id, serviceId, state)));
    }
    await w.control.call('node.remove', { id: 'n1', force: false });
    expect(w.view.get('node', 'n1')).toBeUndefined();
    expect([...w.view.list('task')].map(({ status }) => status.state)).toEqual([TaskState.orphaned, TaskState.failed]);
    const week = 7 * 24 * 3600 * 1000;
    expect(w.view.cluster()?.removedNodes).toEqual({ recent: start + 1, n1: start + 90 * 24 * 3600 * 1000 + week });
  });

  function task(id: string, serviceId: string, state: TaskState): Omit<Task, 'meta'> {
    return {
      id,
      serviceId,
      slot: 1,
      nodeId: 'n1',
      spec: spec().TaskTemplate,
      specVersion: 1,
      serviceName: 'web',
      serviceLabels: {},
      endpoint: {},
      desired: TaskState.running,
      status: { state, timestamp: start, message: '', err: '' },
      restarts: [],
    };
  }
});

test('a method that does not exist is refused', async () => {
  const { control } = world();
  await expect(control.call('service.explode' as never, {} as never)).rejects.toSatisfy((error) =>
    isKind(error, 'unimplemented'),
  );
});
