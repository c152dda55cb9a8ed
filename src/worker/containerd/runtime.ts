/** Single containerd operations on containers, each tolerant of being repeated after a crash in the middle. */
import { type Clock, sleep } from '../../lib/clock.ts';
import { ClusterError, isKind, messageOf } from '../../lib/errors.ts';
import type { Containerd } from './client.ts';
import { ContainersService } from './gen/containerd/containers.ts';
import { SnapshotsService } from './gen/containerd/snapshots.ts';
import { type Process, Status } from './gen/containerd/task.ts';
import { TasksService } from './gen/containerd/tasks.ts';
import type { Mount } from './gen/containerd/types.ts';

export interface NewContainer {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string;
  readonly spec: unknown;
  readonly snapshotter: string;
  /** Empty for an image without layers. */
  readonly parent: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

const specType = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
const runtimeName = 'io.containerd.runc.v2';
const sigkill = 9;
const zeroTimeSeconds = -62_135_596_800;
const shimEndDelaysMs = [10, 30, 100, 300, 1_000, 2_000] as const;

export class Runtime {
  readonly #containerd: Containerd;
  readonly #clock: Clock;

  constructor(containerd: Containerd, clock: Clock) {
    this.#containerd = containerd;
    this.#clock = clock;
  }

  /**
   * Record, file system, process, in this order: the record holds the snapshot against garbage collection even before it
   * exists. Leftovers of an attempt that did not get to the process are replaced.
   */
  async create(wanted: NewContainer): Promise<number> {
    await this.#createRecord(wanted).catch(async (error: unknown) => {
      if (!isKind(error, 'already_exists')) throw error;
      await this.removeRecord(wanted.id, wanted.snapshotter);
      await this.#createRecord(wanted);
    });
    const mounts = await this.#prepare(wanted);
    const { id, stdout, terminal } = wanted;
    const io = { stdin: '', stdout, stderr: terminal ? '' : wanted.stderr, terminal };
    try {
      const created = await this.#containerd.call(TasksService.create, { containerId: id, rootfs: mounts, ...io });
      return created.pid;
    } catch (error) {
      throw startError(error);
    }
  }

  async start(id: string): Promise<number> {
    try {
      const { pid } = await this.#containerd.call(TasksService.start, { containerId: id, execId: '' });
      return pid;
    } catch (error) {
      throw startError(error);
    }
  }

  /** The process as containerd knows it; undefined = there is none. */
  async process(id: string): Promise<Process | undefined> {
    try {
      return (await this.#overShimsEnd(() => this.#containerd.call(TasksService.get, { containerId: id, execId: '' })))
        .process;
    } catch (error) {
      if (isKind(error, 'not_found')) return undefined;
      throw error;
    }
  }

  /** Resolves with exit status and time; rejects when containerd goes away meanwhile. */
  async wait(id: string, signal: AbortSignal): Promise<{ exitStatus: number; at: number | undefined }> {
    const answer = await this.#containerd.call(
      TasksService.wait,
      { containerId: id, execId: '' },
      { timeoutMs: 0, signal },
    );
    const seconds = answer.exitedAt?.seconds ?? zeroTimeSeconds;
    const at =
      seconds === zeroTimeSeconds ? undefined : seconds * 1000 + Math.floor((answer.exitedAt?.nanos ?? 0) / 1e6);
    return { exitStatus: answer.exitStatus, at };
  }

  /** To the first process, or to all of the container's. Gone already = fine. */
  async kill(id: string, signal: number, all: boolean): Promise<void> {
    const request = { containerId: id, execId: '', signal, all };
    await tolerate(this.#overShimsEnd(() => this.#containerd.call(TasksService.kill, request)));
  }

  /** Frees the shim. The process must have ended or never started. */
  async deleteTask(id: string): Promise<void> {
    await tolerate(this.#overShimsEnd(() => this.#containerd.call(TasksService.delete, { containerId: id })));
  }

  /** The task first: without its record a running one could not be reached any more. */
  async removeRecord(id: string, snapshotter: string): Promise<void> {
    const process = await this.process(id);
    if (process !== undefined) {
      if (process.status !== Status.STOPPED && process.status !== Status.CREATED) {
        await this.kill(id, sigkill, true);
        await this.#ended(id);
      }
      await this.deleteTask(id);
    }
    await tolerate(this.#containerd.call(ContainersService.delete, { id }));
    await tolerate(this.#containerd.call(SnapshotsService.remove, { snapshotter, key: id }));
  }

  async exists(id: string): Promise<boolean> {
    try {
      await this.#containerd.call(ContainersService.get, { id });
      return true;
    } catch (error) {
      if (isKind(error, 'not_found')) return false;
      throw error;
    }
  }

  /** Ids of the containers that carry `label`. */
  async list(label: string): Promise<readonly string[]> {
    const ids: string[] = [];
    const filters = [`labels."${label}"`];
    for await (const { container } of this.#containerd.stream(ContainersService.listStream, { filters })) {
      if (container !== undefined) ids.push(container.id);
    }
    return ids;
  }

  async #ended(id: string): Promise<void> {
    const wait = () => this.#containerd.call(TasksService.wait, { containerId: id, execId: '' }, { timeoutMs: 10_000 });
    await tolerate(this.#overShimsEnd(wait));
  }

  /**
   * A shim ends when its container is deleted. Whoever speaks with it in that moment, because two saw the container's end, is told
   * that the connection is closed, and a little later that there is no such task.
   */
  async #overShimsEnd<T>(call: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await call();
      } catch (error) {
        const delayMs = shimEndDelaysMs[attempt];
        if (delayMs === undefined || !/ttrpc: closed/.test(messageOf(error))) throw error;
        await sleep(this.#clock, delayMs);
      }
    }
  }

  async #createRecord(wanted: NewContainer): Promise<void> {
    const container = {
      id: wanted.id,
      labels: { ...wanted.labels },
      image: wanted.image,
      runtime: { name: runtimeName },
      spec: { typeUrl: specType, value: Buffer.from(JSON.stringify(wanted.spec)) },
      snapshotter: wanted.snapshotter,
      snapshotKey: wanted.id,
    };
    await this.#containerd.call(ContainersService.create, { container });
  }

  async #prepare(wanted: NewContainer): Promise<Mount[]> {
    const { snapshotter, id, parent } = wanted;
    const prepare = () => this.#containerd.call(SnapshotsService.prepare, { snapshotter, key: id, parent, labels: {} });
    try {
      return (await prepare()).mounts;
    } catch (error) {
      if (!isKind(error, 'already_exists')) throw error;
      await tolerate(this.#containerd.call(SnapshotsService.remove, { snapshotter, key: id }));
      return (await prepare()).mounts;
    }
  }
}

async function tolerate(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isKind(error, 'not_found')) throw error;
  }
}

/** What the runtime complains about is final: the same container would fail the same way. */
function startError(error: unknown): unknown {
  if (!(error instanceof ClusterError) || error.kind !== 'internal') return error;
  const text = `starting container failed: ${messageOf(error)}`;
  return new ClusterError('failed_precondition', text, { cause: error });
}
