/**
 * What the driver keeps on disk: a folder per task, written before the kernel is touched, so that whatever a killed daemon left can be
 * found; and what the managers said last, so that a host that restarts alone gives its containers the same networks.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cancel, Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import {
  type EndpointRecord,
  emptyNetworkState,
  type NetworkRecord,
  type NetworkState,
  type PeerRecord,
  type SelfRecord,
  type ServiceRecord,
} from '../../model/network.ts';
import { readOrUndefined, removeTree, writeAtomically } from '../storage/files.ts';
import type { SandboxRecord } from './planes.ts';
import type { TaskFileTexts } from './task-files.ts';

/** Tasks that share the host's network have names and files, and nothing in the kernel. */
export type StoredSandbox = SandboxRecord | HostSandbox;

export interface HostSandbox {
  readonly taskId: string;
  readonly mode: 'host';
}

export interface TaskFilePaths {
  readonly hostsPath: string;
  readonly resolvConfPath: string;
  readonly hostnamePath: string;
}

export class SandboxRecords {
  readonly #directory: string;
  readonly #lastPath: string;

  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'sandboxes');
    this.#lastPath = join(stateDir, 'last-gateway');
  }

  async load(): Promise<readonly StoredSandbox[]> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const found: StoredSandbox[] = [];
    for (const taskId of (await readdir(this.#directory)).toSorted()) {
      const record = parse(await readOrUndefined(join(this.#directory, taskId, 'sandbox.json')));
      // Died before the record was whole: nothing of it is in the kernel, or it is there without an owner and goes as garbage.
      if (record?.taskId === taskId) found.push(record);
      else await removeTree(join(this.#directory, taskId));
    }
    return found;
  }

  async save(record: StoredSandbox): Promise<void> {
    const directory = join(this.#directory, record.taskId);
    await mkdir(directory, { recursive: true, mode: 0o755 });
    // Not by renaming: `load` knows a part from the whole, and files that come and go make the file system search for free ones.
    await writeFile(join(directory, 'sandbox.json'), JSON.stringify(record), { mode: 0o600 });
  }

  remove(taskId: string): Promise<void> {
    return removeTree(join(this.#directory, taskId));
  }

  async writeFiles(taskId: string, texts: TaskFileTexts): Promise<TaskFilePaths> {
    const path = (name: string) => join(this.#directory, taskId, name);
    const paths = { hostsPath: path('hosts'), resolvConfPath: path('resolv.conf'), hostnamePath: path('hostname') };
    // Bind-mounted into the container: a rename would leave it with the old file.
    await Promise.all([
      writeFile(paths.hostsPath, texts.hosts, { mode: 0o644 }),
      writeFile(paths.resolvConfPath, texts.resolvConf, { mode: 0o644 }),
      writeFile(paths.hostnamePath, texts.hostname, { mode: 0o644 }),
    ]);
    return paths;
  }

  /** The gateway address that was given out last. */
  async lastGateway(): Promise<string | undefined> {
    return (await readOrUndefined(this.#lastPath))?.trim() || undefined;
  }

  /** In place: without it, or with a part of it, addresses begin at the first again. */
  async saveLastGateway(address: string): Promise<void> {
    await writeFile(this.#lastPath, `${address}\n`, { mode: 0o600 });
  }

  async clear(): Promise<void> {
    await Promise.all([removeTree(this.#directory), rm(this.#lastPath, { force: true })]);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
  }
}

function parse(text: string | undefined): StoredSandbox | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as StoredSandbox);
  } catch {
    return undefined;
  }
}

const writePauseMs = 1_000;

/** The last state on disk, mode 0600. However fast states come, one file is written a second. */
export class StateFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #next: NetworkState | undefined;
  #writing: Promise<void> | undefined;
  #cancelPause: Cancel | undefined;

  constructor(stateDir: string, clock: Clock, log: Log) {
    this.#path = join(stateDir, 'state.json');
    this.#clock = clock;
    this.#log = log;
  }

  async load(): Promise<NetworkState> {
    const text = await readOrUndefined(this.#path);
    if (text === undefined) return emptyNetworkState;
    try {
      return decodeState(text);
    } catch (error) {
      this.#log.warn('the last state of the networks on disk is unreadable', { error: messageOf(error) });
      return emptyNetworkState;
    }
  }

  save(state: NetworkState): void {
    this.#next = state;
    if (this.#writing === undefined && this.#cancelPause === undefined) this.#write();
  }

  /** Writes what is still to be written. */
  async close(): Promise<void> {
    await this.#writing;
    this.#write();
    await this.#writing;
    this.#cancelPause?.();
    this.#cancelPause = undefined;
  }

  async clear(): Promise<void> {
    this.#next = undefined;
    await this.close();
    await rm(this.#path, { force: true });
  }

  #write(): void {
    const state = this.#next;
    if (state === undefined) return;
    this.#next = undefined;
    this.#writing = writeAtomically(this.#path, encodeState(state), false)
      .catch((error: unknown) => {
        this.#log.warn('keeping the state of the networks', { error: messageOf(error) });
      })
      .finally(() => {
        this.#writing = undefined;
        this.#cancelPause = this.#clock.timer(writePauseMs, () => {
          this.#cancelPause = undefined;
          this.#write();
        });
      });
  }
}

interface StoredState {
  readonly format: 1;
  readonly version: number;
  readonly self?: SelfRecord;
  readonly peers: readonly PeerRecord[];
  readonly networks: readonly NetworkRecord[];
  readonly endpoints: readonly EndpointRecord[];
  readonly services: readonly ServiceRecord[];
}

export function encodeState(state: NetworkState): string {
  const stored: StoredState = {
    format: 1,
    version: state.version,
    ...(state.self === undefined ? {} : { self: state.self }),
    peers: [...state.peers.values()],
    networks: [...state.networks.values()],
    endpoints: [...state.endpoints.values()],
    services: [...state.services.values()],
  };
  return JSON.stringify(stored);
}

export function decodeState(text: string): NetworkState {
  const stored = JSON.parse(text) as StoredState;
  if (stored.format !== 1) throw new Error(`unknown format ${String(stored.format)}`);
  return {
    version: stored.version,
    ...(stored.self === undefined ? {} : { self: stored.self }),
    peers: new Map(stored.peers.map((peer) => [peer.nodeId, peer])),
    networks: new Map(stored.networks.map((network) => [network.id, network])),
    endpoints: new Map(stored.endpoints.map((endpoint) => [endpoint.taskId, endpoint])),
    services: new Map(stored.services.map((service) => [service.id, service])),
  };
}
