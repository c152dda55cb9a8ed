/**
 * Images on this node: resolve, pull, unpack. Everything a pull stores belongs to a lease until the image record holds it,
 * so that neither a crash nor containerd's garbage collector leaves half an image. Pulls of the same image are joined.
 */
import type { Clock } from '../../lib/clock.ts';
import { ClusterError, isKind, messageOf } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Log } from '../../lib/log.ts';
import type { Random } from '../../lib/random.ts';
import { canonicalName, familiarName, type ImageReference, parseImageReference } from '../../model/image-reference.ts';
import type { Containerd } from './client.ts';
import { ContentStore } from './content.ts';
import { DiffService } from './gen/containerd/diff.ts';
import { ImagesService } from './gen/containerd/images.ts';
import { LeasesService } from './gen/containerd/leases.ts';
import { SnapshotsService } from './gen/containerd/snapshots.ts';
import type { Mount } from './gen/containerd/types.ts';
import type { RegistryAuth } from './registry/auth.ts';
import {
  chainIds,
  choosePlatform,
  type Descriptor,
  type ImageConfig,
  type ImagePlatform,
  type Manifest,
  parseImageConfig,
  parseManifest,
} from './registry/manifest.ts';
import type { Registry } from './registry/registry.ts';

export interface LocalImage {
  readonly name: string;
  /** Digest of what the reference points to: an index or a manifest. */
  readonly digest: string;
  /** The snapshot that holds all layers. */
  readonly chainId: string;
  readonly config: ImageConfig;
}

export interface ResolvedImage extends Descriptor {
  /** Platforms the image runs on; empty = it does not say. */
  readonly platforms: readonly { readonly os: string; readonly architecture: string; readonly variant: string }[];
}

export interface ImageStoreOptions {
  readonly containerd: Containerd;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly platform: ImagePlatform;
  snapshotter(): Promise<string>;
}

interface Pull {
  readonly done: Promise<LocalImage>;
  readonly controller: AbortController;
  waiting: number;
}

interface Session {
  readonly reference: ImageReference;
  readonly auth: RegistryAuth | undefined;
  readonly lease: string;
  readonly signal: AbortSignal;
}

const layerFetchersMax = 3;
const applyTimeoutMs = 30 * 60_000;
const cachedMax = 256;
const resolveTimeoutMs = 10_000;

