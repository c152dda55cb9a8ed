import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeDaemon, fail, runCommand } from './testing/fake-daemon.ts';

const at = '2026-01-01T00:00:00Z';
const head = (id: string) => ({ ID: id, Version: { Index: 7 }, CreatedAt: at, UpdatedAt: at });
const id = (letter: string) => letter.repeat(25);

const node = (letter: string, hostname: string, extra: object = {}) => ({
  ...head(id(letter)),
  Spec: { Labels: {}, Role: 'manager', Availability: 'active' },
  Description: { Hostname: hostname, Engine: { EngineVersion: '0.1.0' } },
  Status: { State: 'ready', Addr: '10.0.0.1' },
  ...extra,
});

const service = (name: string, mode: object = { Replicated: { Replicas: 3 } }, extra: object = {}) => ({
  ...head(id('s')),
  Spec: {
    Name: name,
    Labels: {},
    TaskTemplate: { ContainerSpec: { Image: `nginx:1@sha256:${'0'.repeat(64)}` }, ForceUpdate: 2 },
    Mode: mode,
    EndpointSpec: { Mode: 'vip' },
  },
  ServiceStatus: { RunningTasks: 2, DesiredTasks: 3, CompletedTasks: 0 },
  Endpoint: { Ports: [{ PublishedPort: 80, TargetPort: 80, Protocol: 'tcp', PublishMode: 'ingress' }] },
  ...extra,
});

const task = (letter: string, slot: number, state: string, extra: object = {}) => ({
  ...head(id(letter)),
  ServiceID: id('s'),
  Slot: slot,
  NodeID: id('n'),
  Spec: { ContainerSpec: { Image: 'nginx:1@sha256:00' } },
  Status: { State: state, Timestamp: at },
  DesiredState: 'running',
  ...extra,
});

let daemon: FakeDaemon;

beforeEach(async () => {
  daemon = await FakeDaemon.start();
  daemon
    .on('GET', '/info', () => ({ Swarm: { NodeID: id('n'), LocalNodeState: 'active', ControlAvailable: true } }))
    .on('GET', '/nodes', () => [
      node('m', 'h10'),
      node('n', 'h2', { ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '10.0.0.2:2377' } }),
    ])
    .on('GET', `/nodes/${id('n')}`, () => node('n', 'h2', { ManagerStatus: { Addr: '10.0.0.2:2377' } }))
    .on('GET', '/services', () => [service('web')])
    .on('GET', /^\/services\/(web|s{25})$/, () => service('web'))
    .on('GET', '/swarm', () => ({
      ...head('c'),
      Spec: { Name: 'default' },
      JoinTokens: { Worker: 'SWMTKN-1-w', Manager: 'SWMTKN-1-m' },
    }));
});

afterEach(() => daemon.stop());

