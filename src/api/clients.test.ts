/** An independent client, dockerode, over a real socket. */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import Dockerode from 'dockerode';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../lib/log.ts';
import { createApi, listen } from './index.ts';
import { TestApi } from './testing/fake-node.ts';

let folder: string;
let api: TestApi;
let socketPath: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'api-'));
  socketPath = join(folder, 'api.sock');
  api = await TestApi.make();
  await listen(api.app, socketPath);
});

afterEach(async () => {
  await api.app.close();
  await rm(folder, { recursive: true });
});

describe('dockerode', () => {
  test.each([undefined, 'v1.43'] as const)('walks a service through its life (version %s)', async (version) => {
    const docker = new Dockerode({ socketPath, ...(version === undefined ? {} : { version }) });
    const created = await docker.createService({
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'nginx:1' } },
      Mode: { Replicated: { Replicas: 2 } },
    });
    const service = docker.getService((created as unknown as { id: string }).id);
    expect(await docker.listServices({ filters: { name: ['web'] } })).toHaveLength(1);

    const before = (await service.inspect()) as { Version: { Index: number }; Spec: object };
    await service.update({ ...before.Spec, version: before.Version.Index, Mode: { Replicated: { Replicas: 5 } } });
    const after = (await service.inspect()) as { Spec: { Mode: object }; PreviousSpec: { Mode: object } };
    expect([after.PreviousSpec.Mode, after.Spec.Mode]).toEqual([
      { Replicated: { Replicas: 2 } },
      { Replicated: { Replicas: 5 } },
    ]);
    const stale = service.update({ ...before.Spec, version: before.Version.Index });
    await expect(stale).rejects.toMatchObject({ statusCode: 409, json: { message: 'update out of sequence' } });

    await service.remove();
    await expect(service.inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  test('follows logs as they come and can leave', async () => {
    const docker = new Dockerode({ socketPath });
    const id = await api.service({ Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'nginx' } } });
    await api.node.addTask('t1', id);
    const time = '2026-01-01T00:00:00.000000000Z';
    api.node.logLines = [
      { taskId: 't1', stream: 'stdout', time, text: 'out\n' },
      { taskId: 't1', stream: 'stderr', time, text: 'err\n' },
    ];
    api.node.followsForEver = true;
    const stream = (await docker
      .getService(id)
      .logs({ stdout: true, stderr: true, follow: true })) as unknown as Readable;
    const [out, err] = [new PassThrough(), new PassThrough()];
    docker.modem.demuxStream(stream, out, err);
    const [first, second] = await Promise.all([firstChunk(out), firstChunk(err)]);
    expect([first, second]).toEqual(['out\n', 'err\n']);
    stream.destroy();
    await api.node.logsLeft;
  });

  test('makes, shows, uses and removes a network', async () => {
    const docker = new Dockerode({ socketPath });
    const ipam = { Driver: 'default', Config: [{ Subnet: '10.9.0.0/24', Gateway: '10.9.0.1' }] };
    const made = await docker.createNetwork({ Name: 'front', Driver: 'overlay', Attachable: true, IPAM: ipam });
    const network = docker.getNetwork(made.id);
    expect(await network.inspect()).toMatchObject({ Name: 'front', Scope: 'swarm', IPAM: { Config: ipam.Config } });
    const service = await docker.createService({
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'nginx:1' }, Networks: [{ Target: 'front' }] },
      EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
    } as never);
    await expect(network.remove()).rejects.toMatchObject({ statusCode: 400 });
    await docker.getService((service as unknown as { id: string }).id).remove();
    expect(await docker.pruneNetworks()).toEqual({ NetworksDeleted: ['front'] });
    expect(await docker.listNetworks({ filters: { driver: ['overlay'] } })).toEqual([]);
  });

  test('carries a large config, though it repeats the body in the query', async () => {
    const docker = new Dockerode({ socketPath });
    const Data = Buffer.alloc(900_000, 'x').toString('base64');
    const config = await docker.createConfig({ Name: 'big', Data } as never);
    expect(await docker.listConfigs()).toHaveLength(1);
    await (config as unknown as { remove(): Promise<void> }).remove();
    expect(api.node.store.view.count('config')).toBe(0);
  });
});

describe('listen', () => {
  test('opens the socket to owner and group only', async () => {
    expect((await stat(socketPath)).mode & 0o777).toBe(0o660);
  });

  test('does not take a socket that answers, nor delete a file', async () => {
    const another = () => createApi({ node: api.node, clock: api.node.clock, log: silentLog, version: '0' });
    await expect(listen(another(), socketPath)).rejects.toThrow('another daemon answers');
    const file = join(folder, 'notes');
    await writeFile(file, 'precious');
    await expect(listen(another(), file)).rejects.toThrow('is not a socket');
  });
});

function firstChunk(stream: Readable): Promise<string> {
  return new Promise((resolve) => stream.once('data', (chunk: Buffer) => resolve(chunk.toString())));
}
