import { describe, expect, test } from 'vitest';
import { TestApi } from '../testing/fake-node.ts';

describe('protocol', () => {
  test('ping tells the version and the role, also to HEAD', async () => {
    const api = await TestApi.make();
    for (const method of ['GET', 'HEAD'] as const) {
      const { headers, status } = await api.send({ method, url: '/_ping' });
      expect([status, headers['api-version'], headers['ostype'], headers['swarm']]).toEqual([
        200,
        '1.50',
        'linux',
        'active/manager',
      ]);
    }
  });

  test.each([
    ['/v1.50/services', 200],
    ['/v1.24/services', 200],
    ['/services', 200],
    ['/services/', 200],
    ['/v1.51/services', 400],
    ['/v1.23/services', 400],
    ['/v2.0/services', 400],
    ['/v1.50/containers/json', 501],
    ['/images/json', 501],
    ['/nonsense', 404],
    ['/volumes', 200],
  ])('GET %s is %i', async (url, status) => {
    const api = await TestApi.make();
    const answer = await api.get(url);
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.headers['api-version']).toBe('1.50');
  });

  test('versions that are not spoken are named', async () => {
    const api = await TestApi.make();
    expect((await api.get('/v1.99/services')).body).toEqual({
      message: 'client version 1.99 is too new. Maximum supported API version is 1.50',
    });
    expect((await api.get('/v1.0/services')).body['message']).toContain('client version 1.0 is too old');
    expect((await api.get('/bogus')).body).toEqual({ message: 'page not found' });
    expect((await api.get('/containers/json')).body['message']).toMatch(
      /^containers API is not served by tscluster: use `tscluster service ps/,
    );
  });

  test.each([
    ['/containers/web/json?size=1', 'No such container: web'],
    ['/v1.50/images/nginx:1/json', 'No such image: nginx:1'],
    ['/plugins/web/json', 'No such plugin: web'],
  ])('GET %s is answered as if there were none, so that docker inspect goes on', async (url, message) => {
    const api = await TestApi.make();
    expect(await api.get(url)).toMatchObject({ status: 404, body: { message } });
  });

  test('without a swarm, on a worker and without a leader, reads say so with 503', async () => {
    const api = await TestApi.make();
    api.node.isFresh = false;
    expect(await api.get('/services')).toMatchObject({
      status: 503,
      body: { message: 'The swarm does not have a leader.' },
    });
    expect((await api.get('/tscluster/health')).status).toBe(503);
    api.node.isManager = false;
    expect((await api.get('/services')).body['message']).toContain("Worker nodes can't be used");
    expect((await api.get('/tscluster/health')).body).toMatchObject({ healthy: true, role: 'worker' });
    api.node.state = 'inactive';
    for (const url of ['/services', '/tasks', '/nodes', '/secrets', '/configs', '/swarm', '/services/x']) {
      const { status, body } = await api.get(url);
      expect([status, body['message']]).toEqual([503, expect.stringContaining('Use "tscluster init"')]);
    }
    expect((await api.get('/networks')).status).toBe(200);
  });
});

describe('info and version', () => {
  test('info has the swarm part that clients decide by', async () => {
    const api = await TestApi.make();
    const { body } = await api.get('/info');
    expect(body['Swarm']).toMatchObject({
      NodeID: 'n1aaaaaaaaaaaaaaaaaaaaaaa',
      LocalNodeState: 'active',
      ControlAvailable: true,
      Nodes: 1,
      Managers: 1,
      Cluster: { ID: 'cluster' },
    });
    expect(JSON.stringify(body)).not.toContain('worker-0');
    expect(body).toMatchObject({ Name: 'host-1', NCPU: 2, Containers: 3, ServerVersion: '0.1.0' });
  });

  test('version names the API versions', async () => {
    const api = await TestApi.make();
    expect((await api.get('/version')).body).toMatchObject({
      ApiVersion: '1.50',
      MinAPIVersion: '1.24',
      Os: 'linux',
      Arch: 'amd64',
    });
  });

  test('members are those of the Raft group', async () => {
    const api = await TestApi.make();
    expect((await api.get('/tscluster/members')).body).toEqual(api.node.members);
  });
});

describe('distribution', () => {
  test('takes references with slashes, ports and tags', async () => {
    const api = await TestApi.make();
    const { body } = await api.get('/v1.50/distribution/registry.test/a/b:1/json');
    expect(body['Descriptor']).toMatchObject({ digest: `sha256:${'a'.repeat(64)}` });
    expect(body['Platforms']).toEqual([{ architecture: 'amd64', os: 'linux' }]);
    expect((await api.get('/distribution/other:5000/x/json')).status).toBe(404);
  });
});