describe('lists', () => {
  test('node ls marks this node and sorts by number', async () => {
    expect((await daemon.run(['node', 'ls'])).stdout).toMatchInlineSnapshot(`
      "ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION
      nnnnnnnnnnnnnnnnnnnnnnnnn *   h2         Ready     Active         Leader           0.1.0
      mmmmmmmmmmmmmmmmmmmmmmmmm     h10        Ready     Active                          0.1.0
      "
    `);
  });

  test('service ls, its template, its json and its ids', async () => {
    expect((await daemon.run(['service', 'ls'])).stdout).toMatchInlineSnapshot(`
      "ID             NAME      MODE         REPLICAS   IMAGE     PORTS
      ssssssssssss   web       replicated   2/3        nginx:1   *:80->80/tcp
      "
    `);
    expect((await daemon.run(['service', 'ls', '--format', 'table {{.Name}}\\t{{.Replicas}}'])).stdout).toBe(
      'NAME      REPLICAS\nweb       2/3\n',
    );
    expect((await daemon.run(['service', 'ls', '--format', '{{.Name}}:{{.Image}}'])).stdout).toBe('web:nginx:1\n');
    expect((await daemon.run(['service', 'ls', '--format', 'json'])).stdout).toBe(
      '{"ID":"ssssssssssss","Image":"nginx:1","Mode":"replicated","Name":"web","Ports":"*:80->80/tcp","Replicas":"2/3"}\n',
    );
    expect((await daemon.run(['service', 'ls', '-q', '-f', 'name=we', '-f', 'name=x'])).stdout).toBe('ssssssssssss\n');
    expect(daemon.requests.at(-1)?.query).toEqual({ filters: '{"name":{"we":true,"x":true}}' });
  });

  test('service ls counts what a job has completed of its whole, as Docker does', async () => {
    const ServiceStatus = { RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 3 };
    daemon.on('GET', '/services', () => [
      service('each', { GlobalJob: {} }, { ServiceStatus }),
      service('many', { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 9 } }, { ServiceStatus }),
    ]);
    expect((await daemon.run(['service', 'ls', '--format', '{{.Name}} {{.Replicas}}'])).stdout).toBe(
      'each 1/2 (3/5 completed)\nmany 1/2 (3/9 completed)\n',
    );
  });

  test('service ps shows the history of a slot below its newest task', async () => {
    daemon.on('GET', '/tasks', () => [
      task('a', 1, 'failed', {
        DesiredState: 'shutdown',
        Status: { State: 'failed', Timestamp: at, Err: 'task: non-zero exit (137): out of memory' },
      }),
      task('b', 1, 'running', { CreatedAt: '2026-01-01T00:00:30Z' }),
      task('c', 2, 'pending', { NodeID: undefined }),
    ]);
    expect((await daemon.run(['service', 'ps', 'web'])).stdout).toMatchInlineSnapshot(`
      "ID             NAME        IMAGE     NODE      DESIRED STATE   CURRENT STATE                ERROR                              PORTS
      bbbbbbbbbbbb   web.1       nginx:1   h2        Running         Running About a minute ago                                      
      aaaaaaaaaaaa    \\_ web.1   nginx:1   h2        Shutdown        Failed About a minute ago    "task: non-zero exit (137): ou…"   
      cccccccccccc   web.2       nginx:1             Running         Pending About a minute ago                                      
      "
    `);
    const full = await daemon.run(['service', 'ps', '--no-trunc', '--format', '{{.Name}} {{.Error}}', 'web']);
    expect(full.stdout).toContain(`web.1.${id('a')} "task: non-zero exit (137): out of memory"`);
    expect((await daemon.run(['service', 'ps', '-q', 'web'])).stdout.split('\n')[0]).toBe(id('b'));
  });

  test('service ps of something unknown prints the good ones and fails', async () => {
    daemon.on('GET', '/tasks', () => []);
    const result = await daemon.run(['service', 'ps', 'web', 'nope']);
    expect([result.code, result.stderr]).toEqual([1, 'no such service: nope\n']);
    expect(result.stdout).toMatch(/^ID /);
  });
});

describe('inspect', () => {
  test('prints the raw answer, a field, and a text', async () => {
    daemon.on('GET', '/services/web', () => ({ z: 1, ...service('web') }));
    const raw = await daemon.run(['service', 'inspect', 'web']);
    expect(raw.stdout.startsWith('[\n    {\n        "z": 1,')).toBe(true);
    expect((await daemon.run(['service', 'inspect', '-f', '{{.Spec.Mode.Replicated.Replicas}}', 'web'])).stdout).toBe(
      '3\n',
    );
    expect((await daemon.run(['service', 'inspect', '--pretty', 'web'])).stdout).toContain(
      'Name:                   web\n',
    );
    expect(daemon.requests.at(-1)?.query).toEqual({ insertDefaults: 'true' });
  });

  test('several names: the good ones are printed, the exit code tells', async () => {
    daemon.on('GET', '/services/nope', () => fail(404, 'service nope not found'));
    const result = await daemon.run(['service', 'inspect', '--format', '{{.Spec.Name}}', 'nope', 'web']);
    expect(result).toEqual({
      code: 1,
      stdout: 'web\n',
      stderr: 'Error response from daemon: service nope not found\n',
    });
  });
});

