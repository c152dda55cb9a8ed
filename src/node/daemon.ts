/**
 * The daemon: real ports, one node, the HTTP API on a unix socket. Stops cleanly on SIGTERM and SIGINT; stops at once, with the
 * reason, when an invariant is broken, since going on with wrong state is worse than not going on.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { arch, cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { assertUnused, createApi, listen } from '../api/index.ts';
import { InvariantError } from '../lib/assert.ts';
import { deadline } from '../lib/clock.ts';
import { deferred } from '../lib/deferred.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { realClock, realRandom, terminalLog } from '../lib/real.ts';
import { parseRegistryAuth } from '../model/registry-auth.ts';
import { type ContainerdExecutor, createContainerdExecutor } from '../worker/containerd/executor.ts';
import { createNetworkDriver } from '../worker/network/driver.ts';
import type { NetworkDriver } from '../worker/network/port.ts';
import { createFileTaskDb } from '../worker/task-db-file.ts';
import { ClusterNode } from './cluster-node.ts';
import type { DaemonOptions } from './daemon-options.ts';
import { version } from './system.ts';

const stopLimitMs = 10_000;

/** Resolves when the daemon has stopped. Errors: `permission_denied` (not root), `failed_precondition` (containerd, address, socket). */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const log = terminalLog(new Set(options.trace));
  if (process.getuid?.() !== 0) {
    throw new ClusterError(
      'permission_denied',
      'the daemon has to run as root: it makes containers and networks (try sudo)',
    );
  }
  await assertUnused(options.socket); // before anything is touched that the other one uses
  const ended = deferred<Error | undefined>();
  watchProcess(ended.resolve, log);
  await mkdir(options.dataDir, { recursive: true, mode: 0o711 });
  await mkdir(dirname(options.socket), { recursive: true });

  const network = createNetworkDriver({
    stateDir: join(options.dataDir, 'network'),
    prefix: options.containerdNamespace,
    clock: realClock,
    random: realRandom,
    log: log.part('network'),
  });
  const runtime = openRuntime(options, network, log);
  const facts = { version: await runtime.probe(), snapshotter: await runtime.snapshotter() };
  await network.start();
  const node = new ClusterNode({
    dataDir: options.dataDir,
    listenAddr: options.listenAddr,
    advertiseAddr: options.advertiseAddr,
    clock: realClock,
    random: realRandom,
    log,
    worker: { executor: runtime, openTaskDb: () => createFileTaskDb({ path: join(options.dataDir, 'tasks') }) },
    machine: machineFacts(options, facts),
    resolveImage: (reference, auth) => runtime.resolveImage(reference, parseRegistryAuth(auth ?? '')),
    onFatal: ended.resolve,
  });
  const api = createApi({ node, clock: realClock, log: log.part('api'), version });
  await node.start();
  await listen(api, options.socket);
  log.info('ready', { socket: options.socket, state: node.info().state });

  const failure = await ended.promise;
  log.info('stopping');
  await deadline(realClock, stopLimitMs, stop(), () => new Error('some part does not stop')).catch((error) =>
    log.error(messageOf(error)),
  );
  if (failure !== undefined) throw failure;

  async function stop(): Promise<void> {
    await node.stop();
    await api.close();
    await runtime.close();
    await network.close();
  }
}

function openRuntime(options: DaemonOptions, network: NetworkDriver, log: Log): ContainerdExecutor {
  return createContainerdExecutor({
    address: options.containerd,
    namespace: options.containerdNamespace,
    stateDir: join(options.dataDir, 'worker'),
    network,
    clock: realClock,
    random: realRandom,
    log: log.part('containerd'),
    hostname: options.hostname,
    mirrors: options.registryMirrors,
    insecureRegistries: options.insecureRegistries,
    engineLabels: options.labels,
    genericResources: options.genericResources,
    version,
    ...(options.snapshotter === undefined ? {} : { snapshotter: options.snapshotter }),
    ...(options.bootId === undefined ? {} : { bootId: options.bootId }),
    ...(options.cgroupParent === undefined ? {} : { cgroupParent: options.cgroupParent }),
  });
}

function machineFacts(options: DaemonOptions, runtime: { readonly version: string; readonly snapshotter: string }) {
  return {
    hostname: options.hostname,
    version,
    os: 'linux',
    architecture: { x64: 'x86_64', arm64: 'aarch64' }[arch() as string] ?? arch(),
    kernel: release(),
    cgroupVersion: existsSync('/sys/fs/cgroup/cgroup.controllers') ? '2' : '1',
    cpus: cpus().length,
    memoryBytes: totalmem(),
    dataDir: options.dataDir,
    runtime: { name: 'containerd', ...runtime },
    registryMirrors: options.registryMirrors,
    insecureRegistries: options.insecureRegistries,
  };
}

/** Signals end the daemon cleanly; an error nobody handled ends it too, as a bug. */
function watchProcess(end: (failure: Error | undefined) => void, log: Log): void {
  process.on('SIGTERM', () => end(undefined));
  process.on('SIGINT', () => end(undefined));
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (reason: unknown) => {
      const error = reason instanceof Error ? reason : new Error(String(reason));
      log.error('this is a bug: the daemon stops rather than go on with wrong state', {
        reason: error.stack ?? error.message,
      });
      end(error instanceof InvariantError ? error : new ClusterError('internal', error.message, { cause: error }));
    });
  }
}
