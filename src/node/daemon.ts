/**
 * The daemon: real ports, one node, the HTTP API on a unix socket. Stops cleanly on SIGTERM and SIGINT; stops at once, with the
 * reason, when an invariant is broken, since going on with wrong state is worse than not going on.
 */
import { existsSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { arch, cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { createApi, listen } from '../api/index.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { realClock, realRandom, terminalLog } from '../lib/real.ts';
import { createContainerdExecutor } from '../worker/containerd/index.ts';
import { createRoutedNetwork } from '../worker/network/routed.ts';
import { createFileTaskDb } from '../worker/task-db-file.ts';
import { ClusterNode } from './cluster-node.ts';
import type { DaemonOptions } from './daemon-options.ts';
import { version } from './system.ts';

const stopLimitMs = 10_000;

/** Resolves when the daemon has stopped. Errors: `permission_denied` (not root), `failed_precondition` (containerd, address, socket). */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const log = terminalLog(new Set(options.trace));
  if (process.getuid?.() !== 0) throw new ClusterError('permission_denied', 'the daemon has to run as root: it makes containers and networks (try sudo)');
  await refuseSecondDaemon(options.socket);
  await mkdir(options.dataDir, { recursive: true, mode: 0o711 });
  await mkdir(dirname(options.socket), { recursive: true });

  const fatal = Promise.withResolvers<Error>();
  const executor = createContainerdExecutor({
    address: options.containerd,
    namespace: options.containerdNamespace,
    stateDir: join(options.dataDir, 'worker'),
    network: createRoutedNetwork({
      stateDir: join(options.dataDir, 'network'),
      subnet: options.bridgeSubnet,
      prefix: options.containerdNamespace,
      log: log.part('network'),
    }),
    clock: realClock,
    random: realRandom,
    log: log.part('containerd'),
    hostname: options.hostname,
    mirrors: options.registryMirrors,
    insecureRegistries: options.insecureRegistries,
    engineLabels: options.labels,
    version,
  });
}
