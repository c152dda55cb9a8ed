/** Pulling: what registries do, good and bad, against a real containerd. Needs root. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/lib/random.ts';
import type { ContainerdExecutor } from '../../src/worker/containerd/executor.ts';
import { buildImage, busyboxImage, type Image } from '../fixtures/images.ts';
import { type ContainerdHost, makeTask, startContainerdHost } from './containerd-host.ts';
import { FakeRegistry, type FakeRegistryOptions } from './fake-registry.ts';

const never = () => new AbortController().signal;
const ociIndex = 'application/vnd.oci.image.index.v1+json';

let host: ContainerdHost;
let executor: ContainerdExecutor;
let count = 0;

beforeAll(async () => {
  host = await startContainerdHost();
  executor = host.executor({ mirrors: [] });
});

afterAll(() => host.close());

/** Never the same twice, so that nothing is present from another test. */
function freshImage(sizeBytes = 10): Image {
  const noise = seededRandom(++count).bytes(sizeBytes);
  return buildImage({ files: { [`/file-${count}`]: { file: noise } }, config: { Cmd: ['/x'] } });
}

async function withRegistry(
  options: FakeRegistryOptions,
  work: (registry: FakeRegistry) => Promise<void>,
): Promise<void> {
  const registry = await new FakeRegistry(options).start();
  try {
    await work(registry);
  } finally {
    await registry.stop();
  }
}

describe('a task of a private image', () => {
  const header = Buffer.from('{"username":"me","password":"secret"}').toString('base64url');

  test.each([true, false])('is prepared with the credentials that came for it (token: %s)', (token) =>
    withRegistry({ credentials: 'me:secret', token }, async (registry) => {
      registry.add('team/app', '1', await busyboxImage());
      const task = makeTask({ Image: `${registry.address}/team/app:1`, Command: ['sleep', '1000'] });
      const prepare = (hasCredentials: boolean, auth: string | undefined) =>
        executor
          .controller(hasCredentials ? { ...task, hasCredentials } : task, {
            secret: () => undefined,
            config: () => undefined,
            registryAuth: (id) => (id === task.id ? auth : undefined),
          })
          .prepare(never());
      await expect(prepare(false, undefined)).rejects.toMatchObject({ kind: 'permission_denied', retryable: false });
      // After a restart of the agent, before a manager has spoken: no reason to give the task up.
      await expect(prepare(true, undefined)).rejects.toMatchObject({ kind: 'unavailable', retryable: true });
      const wrong = Buffer.from('{"username":"me","password":"wrong"}').toString('base64url');
      await expect(prepare(true, wrong)).rejects.toMatchObject({ kind: 'permission_denied' });
      await prepare(true, header);
      await executor.discard(task.id);
    }),
  );
});

