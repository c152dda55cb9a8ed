import { describe, expect, test } from 'vitest';
import type { ServiceSpec } from '../../model/spec.ts';
import { type UpdateFlags, updateSpec } from './update-spec.ts';

const spec: ServiceSpec = {
  Name: 'web',
  Labels: { a: 'b', c: 'd' },
  TaskTemplate: {
    ContainerSpec: {
      Image: 'nginx:1',
      Env: ['B=2', 'A=1'],
      Hosts: ['1.2.3.4 h'],
      CapabilityAdd: ['CAP_NET_ADMIN'],
      Mounts: [{ Type: 'volume', Source: 'z', Target: '/z' }],
    },
    Resources: { Limits: { NanoCPUs: 1e9 } },
    Placement: { Constraints: ['node.role==worker'] },
    ForceUpdate: 3,
  },
  Mode: { Replicated: { Replicas: 2 } },
  EndpointSpec: { Mode: 'vip', Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] },
};

const update = (flags: Partial<UpdateFlags>) =>
  updateSpec(spec, { healthcheck: true, resolveImage: true, ...flags }, {});
const container = (flags: Partial<UpdateFlags>) => update(flags).TaskTemplate.ContainerSpec;

describe('service update', () => {
  test('without flags changes nothing, so that no task restarts', () => {
    expect(update({})).toEqual(spec);
  });

  test('environment keeps its order', () => {
    expect(container({ envAdd: ['A=9', 'N=1'], envRm: ['B'] }).Env).toEqual(['A=9', 'N=1']);
    expect(container({ envAdd: ['B=5'] }).Env).toEqual(['B=5', 'A=1']);
  });

  test.each<[Partial<UpdateFlags>, object]>([
    [{ labelAdd: ['q=r'], labelRm: ['a'] }, { Labels: { c: 'd', q: 'r' } }],
    [{ replicas: 5 }, { Mode: { Replicated: { Replicas: 5 } } }],
    [{ force: true }, { TaskTemplate: { ForceUpdate: 4 } }],
    [{ image: 'nginx' }, { TaskTemplate: { ContainerSpec: { Image: 'nginx:latest' } } }],
    [{ args: 'x "y z"' }, { TaskTemplate: { ContainerSpec: { Args: ['x', 'y z'] } } }],
    [
      { constraintAdd: ['b==c'], constraintRm: ['node.role==worker'] },
      { TaskTemplate: { Placement: { Constraints: ['b==c'] } } },
    ],
    [
      { mountAdd: [{ Type: 'bind', Source: '/a', Target: '/z' }] },
      { TaskTemplate: { ContainerSpec: { Mounts: [{ Type: 'bind', Source: '/a', Target: '/z' }] } } },
    ],
    [{ mountRm: ['/z'] }, { TaskTemplate: { ContainerSpec: { Mounts: [] } } }],
    [{ hostRm: ['h'], hostAdd: ['9.9.9.9 k'] }, { TaskTemplate: { ContainerSpec: { Hosts: ['9.9.9.9 k'] } } }],
    [{ capDrop: ['net_admin'] }, { TaskTemplate: { ContainerSpec: { CapabilityAdd: [], CapabilityDrop: [] } } }],
    [{ limitMemory: 64 }, { TaskTemplate: { Resources: { Limits: { NanoCPUs: 1e9, MemoryBytes: 64 } } } }],
    [{ publishRm: ['80'] }, { EndpointSpec: { Ports: [{ PublishedPort: 8080 }] } }],
    [{ publishRm: ['target=80,mode=host,protocol=udp'] }, { EndpointSpec: { Ports: [{ PublishedPort: 8080 }] } }],
    [{ publishRm: ['target=80,mode=host'] }, { EndpointSpec: { Ports: [] } }],
    [
      { publishAdd: [[{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host', HostIP: '192.0.2.1' }]] },
      { EndpointSpec: { Ports: [{ PublishMode: 'host' }, { HostIP: '192.0.2.1' }] } },
    ],
    [{ endpointMode: 'dnsrr' }, { EndpointSpec: { Mode: 'dnsrr', Ports: [{ PublishedPort: 8080 }] } }],
    [{ hostname: 'h-{{.Task.Slot}}' }, { TaskTemplate: { ContainerSpec: { Hostname: 'h-{{.Task.Slot}}' } } }],
    [
      { dnsAdd: ['9.9.9.9'], dnsSearchAdd: ['a.b'], dnsOptionAdd: ['ndots:2'] },
      {
        TaskTemplate: {
          ContainerSpec: { DNSConfig: { Nameservers: ['9.9.9.9'], Search: ['a.b'], Options: ['ndots:2'] } },
        },
      },
    ],
    [
      { publishAdd: [[{ TargetPort: 90, PublishedPort: 9 }]] },
      { EndpointSpec: { Ports: [{ PublishedPort: 9 }, { PublishedPort: 8080 }] } },
    ],
    [{ updateDelay: 1 }, { UpdateConfig: { Parallelism: 1, Delay: 1, Order: 'stop-first' } }],
    [
      { updateParallelism: 0, updateFailureAction: 'rollback', updateMonitor: 7, updateMaxFailureRatio: 0.2 },
      { UpdateConfig: { Parallelism: 0, FailureAction: 'rollback', Monitor: 7, MaxFailureRatio: 0.2 } },
    ],
    [{ updateOrder: 'start-first' }, { UpdateConfig: { Order: 'start-first', FailureAction: 'pause' } }],
    [
      { rollbackParallelism: 2, rollbackOrder: 'start-first', rollbackDelay: 3 },
      { RollbackConfig: { Parallelism: 2, Order: 'start-first', Delay: 3, FailureAction: 'pause', Monitor: 5e9 } },
    ],
    [
      { updateProgressDeadline: 90e9 },
      { Labels: { a: 'b', c: 'd', 'tscluster.update.progress-deadline': '1m30s' }, Mode: spec.Mode },
    ],
    [{ drainDelay: 5e9 }, { Labels: { a: 'b', c: 'd', 'tscluster.drain-delay': '5s' } }],
    [{ updateProgressDeadline: 0 }, { Labels: { 'tscluster.update.progress-deadline': '0s' } }],
  ])('%j', (flags, expected) => {
    expect(update(flags)).toMatchObject(expected);
  });

  test('--publish-rm by number takes the ingress port, whatever it is published as, and wins over --publish-add', () => {
    const port = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' };
    const ports = (flags: Partial<UpdateFlags>) =>
      updateSpec({ ...spec, EndpointSpec: { Ports: [port] } }, { healthcheck: true, resolveImage: true, ...flags }, {})
        .EndpointSpec?.Ports;
    expect(ports({ publishRm: ['80'] })).toEqual([]);
    expect(ports({ publishRm: ['9999:80'] })).toEqual([]);
    expect(ports({ publishRm: ['80/udp'] })).toEqual([port]);
    expect(ports({ publishRm: ['80'], publishAdd: [[port]] })).toEqual([]);
    expect(ports({ publishRm: ['80'], publishAdd: [[{ ...port, PublishedPort: 9 }]] })).toEqual([
      { ...port, PublishedPort: 9 },
    ]);
  });

  test('--host-rm takes one name out of an entry, of one address if it says so', () => {
    const Hosts = ['127.0.0.2 host3 host1', '127.0.0.1 host1', '::1 host1 host2'];
    const base = { ...spec, TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { Image: 'x', Hosts } } };
    const left = (...hostRm: string[]) =>
      updateSpec(base, { healthcheck: true, resolveImage: true, hostRm }, {}).TaskTemplate.ContainerSpec.Hosts;
    expect(left('host1')).toEqual(['127.0.0.2 host3', '::1 host2']);
    expect(left('host1:127.0.0.1', 'host2:::1')).toEqual(['127.0.0.2 host3 host1', '::1 host1']);
  });

  test('what is added and removed by one command is gone or there, as Docker’s client has it', () => {
    const both = update({
      ...{ constraintAdd: ['a==b'], constraintRm: ['a==b'], groupAdd: ['g'], groupRm: ['g'] },
      ...{ dnsAdd: ['1.1.1.1'], dnsRm: ['1.1.1.1'], dnsSearchAdd: ['s'], dnsSearchRm: ['s'] },
      ...{ dnsOptionAdd: ['o'], dnsOptionRm: ['o'], mountRm: ['/z', '/y'] },
      mountAdd: [{ Type: 'volume', Source: 'y', Target: '/y' }],
      ...{ placementPrefAdd: ['node.labels.x'], placementPrefRm: ['node.labels.x'] },
      ...{ envAdd: ['A=7'], envRm: ['A'], labelAdd: ['a=9'], labelRm: ['a'], hostAdd: ['1.2.3.4 h'], hostRm: ['h'] },
    });
    const { Placement, ContainerSpec } = both.TaskTemplate;
    expect(Placement?.Constraints).toEqual(['node.role==worker']);
    expect(ContainerSpec).toMatchObject({ Groups: [], Mounts: [], Hosts: ['1.2.3.4 h'], Env: ['B=2', 'A=7'] });
    expect(ContainerSpec.DNSConfig).toEqual({ Nameservers: [], Search: [], Options: [] });
    expect(Placement?.Preferences).toEqual([{ Spread: { SpreadDescriptor: 'node.labels.x' } }]);
    expect(both.Labels).toEqual({ a: '9', c: 'd' });
  });

  test('log options alone are nothing, as for Docker’s client', () => {
    expect(update({ logOpt: ['max-size=1m'] })).toEqual(spec);
  });

  test.each<[Partial<UpdateFlags>, string]>([
    [{ mountAdd: ['a', 'b'].map((Source) => ({ Type: 'volume', Source, Target: '/t' })) }, 'duplicate mount target'],
    [{ maxConcurrent: 2 }, 'max-concurrent can only be used with replicated-job mode'],
    [{ genericResourceRm: ['gpu'] }, 'could not find generic-resource `gpu` to remove it'],
    [{ healthcheck: false, healthCmd: 'x' }, '--no-healthcheck conflicts'],
  ])('%j is refused', (flags, message) => {
    expect(() => update(flags)).toThrow(message);
  });

  const job: ServiceSpec = { ...spec, Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 9 } } };
  const updateJob = (flags: Partial<UpdateFlags>) =>
    updateSpec(job, { healthcheck: true, resolveImage: true, ...flags }, {});

  test('a job can run more tasks at a time', () => {
    expect(updateJob({ maxConcurrent: 3 }).Mode).toEqual({ ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 9 } });
  });

  test.each<[Partial<UpdateFlags>, string]>([
    [{ replicas: 2 }, 'replicas can only be used with replicated mode'],
    [{ updateDelay: 1 }, 'update and rollback configuration is not supported for jobs'],
    [{ rollbackOrder: 'start-first' }, 'update and rollback configuration is not supported for jobs'],
  ])('of a job with %j is refused', (flags, message) => {
    expect(() => updateJob(flags)).toThrow(message);
  });
});