export class ImageStore {
  readonly content: ContentStore;
  readonly #options: ImageStoreOptions;
  readonly #pulls = new Map<string, Pull>();
  /** Parsed blobs by digest: they cannot change. */
  readonly #parsed = new Map<string, { readonly chainId: string; readonly config: ImageConfig }>();
  readonly #unpacking = new Map<string, Promise<void>>();

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    this.content = new ContentStore(options.containerd, options.clock);
  }

  /** The image unpacked on this node, pulled when needed. A tag is asked for at the registry; if that fails, what is here is used. */
  async ensure(image: string, auth: RegistryAuth | undefined, signal: AbortSignal): Promise<LocalImage> {
    const reference = parseImageReference(image);
    const key = `${canonicalName(reference)} ${auth?.username ?? ''}`;
    const pull = this.#pulls.get(key) ?? this.#begin(key, reference, auth);
    pull.waiting += 1;
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        pull.waiting -= 1;
        if (pull.waiting === 0) pull.controller.abort(signal.reason);
        reject(signal.reason);
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      const settled = () => signal.removeEventListener('abort', onAbort);
      pull.done.then(resolve, reject).finally(settled);
    });
  }

  async resolve(image: string, auth?: RegistryAuth, signal?: AbortSignal): Promise<ResolvedImage> {
    const reference = parseImageReference(image);
    const { registry } = this.#options;
    const target = await registry.resolve(reference, auth, signal);
    const fetched = await registry.manifest(reference, target.digest, auth, signal);
    const manifest = parseManifest(fetched.body, fetched.mediaType);
    const descriptor = { mediaType: fetched.mediaType, digest: fetched.digest, size: fetched.size };
    return { ...descriptor, platforms: await this.#platforms(reference, manifest, auth, signal) };
  }

  /** Runs `work` under a lease of its own. */
  async withLease<T>(work: (lease: string) => Promise<T>): Promise<T> {
    const { containerd, clock, random } = this.#options;
    const id = `tscluster-${newId(random)}`;
    const expire = new Date(clock.now() + 24 * 3600_000).toISOString();
    await containerd.call(LeasesService.create, { id, labels: { 'containerd.io/gc.expire': expire } });
    try {
      return await work(id);
    } finally {
      await containerd.call(LeasesService.delete, { id, sync: false }).catch(() => {});
    }
  }

  /** The image's files, read-only, while `work` runs. */
  view<T>(chainId: string, snapshotter: string, work: (mounts: readonly Mount[]) => Promise<T>): Promise<T> {
    const { containerd, random } = this.#options;
    return this.withLease(async (lease) => {
      const key = `view-${newId(random)}`;
      const view = { snapshotter, key, parent: chainId, labels: {} };
      const { mounts } = await containerd.call(SnapshotsService.view, view, { lease });
      try {
        return await work(mounts);
      } finally {
        await containerd.call(SnapshotsService.remove, { snapshotter, key }).catch(() => {});
      }
    });
  }

  #begin(key: string, reference: ImageReference, auth: RegistryAuth | undefined): Pull {
    const controller = new AbortController();
    const done = this.#ensure(reference, auth, controller.signal).finally(() => this.#pulls.delete(key));
    done.catch(() => {});
    const pull: Pull = { done, controller, waiting: 0 };
    this.#pulls.set(key, pull);
    return pull;
  }

  async #ensure(reference: ImageReference, auth: RegistryAuth | undefined, signal: AbortSignal): Promise<LocalImage> {
    const local = await this.#local(reference);
    if (local !== undefined && reference.digest === local.digest) return local;
    if (reference.digest !== undefined) return this.#pull(reference, reference.digest, auth, signal);
    let target: Descriptor;
    try {
      target = await this.#resolveQuickly(reference, auth, { signal, impatient: local !== undefined });
    } catch (error) {
      if (local === undefined || signal.aborted) throw unavailableImage(reference, error);
      const fields = { image: familiarName(reference), error: messageOf(error) };
      this.#options.log.warn('registry does not answer for the image: using the one present', fields);
      return local;
    }
    if (local?.digest === target.digest) return local;
    return this.#pull(reference, target.digest, auth, signal);
  }

  /** With the image at hand, a registry that hangs is not waited for as long. */
  async #resolveQuickly(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    wait: { readonly signal: AbortSignal; readonly impatient: boolean },
  ): Promise<Descriptor> {
    const { registry, clock } = this.#options;
    if (!wait.impatient) return registry.resolve(reference, auth, wait.signal);
    const limit = new AbortController();
    const cancel = clock.timer(resolveTimeoutMs, () => limit.abort(new ClusterError('unavailable', 'timeout')));
    try {
      return await registry.resolve(reference, auth, AbortSignal.any([wait.signal, limit.signal]));
    } finally {
      cancel();
    }
  }

  /** The image as recorded here, if all of it is here. */
  async #local(reference: ImageReference): Promise<LocalImage | undefined> {
    const { containerd } = this.#options;
    try {
      const name = canonicalName(reference);
      const target = (await containerd.call(ImagesService.get, { name })).image?.target;
      if (target === undefined) return undefined;
      const parsed = await this.#parse(target.digest, target.mediaType);
      if (parsed === undefined) return undefined;
      if (parsed.chainId !== '') {
        const snapshotter = await this.#options.snapshotter();
        await containerd.call(SnapshotsService.stat, { snapshotter, key: parsed.chainId });
      }
      return { name, digest: target.digest, ...parsed };
    } catch (error) {
      if (isKind(error, 'not_found')) return undefined;
      throw error;
    }
  }

  async #parse(
    digest: string,
    mediaType: string,
  ): Promise<{ readonly chainId: string; readonly config: ImageConfig } | undefined> {
    const known = this.#parsed.get(digest);
    if (known !== undefined) return known;
    const body = await this.content.read(digest);
    if (body === undefined) return undefined;
    const manifest = parseManifest(body, mediaType);
    if (manifest.kind === 'index') {
      const chosen = choosePlatform(manifest.entries, this.#options.platform);
      return this.#parse(chosen.digest, chosen.mediaType);
    }
    const configBody = await this.content.read(manifest.config.digest);
    if (configBody === undefined) return undefined;
    const config = parseImageConfig(configBody);
    const parsed = { chainId: chainIds(config.diffIds).at(-1) ?? '', config };
    this.#parsed.set(digest, parsed);
    const oldest = this.#parsed.keys().next().value;
    if (this.#parsed.size > cachedMax && oldest !== undefined) this.#parsed.delete(oldest);
    return parsed;
  }

  #pull(
    reference: ImageReference,
    digest: string,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<LocalImage> {
    this.#options.log.info('pulling image', { image: familiarName(reference), digest });
    return this.withLease(async (lease) => {
      const session: Session = { reference, auth, lease, signal };
      try {
        const target = await this.#fetchManifest(session, digest);
        const image = await this.#fetchImage(session, target.manifest);
        await this.#record(canonicalName(reference), target.descriptor);
        return { name: canonicalName(reference), digest, ...image };
      } catch (error) {
        throw unavailableImage(reference, error);
      }
    });
  }

  /** A manifest from the content store or the registry, stored. */
  async #fetchManifest(session: Session, digest: string): Promise<{ manifest: Manifest; descriptor: Descriptor }> {
    const present = await this.content.read(digest);
    const { registry } = this.#options;
    const { reference, auth, signal } = session;
    const fetched =
      present === undefined
        ? await registry.manifest(reference, digest, auth, signal)
        : { body: present, mediaType: '' };
    const manifest = parseManifest(fetched.body, fetched.mediaType);
    const labels: Record<string, string> = { ...sourceLabel(reference) };
    if (manifest.kind === 'index') {
      labels['containerd.io/gc.ref.content.m.0'] = choosePlatform(manifest.entries, this.#options.platform).digest;
    } else {
      labels['containerd.io/gc.ref.content.config'] = manifest.config.digest;
      for (const [at, layer] of manifest.layers.entries())
        labels[`containerd.io/gc.ref.content.l.${at}`] = layer.digest;
    }
    await this.#store(session, { digest, size: fetched.body.length, kind: 'manifest', labels }, fetched.body);
    const mediaType = fetched.mediaType === '' ? declaredType(fetched.body, manifest) : fetched.mediaType;
    return { manifest, descriptor: { mediaType, digest, size: fetched.body.length } };
  }

  async #fetchImage(session: Session, manifest: Manifest): Promise<{ chainId: string; config: ImageConfig }> {
    if (manifest.kind === 'index') {
      const chosen = choosePlatform(manifest.entries, this.#options.platform);
      return this.#fetchImage(session, (await this.#fetchManifest(session, chosen.digest)).manifest);
    }
    const labels = sourceLabel(session.reference);
    await this.#store(session, { ...manifest.config, kind: 'config', labels });
    const body = await this.content.read(manifest.config.digest);
    if (body === undefined) throw new ClusterError('unavailable', 'the image config is gone');
    const config = parseImageConfig(body);
    if (config.diffIds.length !== manifest.layers.length) {
      throw new ClusterError('failed_precondition', 'the image has a different number of layers than its config says');
    }
    const chainId = await this.#fetchLayers(session, manifest.layers, config.diffIds);
    if (chainId !== '') {
      const key = `containerd.io/gc.ref.snapshot.${await this.#options.snapshotter()}`;
      await this.content.label(manifest.config.digest, { [key]: chainId }, session.lease);
    }
    return { chainId, config };
  }

  /** Downloads a few layers at a time and unpacks each as soon as it and those below it are there. */
  async #fetchLayers(session: Session, layers: readonly Descriptor[], diffIds: readonly string[]): Promise<string> {
    const chain = chainIds(diffIds);
    const failed = new AbortController();
    const inner = { ...session, signal: AbortSignal.any([session.signal, failed.signal]) };
    const labels = sourceLabel(session.reference);
    const limit = limiter(layerFetchersMax);
    const fetched = layers.map((layer) => limit(() => this.#store(inner, { ...layer, kind: 'layer', labels })));
    for (const fetch of fetched) fetch.catch(() => {});
    try {
      for (const [at, layer] of layers.entries()) {
        await fetched[at];
        await this.#unpackOnce(inner, layer, {
          diffId: diffIds[at] ?? '',
          chainId: chain[at] ?? '',
          parent: chain[at - 1] ?? '',
        });
      }
    } catch (error) {
      failed.abort(error);
      await Promise.allSettled(fetched);
      throw error;
    }
    return chain.at(-1) ?? '';
  }

  async #store(
    session: Session,
    blob: { digest: string; size: number; kind: string; labels: Readonly<Record<string, string>> },
    body?: Uint8Array,
  ): Promise<void> {
    const { registry } = this.#options;
    const { reference, auth, lease, signal } = session;
    await this.content.write(
      {
        digest: blob.digest,
        size: blob.size,
        ref: `${blob.kind}-${blob.digest}`,
        labels: blob.labels,
        open: (offset) =>
          body === undefined
            ? registry.blob(reference, blob.digest, offset, auth, signal)
            : once(body.subarray(offset)),
      },
      { lease, signal },
    );
  }

  async #unpackOnce(session: Session, layer: Descriptor, ids: LayerIds): Promise<void> {
    const running = this.#unpacking.get(ids.chainId);
    if (running !== undefined) await running.catch(() => {});
    const work = this.#unpack(session, layer, ids);
    this.#unpacking.set(ids.chainId, work);
    try {
      await work;
    } finally {
      if (this.#unpacking.get(ids.chainId) === work) this.#unpacking.delete(ids.chainId);
    }
  }

  async #unpack(session: Session, layer: Descriptor, ids: LayerIds): Promise<void> {
    const { containerd, random } = this.#options;
    const snapshotter = await this.#options.snapshotter();
    const { lease, signal } = session;
    if (await this.#snapshotExists(snapshotter, ids.chainId)) return;
    const key = `extract-${newId(random)} ${ids.chainId}`;
    const labels = { 'containerd.io/snapshot.ref': ids.chainId };
    const prepare = { snapshotter, key, parent: ids.parent, labels };
    const { mounts } = await containerd.call(SnapshotsService.prepare, prepare, { lease });
    try {
      await this.#apply(layer, mounts, ids, { lease, signal });
      await containerd.call(SnapshotsService.commit, { snapshotter, name: ids.chainId, key, labels: {} }, { lease });
    } catch (error) {
      await containerd.call(SnapshotsService.remove, { snapshotter, key }).catch(() => {});
      if (!isKind(error, 'already_exists')) throw error;
    }
    await this.content.label(layer.digest, { 'containerd.io/uncompressed': ids.diffId }, lease);
  }

  async #apply(
    layer: Descriptor,
    mounts: Mount[],
    ids: LayerIds,
    options: { lease: string; signal: AbortSignal },
  ): Promise<void> {
    const diff = { ...layer, annotations: {} };
    const call = { ...options, timeoutMs: applyTimeoutMs };
    const { applied } = await this.#options.containerd.call(DiffService.apply, { diff, mounts }, call);
    if (applied?.digest === ids.diffId) return;
    const text = `layer ${layer.digest} unpacks to ${applied?.digest ?? 'nothing'}, its image says ${ids.diffId}`;
    throw new ClusterError('failed_precondition', text);
  }

  async #snapshotExists(snapshotter: string, key: string): Promise<boolean> {
    try {
      await this.#options.containerd.call(SnapshotsService.stat, { snapshotter, key });
      return true;
    } catch (error) {
      if (isKind(error, 'not_found')) return false;
      throw error;
    }
  }

  async #record(name: string, target: Descriptor): Promise<void> {
    const { containerd } = this.#options;
    const image = { name, labels: {}, target: { ...target, annotations: {} } };
    try {
      await containerd.call(ImagesService.create, { image });
    } catch (error) {
      if (!isKind(error, 'already_exists')) throw error;
      await containerd.call(ImagesService.update, { image, updateMask: ['target'] });
    }
  }

  async #platforms(
    reference: ImageReference,
    manifest: Manifest,
    auth: RegistryAuth | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ResolvedImage['platforms']> {
    if (manifest.kind === 'index') {
      return manifest.entries.flatMap((entry) =>
        entry.platform === undefined || entry.platform.os === 'unknown' ? [] : [entry.platform],
      );
    }
    if (manifest.config.size > 1024 * 1024) return [];
    const parts: Buffer[] = [];
    for await (const part of this.#options.registry.blob(reference, manifest.config.digest, 0, auth, signal)) {
      parts.push(part);
    }
    const config = parseImageConfig(Buffer.concat(parts));
    if (config.os === '' || config.architecture === '') return [];
    return [{ os: config.os, architecture: config.architecture, variant: config.variant }];
  }
}