describe('changes', () => {
  test('scale and update post the whole spec with the version read', async () => {
    daemon.on('POST', /\/update$/, () => ({ Warnings: null }));
    expect(await daemon.run(['service', 'scale', '-d', 'web=5'])).toEqual({
      code: 0,
      stdout: 'web scaled to 5\n',
      stderr: '',
    });
    await daemon.run(['service', 'update', '-d', '--force', '--env-add', 'A=1', 'web']);
    const [scaled, updated] = daemon.posts();
    expect(scaled).toMatchObject({ query: { version: '7' }, body: { Mode: { Replicated: { Replicas: 5 } } } });
    expect(updated?.body).toMatchObject({ TaskTemplate: { ForceUpdate: 3, ContainerSpec: { Env: ['A=1'] } } });
  });

  test('a stale version is read again, a few times', async () => {
    let refusals = 2;
    daemon.on('POST', /\/update$/, () => (refusals-- > 0 ? fail(500, 'update out of sequence') : { Warnings: null }));
    expect((await daemon.run(['service', 'scale', '-d', 'web=5'])).code).toBe(0);
    expect(daemon.posts().length).toBe(3);
    refusals = 100;
    const result = await daemon.run(['service', 'scale', '-d', 'web=5']);
    expect([result.code, result.stderr]).toEqual([1, 'web: Error response from daemon: update out of sequence\n']);
  });

  test('rollback asks for the previous spec, or for a revision by number', async () => {
    daemon.on('POST', /\/(update|rollback)$/, () => ({ Warnings: null }));
    expect((await daemon.run(['service', 'rollback', '-d', 'web'])).stdout).toBe('web\n');
    await daemon.run(['service', 'update', '-d', '--rollback', 'web']);
    await daemon.run(['service', 'rollback', '-d', '--to', '4', 'web']);
    expect(daemon.posts().map(({ path, query }) => [path, query['rollback'], query['to'], query['version']])).toEqual([
      [`/services/${id('s')}/update`, 'previous', undefined, '7'],
      [`/services/${id('s')}/update`, 'previous', undefined, '7'],
      [`/tscluster/services/${id('s')}/rollback`, undefined, '4', '7'],
    ]);
    const mixed = await daemon.run(['service', 'update', '--rollback', '--image', 'a', 'web']);
    expect([mixed.code, mixed.stderr]).toEqual([1, 'Error: other flags may not be combined with --rollback\n']);
  });

  test('history lists the specs of a service', async () => {
    const { Spec } = service('web');
    daemon.on('GET', '/tscluster/services/web/history', () => [
      { Revision: 12, Since: at, Spec },
      { Revision: 11, Since: at, Spec: { ...Spec, Mode: { Global: {} } } },
    ]);
    expect((await daemon.run(['service', 'history', '-q', 'web'])).stdout).toBe('12\n11\n');
    const { stdout } = await daemon.run(['service', 'history', 'web']);
    expect(stdout.split('\n').map((line) => line.replace(/ {2,}/g, '|'))).toEqual([
      'REVISION|SINCE|IMAGE|REPLICAS|CURRENT',
      '12|About a minute ago|nginx:1|3|*',
      '11|About a minute ago|nginx:1|global|',
      '',
    ]);
  });

  test('waiting ends when all tasks ran for the monitor time', async () => {
    let reads = 0;
    daemon.on('POST', /\/update$/, () => ({ Warnings: null }));
    daemon.on('GET', '/tasks', () =>
      [1, 2, 3].map((slot) => task('abc'[slot - 1] ?? '', slot, reads++ < 4 && slot === 3 ? 'starting' : 'running')),
    );
    const result = await daemon.run(['service', 'scale', 'web=3']);
    expect(result.code).toBe(0);
    expect(result.stderr).toMatchInlineSnapshot(`
      "overall progress: 2 out of 3 tasks
      1/3: running
      2/3: running
      3/3: starting
      overall progress: 3 out of 3 tasks
      3/3: running
      verify: Waiting 5 seconds to verify that tasks are stable...
      verify: Service web converged
      "
    `);
    expect(daemon.requests.find((request) => request.path === '/tasks')?.query['filters']).toBe(
      `{"service":{"${id('s')}":true},"_up-to-date":{"true":true}}`,
    );
  });

  test('waiting ends with an error when the update pauses, and on Ctrl-C without one', async () => {
    daemon.on('POST', /\/update$/, () => ({ Warnings: null }));
    daemon.on('GET', '/tasks', () => []);
    const interrupted = await daemon.run(['service', 'scale', 'web=3'], {
      onInterrupt: (handle) => {
        const timer = setImmediate(handle);
        return () => clearImmediate(timer);
      },
    });
    expect(interrupted.code).toBe(0);
    expect(interrupted.stderr).toContain('Operation continuing in background.');
    daemon.on('GET', /^\/services\/web$/, () =>
      service('web', undefined, { UpdateStatus: { State: 'paused', Message: 'task x failed' } }),
    );
    const paused = await daemon.run(['service', 'update', '--force', 'web']);
    expect([paused.code, paused.stderr]).toEqual([1, 'Error: service update paused: task x failed\n']);
  });

  test('scaling a service whose update is paused says so and waits for tasks of any version', async () => {
    daemon.on('POST', /\/update$/, () => ({ Warnings: null }));
    daemon.on('GET', '/tasks', () => [1, 2, 3].map((slot) => task('abc'[slot - 1] ?? '', slot, 'running')));
    daemon.on('GET', /^\/services\/web$/, () =>
      service('web', undefined, { UpdateStatus: { State: 'paused', Message: 'task x failed' } }),
    );
    const { code, stderr } = await daemon.run(['service', 'scale', 'web=3']);
    expect([code, stderr.split('\n')[0]]).toEqual([0, 'web: its update stays paused: task x failed']);
    expect(stderr).toContain('verify: Service web converged');
    const filters = daemon.requests.find((request) => request.path === '/tasks')?.query['filters'];
    expect(filters).toBe(`{"service":{"${id('s')}":true}}`);
  });

  test('rm goes on after an error', async () => {
    daemon.on('DELETE', /^\/secrets\//, ({ path }) =>
      path.endsWith('/bad') ? fail(400, "secret 'bad' is in use by the following service: web") : {},
    );
    const result = await daemon.run(['secret', 'rm', 'a', 'bad', 'b']);
    expect(result).toEqual({
      code: 1,
      stdout: 'a\nb\n',
      stderr: "Error response from daemon: secret 'bad' is in use by the following service: web\n",
    });
  });

  test('secrets come from standard input or a file, never empty', async () => {
    daemon.on('POST', '/secrets/create', () => ({ status: 201, body: { ID: 'x' } }));
    expect((await daemon.run(['secret', 'create', '-l', 'a=b', 'pw', '-'], { stdin: 'hush' })).stdout).toBe('x\n');
    expect(daemon.posts()[0]?.body).toEqual({
      Name: 'pw',
      Labels: { a: 'b' },
      Data: Buffer.from('hush').toString('base64'),
    });
    expect((await daemon.run(['secret', 'create', 'pw', '-'], { stdin: '' })).stderr).toBe(
      'Error: the content of secret "pw" is empty\n',
    );
    expect((await daemon.run(['config', 'create', 'c', 'nowhere'])).stderr).toBe(
      'Error: open nowhere: no such file or directory\n',
    );
  });

  test('promote leaves managers alone; node update changes labels', async () => {
    daemon.on('POST', /\/update$/, () => ({}));
    daemon.on('GET', '/nodes/h2', () =>
      node('n', 'h2', { Spec: { Labels: { a: 'b' }, Role: 'manager', Availability: 'active' } }),
    );
    expect((await daemon.run(['node', 'promote', 'h2'])).stderr).toBe('Node h2 is already a manager.\n');
    expect((await daemon.run(['node', 'demote', 'h2'])).stdout).toBe('Manager h2 demoted in the swarm.\n');
    expect(
      (await daemon.run(['node', 'update', '--label-add', 'x=y', '--label-rm', 'a', '--availability', 'drain', 'h2']))
        .stdout,
    ).toBe('h2\n');
    expect(daemon.posts().map((post) => post.body)).toEqual([
      { Labels: { a: 'b' }, Role: 'worker', Availability: 'active' },
      { Labels: { x: 'y' }, Role: 'manager', Availability: 'drain' },
    ]);
    expect((await daemon.run(['node', 'update', '--label-rm', 'q', 'h2'])).stderr).toBe(
      "Error: key q doesn't exist in node's labels\n",
    );
  });
});