describe('pulling', () => {
  test('a tag is pulled once; pulled again only its digest is asked for', () =>
    withRegistry({}, async (registry) => {
      const digest = registry.add('team/app', '1', freshImage());
      const reference = `${registry.address}/team/app:1`;
      expect(await executor.pullImage(reference, undefined, never())).toMatchObject({ digest });
      registry.requests.length = 0;
      await executor.pullImage(reference, undefined, never());
      expect(registry.requests).toEqual(['HEAD /v2/team/app/manifests/1']);
    }));

  test('a digest that is present needs no network', () =>
    withRegistry({}, async (registry) => {
      const digest = registry.add('app', '1', freshImage());
      const reference = `${registry.address}/app:1@${digest}`;
      await executor.pullImage(reference, undefined, never());
      registry.requests.length = 0;
      await executor.pullImage(reference, undefined, never());
      await executor.pullImage(`${registry.address}/app@${digest}`, undefined, never());
      expect(registry.requests).toEqual([]);
    }));

  test('pulls of one image at the same time are one pull', () =>
    withRegistry({}, async (registry) => {
      const image = freshImage();
      registry.add('app', '1', image);
      const reference = `${registry.address}/app:1`;
      await Promise.all(Array.from({ length: 5 }, () => executor.pullImage(reference, undefined, never())));
      const layers = registry.requests.filter((request) => request.includes(image.layers[0]?.digest ?? '?'));
      expect(layers).toHaveLength(1);
    }));

  test('one who gives up does not stop the others', () =>
    withRegistry({}, async (registry) => {
      registry.add('app', '1', freshImage(100_000));
      const reference = `${registry.address}/app:1`;
      const impatient = new AbortController();
      const first = executor.pullImage(reference, undefined, impatient.signal);
      const second = executor.pullImage(reference, undefined, never());
      impatient.abort(new Error('enough'));
      await expect(first).rejects.toThrow('enough');
      expect(await second).toMatchObject({ name: reference });
    }));

  test('of a multi-platform index the entry of this host is taken, and only it', () =>
    withRegistry({}, async (registry) => {
      const [own, other] = [freshImage(), freshImage()];
      const architecture = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch;
      const entry = (image: Image, platform: object) => ({
        mediaType: image.mediaType,
        digest: image.manifest.digest,
        size: image.manifest.bytes.length,
        platform,
      });
      registry.add('app', 'own', own);
      registry.add('app', 'other', other);
      const manifests = [
        entry(other, { os: 'linux', architecture: 's390x' }),
        entry(other, { os: 'unknown', architecture: 'unknown' }),
        entry(own, { os: 'linux', architecture, variant: architecture === 'arm64' ? 'v8' : undefined }),
      ];
      const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests }));
      const digest = registry.addManifest('app', 'many', index, ociIndex);
      const reference = `${registry.address}/app:many`;
      expect(await executor.pullImage(reference, undefined, never())).toMatchObject({ digest });
      expect(registry.requests.join()).not.toContain(other.layers[0]?.digest);
      const resolved = await executor.resolveImage(reference);
      expect(resolved).toMatchObject({ mediaType: ociIndex, digest, size: index.length });
      expect(resolved.platforms.map((platform) => platform.architecture)).toEqual(['s390x', architecture]);
    }));

  test('a broken transfer goes on where it stopped', () =>
    withRegistry({ breakAfterBytes: 300_000 }, async (registry) => {
      const image = freshImage(800_000);
      registry.add('app', '1', image);
      await executor.pullImage(`${registry.address}/app:1`, undefined, never());
      const layer = registry.requests.filter((request) => request.includes(image.layers[0]?.digest ?? '?'));
      expect(layer.length).toBeGreaterThan(1);
      expect(layer.length).toBeLessThan(6);
    }));

  test('a registry without ranges is read over what is there already', () =>
    withRegistry({ ranges: false }, async (registry) => {
      registry.add('app', '1', freshImage(800_000));
      await executor.pullImage(`${registry.address}/app:1`, undefined, never());
    }));

  test('bytes that do not fit their digest are refused', () =>
    withRegistry({}, async (registry) => {
      const image = freshImage();
      registry.corrupt.add(image.layers[0]?.digest ?? '');
      registry.add('app', '1', image);
      const pull = executor.pullImage(`${registry.address}/app:1`, undefined, never());
      await expect(pull).rejects.toThrow(/unexpected commit digest/);
    }));
});

describe('credentials', () => {
  const auth = { username: 'alice', password: 'secret' };

  for (const token of [false, true]) {
    test(`${token ? 'a token server' : 'Basic authentication'} is satisfied with the right password only`, () =>
      withRegistry({ credentials: 'alice:secret', token }, async (registry) => {
        registry.add('team/app', '1', freshImage());
        const reference = `${registry.address}/team/app:1`;
        await expect(executor.pullImage(reference, undefined, never())).rejects.toMatchObject({
          kind: 'permission_denied',
          message: expect.stringContaining(`pull access denied for ${registry.address}/team/app`),
        });
        await expect(executor.pullImage(reference, { ...auth, password: 'wrong' }, never())).rejects.toThrow(
          'pull access denied',
        );
        await executor.pullImage(reference, auth, never());
        expect(registry.requests.filter((request) => request === 'GET /token').length).toBeLessThanOrEqual(4);
      }));
  }
});

describe('what cannot be had', () => {
  test('an unknown image is named as Docker does, and is final', () =>
    withRegistry({}, async (registry) => {
      const pull = executor.pullImage(`${registry.address}/nosuch:1`, undefined, never());
      await expect(pull).rejects.toMatchObject({
        message: `No such image: ${registry.address}/nosuch:1`,
        retryable: false,
      });
    }));

  test('a registry that nobody answers at is worth another try, and its reason is told', async () => {
    const pull = executor.pullImage('127.0.0.1:1/app:1', undefined, never());
    await expect(pull).rejects.toMatchObject({
      retryable: true,
      message: expect.stringMatching(/^No such image: 127.0.0.1:1\/app:1: .*ECONNREFUSED/),
    });
  });

  test('an image that is present is used while its registry is away', async () => {
    const registry = await new FakeRegistry().start();
    const digest = registry.add('app', '1', freshImage());
    const reference = `${registry.address}/app:1`;
    await executor.pullImage(reference, undefined, never());
    await registry.stop();
    expect(await executor.pullImage(reference, undefined, never())).toMatchObject({ digest });
  });

  test('a malformed reference is refused', async () => {
    const pull = executor.pullImage('UPPER', undefined, never());
    await expect(pull).rejects.toThrow('invalid reference format: repository name must be lowercase');
  });
});

describe('mirrors', () => {
  test('Docker Hub images come from the first mirror that has them', () =>
    withRegistry({}, async (registry) => {
      registry.add('library/only', 'latest', freshImage());
      const mirrored = host.executor({ mirrors: ['http://127.0.0.1:1', `http://${registry.address}`] });
      expect(await mirrored.pullImage('only', undefined, never())).toMatchObject({
        name: 'docker.io/library/only:latest',
      });
    }));
});