interface LayerIds {
  readonly diffId: string;
  readonly chainId: string;
  readonly parent: string;
}

/** Registry failures name the image; Docker's `No such image` stays what it is. */
function unavailableImage(reference: ImageReference, error: unknown): unknown {
  if (!(error instanceof ClusterError) || !error.retryable || error.message.startsWith('No such image')) return error;
  const text = `No such image: ${familiarName(reference)}: ${error.message}`;
  return new ClusterError(error.kind, text, { cause: error, retryable: error.retryable });
}

function sourceLabel(reference: ImageReference): Record<string, string> {
  const host = reference.registry.replace(/:\d+$/, '');
  return { [`containerd.io/distribution.source.${host}`]: reference.repository };
}

function declaredType(body: Uint8Array, manifest: Manifest): string {
  const fields = JSON.parse(Buffer.from(body).toString('utf8')) as { mediaType?: unknown };
  if (typeof fields.mediaType === 'string') return fields.mediaType;
  const oci = 'application/vnd.oci.image';
  return manifest.kind === 'index' ? `${oci}.index.v1+json` : `${oci}.manifest.v1+json`;
}

async function* once(data: Uint8Array): AsyncIterable<Uint8Array> {
  if (data.length > 0) yield data;
}

/** Runs at most `max` of the works given to it at a time, in order. */
function limiter(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  const queue: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= max) await new Promise<void>((resolve) => queue.push(resolve));
    running += 1;
    try {
      return await work();
    } finally {
      running -= 1;
      queue.shift()?.();
    }
  };
}