describe('the cluster', () => {
  test('init prints both join commands', async () => {
    daemon.on('GET', '/_ping', () => ({})).on('POST', '/swarm/init', () => ({ status: 200, body: id('n') }));
    const result = await daemon.run(['init', '--advertise-addr', '10.0.0.2']);
    expect(result.stdout).toMatchInlineSnapshot(`
      "Cluster initialized: current node (nnnnnnnnnnnnnnnnnnnnnnnnn) is now a manager.

      To add a worker to this cluster, run the following command:

          tscluster join --token SWMTKN-1-w 10.0.0.2:2377

      To add a manager to this cluster, run the following command:

          tscluster join --token SWMTKN-1-m 10.0.0.2:2377

      "
    `);
    expect(daemon.posts()[0]?.body).toMatchObject({ AdvertiseAddr: '10.0.0.2', ListenAddr: '', Spec: {} });
  });

  test('init starts a daemon when none answers, with the flags given, and says so', async () => {
    const socket = join(daemon.dir, 'other.sock');
    const started: (readonly string[])[] = [];
    const result = await runCommand(['init', '--socket', socket, '--data-dir', '/tmp/d', '--hostname', 'h1'], {
      startDaemon: async (request) => {
        started.push(request.args);
        return { pid: 4711, logFile: '/tmp/d/daemon.log' };
      },
    });
    expect(started).toEqual([['--data-dir', '/tmp/d', '--socket', socket, '--hostname', 'h1']]);
    expect(result.stderr).toContain(
      `No tscluster daemon answers at unix://${socket}: starting one.\nDaemon started (pid 4711, data in /tmp/d`,
    );
    expect(result.code).toBe(1);
  });

  test('daemon settings are refused while a daemon runs: they would have no effect', async () => {
    daemon.on('GET', '/_ping', () => ({}));
    const result = await daemon.run(['init', '--data-dir', '/tmp/d']);
    expect([result.code, result.stderr]).toEqual([
      1,
      'Error: a daemon is running already: --data-dir would have no effect. Stop it first, or leave the flag out\n',
    ]);
  });

  test('join-token and join', async () => {
    expect((await daemon.run(['join-token', '-q', 'worker'])).stdout).toBe('SWMTKN-1-w\n');
    expect((await daemon.run(['join-token', 'manager'])).stdout).toContain(
      'tscluster join --token SWMTKN-1-m 10.0.0.2:2377',
    );
    expect((await daemon.run(['join', '10.0.0.2'])).stderr).toContain('--token is missing');
    expect((await daemon.run(['join', '--token', 'SWMTKN-1-abc', '10.0.0.2'])).stderr).toContain('invalid join token');
    daemon.on('GET', '/_ping', () => ({})).on('POST', '/swarm/join', () => ({}));
    const token = `SWMTKN-1-${'a'.repeat(50)}-${'b'.repeat(25)}`;
    expect((await daemon.run(['join', '--token', token, '10.0.0.2'])).stdout).toBe(
      'This node joined the cluster as a manager.\n',
    );
    expect(daemon.posts()[0]?.body).toMatchObject({ RemoteAddrs: ['10.0.0.2:2377'], JoinToken: token });
  });
});

