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
    [{ publishRm: ['80'] }, { EndpointSpec: { Ports: [] } }],
    [{ publishRm: ['target=80,mode=ingress'] }, { EndpointSpec: { Ports: [{ PublishedPort: 8080 }] } }],
    [{ publishRm: ['9999:80'] }, { EndpointSpec: { Ports: [] } }],
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

  test.each<[Partial<UpdateFlags>, string]>([
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
