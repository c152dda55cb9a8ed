/** Whatever is sent, the answer is a documented error or a success, in Docker's form. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TestApi } from './testing/fake-node.ts';

const posts = [
  '/services/create',
  '/services/web/update?version=1',
  '/secrets/create',
  '/configs/create',
  '/networks/create',
  '/nodes/host-n1/update?version=1',
  '/swarm/update?version=1',
  '/swarm/init',
  '/swarm/join',
];

const keys = fc.constantFrom(
  ...[
    'Name',
    'labels',
    'TaskTemplate',
    'ContainerSpec',
    'Image',
    'Mode',
    'Replicated',
    'Replicas',
    'Mounts',
    'Data',
    'Spec',
  ],
  ...['EndpointSpec', 'Ports', 'TargetPort', 'UpdateConfig', 'Networks', 'Placement', 'Constraints', 'Secrets', 'File'],
  ...[
    'Config',
    'Subnet',
    'Gateway',
    'AuxiliaryAddresses',
    'Options',
    'Driver',
    'HostIP',
    'Source',
    'Target',
    'Aliases',
  ],
  ...['DefaultAddrPool', 'SubnetSize', 'DataPathPort', 'TsCluster', 'GatewayPools', 'IngressPool'],
  ...['__proto__', 'constructor', 'CAConfig', 'RemoteAddrs', 'Role', 'IPAM', 'Privileges', 'Healthcheck', 'Test'],
);
const { document } = fc.letrec((tie) => ({
  document: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    fc.constantFrom<unknown>(null, '', 'x', 'a b', 0, 1, -1, 1.5, 1e300, true, false),
    fc.array(tie('document'), { maxLength: 3 }),
    fc.dictionary(keys, tie('document'), { maxKeys: 6 }),
  ),
}));

describe('hostile requests', () => {
  test('bodies of any shape never crash a handler', async () => {
    const api = await TestApi.make();
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...posts),
        fc.oneof(
          document.map((d) => JSON.stringify(d)),
          fc.string(),
        ),
        async (url, payload) => {
          const answer = await api.send({ method: 'POST', url, payload });
          expect([200, 201, 400, 403, 404, 409, 501, 503]).toContain(answer.status);
          if (answer.status >= 400) expect(answer.body).toEqual({ message: expect.stringMatching(/./) });
        },
      ),
      { seed: 20, numRuns: 300 },
    );
  });

  test.each([
    '/services/%zz',
    '/services/..%2f..',
    `/services/${'a'.repeat(2000)}`,
    '/services/__proto__',
    '/tasks/constructor',
    '//',
  ])('GET %s is refused as JSON', async (url) => {
    const api = await TestApi.make();
    const answer = await api.get(url);
    expect([400, 404, 414]).toContain(answer.status);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.body['message']).toEqual(expect.any(String));
  });

  test('a label called __proto__ is a label', async () => {
    const api = await TestApi.make();
    const payload = '{"Name":"x","Labels":{"__proto__":"y"},"Data":"eA=="}';
    await api.send({ method: 'POST', url: '/secrets/create', payload });
    expect((await api.get('/secrets/x')).raw.toString()).toContain('"Labels":{"__proto__":"y"}');
  });
});