describe('logs', () => {
  const frame = (stream: number, text: string) => {
    const payload = Buffer.from(text);
    const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
    header.writeUInt32BE(payload.length, 4);
    return Buffer.concat([header, payload]);
  };
  const details = `com.docker.swarm.node.id=${id('n')},com.docker.swarm.service.id=${id('s')},com.docker.swarm.task.id=${id('a')}`;

  test('each line says which task on which node wrote it', async () => {
    daemon.on('GET', `/tasks/${id('a')}`, () => task('a', 1, 'running'));
    daemon.on('GET', /\/logs$/, () => ({
      raw: Buffer.concat([frame(1, `${details} hello\n`), frame(2, `${details} oh no\n`)]),
    }));
    const result = await daemon.run(['service', 'logs', '--tail', '2', 'web']);
    expect(result).toEqual({
      code: 0,
      stdout: 'web.1.aaaaaaaaaaaa@h2    | hello\n',
      stderr: 'web.1.aaaaaaaaaaaa@h2    | oh no\n',
    });
    expect(daemon.requests.find((request) => request.path.endsWith('/logs'))?.query).toEqual({
      stdout: '1',
      stderr: '1',
      tail: '2',
      details: '1',
    });
  });

  test('a tail that is no number is refused before anything is asked', async () => {
    expect(await daemon.run(['service', 'logs', '--tail', 'x', 'web'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'Error: invalid value "x" for --tail: must be a number of lines or "all"\n',
    });
    expect(daemon.requests).toEqual([]);
  });

  test('raw lines pass unchanged; a name that is nothing is an error', async () => {
    daemon.on('GET', /\/logs$/, () => ({ raw: frame(1, 'plain\n') }));
    expect((await daemon.run(['service', 'logs', '--raw', 'web'])).stdout).toBe('plain\n');
    expect(await daemon.run(['service', 'logs', 'nope'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'no such task or service: nope\n',
    });
  });
});

test('a bare name in an env file takes its value from here, and is left out when there is none', async () => {
  writeFileSync(join(daemon.dir, 'vars'), 'A=1\nHERE\nMISSING\n');
  daemon.on('POST', '/services/create', () => ({ status: 201, body: { ID: 'svc' } }));
  const env = { TSCLUSTER_HOST: `unix://${daemon.socket}`, HERE: 'yes' };
  const line = ['service', 'create', '-d', '--no-resolve-image', '--env-file', 'vars', 'nginx'];
  expect((await daemon.run(line, { env })).code).toBe(0);
  expect(daemon.posts().at(-1)?.body).toMatchObject({
    TaskTemplate: { ContainerSpec: { Env: ['A=1', 'HERE=yes'] } },
  });
});

test('--with-registry-auth sends what docker login stored, also to ask for the digest; without it nothing is sent', async () => {
  const auth = Buffer.from('me:a:b').toString('base64');
  writeFileSync(join(daemon.dir, 'config.json'), JSON.stringify({ auths: { 'r.example': { auth } } }));
  const digest = `sha256:${'1'.repeat(64)}`;
  daemon
    .on('POST', '/services/create', () => ({ status: 201, body: { ID: 'svc' } }))
    .on('POST', /\/update$/, () => ({ Warnings: null }))
    .on('GET', /^\/distribution\//, () => ({ Descriptor: { digest }, Platforms: [] }));
  const env = { TSCLUSTER_HOST: `unix://${daemon.socket}`, DOCKER_CONFIG: daemon.dir };
  const sent = async (...line: string[]) => {
    daemon.requests.length = 0;
    expect((await daemon.run(['service', ...line], { env })).code).toBe(0);
    const asked = daemon.requests.find(({ path }) => path.startsWith('/distribution/'));
    return [asked?.registryAuth, daemon.posts()[0]?.registryAuth];
  };
  const expected = { username: 'me', password: 'a:b', serveraddress: 'r.example' };
  const both = [expected, expected];
  expect(await sent('create', '-d', '--with-registry-auth', 'r.example/app:1')).toEqual(both);
  expect(await sent('update', '-d', '--with-registry-auth', '--image', 'r.example/app:2', 'web')).toEqual(both);
  expect(await sent('update', '-d', '--image', 'r.example/app:2', 'web')).toEqual([undefined, undefined]);
});

describe('stacks', () => {
  const file = `
services:
  web:
    image: nginx
    ports: [{target: 80, published: 8081, mode: host}]
    secrets: [pw]
secrets:
  pw: {file: ./pw.txt}
`;

  test('deploy creates networks and secrets first, then services that refer to them', async () => {
    writeFileSync(join(daemon.dir, 'stack.yml'), file);
    writeFileSync(join(daemon.dir, 'pw.txt'), 'hush');
    daemon
      .on('GET', '/networks', () => [])
      .on('POST', '/networks/create', () => ({ status: 201, body: { Id: 'net' } }))
      .on('GET', '/services', () => [])
      .on('POST', '/tscluster/plan/check', () => ({}))
      .on('GET', '/secrets', () => [{ ...head('sec'), Spec: { Name: 'app_pw' } }])
      .on('POST', '/secrets/create', () => ({ status: 201, body: { ID: 'sec' } }))
      .on('POST', '/services/create', () => ({ status: 201, body: { ID: 'svc' } }));
    const result = await daemon.run(['stack', 'deploy', '-d', '--resolve-image', 'never', '-c', 'stack.yml', 'app']);
    const stdout = 'Creating network app_default\nCreating secret app_pw\nCreating service app_web\n';
    expect(result).toEqual({ code: 0, stdout, stderr: '' });
    const [check, network, secret, created] = daemon.posts();
    expect(check?.body).toMatchObject({
      networks: [{ Name: 'app_default' }],
      secrets: [{ Name: 'app_pw' }],
      services: [{ spec: { Name: 'app_web' } }],
    });
    expect(network?.body).toMatchObject({ Name: 'app_default', Driver: 'overlay', Attachable: false });
    expect(secret?.body).toEqual({ Name: 'app_pw', Labels: { 'com.docker.stack.namespace': 'app' }, Data: 'aHVzaA==' });
    expect(created?.body).toMatchObject({
      Name: 'app_web',
      Labels: { 'com.docker.stack.namespace': 'app', 'com.docker.stack.image': 'nginx' },
      TaskTemplate: {
        ContainerSpec: { Image: 'nginx:latest', Secrets: [{ SecretID: 'sec', SecretName: 'app_pw' }] },
        Networks: [{ Target: 'app_default', Aliases: ['web'] }],
      },
      EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8081, PublishMode: 'host' }] },
    });
  });

  test('deploy again updates, keeps ForceUpdate, prunes what is gone', async () => {
    writeFileSync(join(daemon.dir, 'stack.yml'), 'services: {web: {image: nginx}}');
    const old = { ...service('app_old'), ID: id('o') };
    daemon
      .on('GET', '/networks', () => [{ Id: 'net', Name: 'app_default' }])
      .on('GET', '/services', () => [service('app_web'), old])
      .on('POST', '/tscluster/plan/check', () => ({}))
      .on('DELETE', /^\/services\//, () => ({}))
      .on('POST', /\/update$/, () => ({ Warnings: null }));
    const result = await daemon.run([
      'stack',
      'deploy',
      '-d',
      '--prune',
      '--resolve-image',
      'never',
      '-c',
      'stack.yml',
      'app',
    ]);
    expect(result.stdout).toBe(`Removing service app_old\nUpdating service app_web (id: ${id('s')})\n`);
    expect(daemon.posts().at(-1)).toMatchObject({
      query: { version: '7' },
      body: { TaskTemplate: { ForceUpdate: 2 } },
    });
  });

  test('a refused step is named', async () => {
    writeFileSync(join(daemon.dir, 'stack.yml'), 'services: {web: {image: nginx, networks: [n]}}\nnetworks: {n: }');
    daemon
      .on('GET', '/networks', () => [])
      .on('GET', '/services', () => [])
      .on('POST', '/tscluster/plan/check', () => ({}))
      .on('POST', '/networks/create', () => fail(400, 'invalid subnet'));
    expect(await daemon.run(['stack', 'deploy', '-d', '--resolve-image', 'never', '-c', 'stack.yml', 'app'])).toEqual({
      code: 1,
      stdout: 'Creating network app_n\n',
      stderr: 'failed to create network app_n: Error response from daemon: invalid subnet\n',
    });
  });

  test('nothing is written when the daemon would refuse any of it', async () => {
    writeFileSync(join(daemon.dir, 'stack.yml'), file);
    writeFileSync(join(daemon.dir, 'pw.txt'), 'hush');
    daemon
      .on('GET', '/networks', () => [])
      .on('GET', '/services', () => [{ ...service('app_old'), ID: id('o') }])
      .on('POST', '/tscluster/plan/check', () => fail(400, 'failed to create service app_web: no'));
    const line = ['stack', 'deploy', '-d', '--prune', '--resolve-image', 'never', '-c', 'stack.yml', 'app'];
    expect(await daemon.run(line)).toEqual({
      code: 1,
      stdout: '',
      stderr: 'Error response from daemon: failed to create service app_web: no\n',
    });
    expect(daemon.posts().map((request) => request.path)).toEqual(['/tscluster/plan/check']);
  });

  test('nothing is sent for a file that is wrong', async () => {
    writeFileSync(join(daemon.dir, 'stack.yml'), 'services: {web: {image: nginx, imaginary: 1}}');
    const result = await daemon.run(['stack', 'deploy', '-c', 'stack.yml', 'app']);
    expect([result.code, result.stderr]).toEqual([
      1,
      'Error: stack.yml: services.web Additional property imaginary is not allowed\n',
    ]);
    expect(daemon.requests).toEqual([]);
  });

  test('ls counts services, rm removes services before what they use', async () => {
    const labelled = { ...service('app_web') };
    labelled.Spec = { ...labelled.Spec, Labels: { 'com.docker.stack.namespace': 'app' } };
    daemon.on('GET', '/services', () => [labelled, labelled]);
    expect((await daemon.run(['stack', 'ls'])).stdout).toBe('NAME      SERVICES\napp       2\n');
    daemon
      .on('GET', '/services', () => [labelled])
      .on('GET', '/networks', () => [])
      .on('GET', '/configs', () => [])
      .on('GET', '/secrets', () => [{ ...head('sec'), Spec: { Name: 'app_pw' } }])
      .on('DELETE', /./, () => ({}));
    expect((await daemon.run(['stack', 'rm', 'app'])).stdout).toBe(
      'Removing service app_web\nRemoving secret app_pw\n',
    );
    daemon.on('GET', /^\/(services|secrets)$/, () => []);
    expect(await daemon.run(['stack', 'rm', 'app'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'Nothing found in stack: app\n',
    });
  });
});

describe('the command line itself', () => {
  test('no daemon: says how to start one', async () => {
    expect(await runCommand(['-H', 'unix:///nowhere/x.sock', 'service', 'ls'], {})).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'Cannot connect to the tscluster daemon at unix:///nowhere/x.sock. Is it running? Start it with: tscluster daemon\n',
    });
  });

  test.each([
    [['servce', 'ls'], 1, 'unknown command: tscluster servce\n\nDid you mean: tscluster service'],
    [['service', 'lst'], 1, 'unknown command: tscluster service lst\n\nDid you mean: tscluster service ls'],
    [['service', 'ls', 'x'], 1, "'tscluster service ls' accepts no arguments"],
    [['node', 'ls', '--fromat', 'x'], 125, 'unknown flag: --fromat (did you mean --format?)'],
    [['node', 'ls', '-f', 'x'], 125, 'invalid argument "x" for "--filter" flag: invalid filter (expected name=value)'],
    [['-H', 'ftp://x', 'node', 'ls'], 1, 'unable to parse host "ftp://x"'],
    [
      ['daemon', '--data-dir', 'relative'],
      1,
      'invalid argument "relative" for --data-dir (or TSCLUSTER_DATA_DIR): must be an absolute path',
    ],
  ])('%j', async (line, code, message) => {
    const result = await daemon.run(line);
    expect([result.code, result.stderr]).toEqual([code, expect.stringContaining(message)]);
  });

  test.each([[['--help']], [['service', '--help']], [['service']], [['service', 'create', '--help']], [['help-me']]])(
    '%j',
    async (line) => {
      const result = await runCommand(line, {});
      expect(result.code).toBe(line[0] === 'help-me' ? 1 : 0);
      expect(result.stdout.startsWith('Usage: tscluster')).toBe(result.code === 0);
    },
  );

  test('switches can be turned off with =false, flags take values after =, -H stands before or after the verb', async () => {
    daemon.on('POST', '/services/create', () => ({ status: 201, body: { ID: 'x' } }));
    const host = `unix://${daemon.socket}`;
    await runCommand(
      [
        'service',
        'create',
        '-H',
        host,
        '--detach=true',
        '--tty=false',
        '--init=0',
        '-e=A=1',
        '--no-resolve-image',
        'i',
        '-d=x',
      ],
      {},
    );
    expect(daemon.posts()[0]?.body).toMatchObject({
      TaskTemplate: { ContainerSpec: { Env: ['A=1'], Args: ['-d=x'], Init: false } },
    });
  });
});
