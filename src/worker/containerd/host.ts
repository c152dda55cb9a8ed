/** What the host is, and what of it a task may see. */
import { existsSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import { arch, availableParallelism, machine, release, totalmem } from 'node:os';
import type { NodeDescription } from '../../model/objects.ts';
import { allCapabilities } from './capabilities.ts';
import type { HostFacts } from './spec.ts';

/** Docker's default. */
const nofileMax = 1024 * 1024;
const initPaths = [
  '/usr/bin/tini-static',
  '/usr/bin/docker-init',
  '/usr/libexec/docker/docker-init',
  '/sbin/docker-init',
  '/usr/bin/tini',
];
/** Seen from a network namespace made by `ip netns exec`, /sys is another one: pid 1 still has the host's. */
const cgroupRoots = ['/sys/fs/cgroup', '/proc/1/root/sys/fs/cgroup'];

export function hostFacts(hostname: string): HostFacts {
  return {
    hostname,
    arch: arch(),
    kernel: release(),
    capabilities: knownCapabilities(),
    swapAccounting: cgroupRoots.some((root) => existsSync(`${root}/memory/memory.memsw.limit_in_bytes`)),
    nofile: Math.min(nofileMax, nofileLimit()),
    cgroupV2: cgroupRoots.some((root) => existsSync(`${root}/cgroup.controllers`)),
  };
}

/** The init program, statically linked ones first: it has to run in any image. */
export function initProgram(): string | undefined {
  return initPaths.find((path) => existsSync(path));
}

/** Whether the kernel killed a process of this cgroup for memory. */
export function outOfMemory(cgroupsPath: string): boolean {
  const files = cgroupRoots.flatMap((root) => [
    `${root}${cgroupsPath}/memory.events`,
    `${root}/memory${cgroupsPath}/memory.oom_control`,
  ]);
  return files.some((file) => {
    try {
      return Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? 0) > 0;
    } catch {
      return false;
    }
  });
}

/** The parent of all containers' cgroups stays behind when the last is gone: runc does not remove what it made on the way. */
export function removeEmptyCgroup(parent: string): void {
  for (const root of cgroupRoots) {
    for (const directory of [root, ...subdirectories(root)]) {
      try {
        rmdirSync(`${directory}${parent}`);
      } catch {
        // Not there, or still in use.
      }
    }
  }
}

function subdirectories(root: string): readonly string[] {
  try {
    return readdirSync(root).map((name) => `${root}/${name}`);
  } catch {
    return [];
  }
}

export function describeHost(
  hostname: string,
  engine: { readonly version: string; readonly labels: Readonly<Record<string, string>> },
): NodeDescription {
  return {
    hostname,
    platform: { architecture: machine(), os: 'linux' },
    resources: { NanoCPUs: availableParallelism() * 1e9, MemoryBytes: totalmem() },
    engine: {
      ...engine,
      plugins: [
        { type: 'Log', name: 'json-file' },
        { type: 'Network', name: 'bridge' },
        { type: 'Volume', name: 'local' },
      ],
    },
  };
}

/** What the kernel and this process's own hard limit allow. */
function nofileLimit(): number {
  try {
    const kernel = Number(readFileSync('/proc/sys/fs/nr_open', 'utf8').trim());
    const own = Number(/^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? kernel);
    return Math.min(kernel, own);
  } catch {
    return 1024;
  }
}

/** Those this process may hand on, which are those containerd may: `ALL` cannot mean more. */
function knownCapabilities(): readonly string[] {
  try {
    const mask = /^CapBnd:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (mask === undefined) return allCapabilities;
    return allCapabilities.filter((_name, at) => ((BigInt(`0x${mask}`) >> BigInt(at)) & 1n) === 1n);
  } catch {
    return allCapabilities;
  }
}

/**
 * The network namespace that "the host's network" means: the daemon's own. Undefined when that is the machine's, which is containerd's
 * too and need not be named.
 */
export function hostNetns(): string | undefined {
  const own = `/proc/${process.pid}/ns/net`;
  try {
    return readlinkSync(own) === readlinkSync('/proc/1/ns/net') ? undefined : own;
  } catch {
    return own; // not even root may ask everywhere
  }
}
