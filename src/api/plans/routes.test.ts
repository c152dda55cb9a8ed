import { describe, expect, test } from 'vitest';
import { TestApi } from '../testing/fake-node.ts';

const service = (Name: string, more: object = {}, container: object = {}) => ({
  spec: { Name, TaskTemplate: { ContainerSpec: { Image: 'nginx', ...container } }, ...more },
});
const use = (SecretName: string) => ({
  Secrets: [{ SecretName, SecretID: '', File: { Name: SecretName, UID: '0', GID: '0', Mode: 0o444 } }],
});
const plan = (more: object = {}) => ({
  networks: [{ Name: 'demo_default', Driver: 'overlay', Labels: { 'com.docker.stack.namespace': 'demo' }, Scope: '' }],
  secrets: [{ Name: 'demo_key', Data: 'YQ==' }],
  configs: [{ Name: 'demo_page', Data: 'YQ==' }],
  services: [
    service('demo_web', { Networks: [{ Target: 'demo_default', Aliases: ['web'] }] }, use('demo_key')),
    service('demo_db'),
  ],
  ...more,
});

describe('a plan', () => {
  test('that would be taken is, with secrets that are not there yet, and nothing is written', async () => {
    const api = await TestApi.make();
    const before = api.node.store.view.version;
    expect(await api.post('/tscluster/plan/check', plan())).toMatchObject({ status: 200 });
    expect(api.node.store.view.version).toBe(before);
    expect([...api.node.store.view.list('service')]).toEqual([]);
  });

  test.each([
    [
      'a bad second service',
      { services: [service('demo_web'), service('demo_db', {}, { StopSignal: 'SIGFOO' })] },
      400,
      'failed to create service demo_db: Invalid signal: SIGFOO',
    ],
    [
      'a name taken twice',
      { services: [service('demo_web'), service('demo_web')] },
      409,
      'failed to create service demo_web: name conflicts with an existing object: service demo_web already exists',
    ],
    ['a secret that nobody has', { secrets: [] }, 400, 'failed to create service demo_web: secret not found: demo_key'],
    ['a bad secret', { secrets: [{ Name: 'a b', Data: 'YQ==' }] }, 400, /^failed to create secret a b: invalid name/],
    [
      'a service that is gone',
      { services: [{ ...service('demo_web'), id: 'gone' }] },
      404,
      'failed to update service demo_web: service gone not found',
    ],
    [
      'what is not built',
      { networks: [{ Name: 'other', Driver: 'overlay', Options: { encrypted: '' } }] },
      501,
      /^failed to create network other: encrypted overlay networks are not supported yet/,
    ],
    [
      'two networks with the same subnet',
      {
        networks: ['a', 'b'].map((Name) => ({
          Name,
          Driver: 'overlay',
          IPAM: { Config: [{ Subnet: '10.9.0.0/24' }] },
        })),
      },
      400,
      /^failed to create network b: .*10\.9\.0\.0\/24/,
    ],
    [
      'a service on a network that nobody makes',
      {
        services: [
          { spec: { Name: 'x', TaskTemplate: { ContainerSpec: { Image: 'x' }, Networks: [{ Target: 'nowhere' }] } } },
        ],
      },
      404,
      'failed to create service x: network nowhere not found',
    ],
    [
      'a published port that another service of the plan has',
      {
        services: ['x', 'y'].map((Name) =>
          service(Name, { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] } }),
        ),
      },
      400,
      /^failed to create service y: port '8080' is already in use by service 'x'/,
    ],
  ])('is refused for %s, in the words of the step', async (_, more, status, message) => {
    const api = await TestApi.make();
    const before = api.node.store.view.version;
    const answer = await api.post('/tscluster/plan/check', plan(more));
    expect(answer.status).toBe(status);
    const text = String(answer.body['message']);
    if (typeof message === 'string') expect(text).toBe(message);
    else expect(text).toMatch(message);
    expect(api.node.store.view.version).toBe(before);
  });
});
