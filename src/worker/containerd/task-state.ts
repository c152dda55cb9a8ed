/** What the driver keeps of a task on disk, to find it again after a restart of the agent, of containerd or of the host. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PortConfig } from '../../model/spec.ts';
import type { Exit } from '../executor/port.ts';
import { isMissing, readOrUndefined, removeTree, writeAtomically } from '../storage/files.ts';
import type { HealthPlan } from './health.ts';

export interface ContainerRecord {
  readonly snapshotter: string;
  readonly cgroupsPath: string;
  readonly stopSignal: number;
  readonly ports: readonly PortConfig[];
  /** Its address on the node's gateway subnet. */
  readonly gateway?: string;
  readonly health?: HealthPlan;
}

export interface ExitRecord extends Exit {
  readonly pid: number;
}

export class TaskStates {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  home(taskId: string): string {
    return join(this.#directory, taskId);
  }

  /** The same: a folder of its own would be one more for each container. */
  logDirectory(taskId: string): string {
    return this.home(taskId);
  }

  /** Before there is a container: one that a kill left in pieces is as good as none. */
  async saveContainer(taskId: string, record: ContainerRecord): Promise<void> {
    await mkdir(this.home(taskId), { recursive: true, mode: 0o700 });
    await writeFile(join(this.home(taskId), 'container.json'), JSON.stringify(record), { mode: 0o600 });
  }

  container(taskId: string): Promise<ContainerRecord | undefined> {
    return this.#read<ContainerRecord>(taskId, 'container.json');
  }

  saveExit(taskId: string, record: ExitRecord): Promise<void> {
    return writeAtomically(join(this.home(taskId), 'exit.json'), JSON.stringify(record), false);
  }

  exit(taskId: string): Promise<ExitRecord | undefined> {
    return this.#read<ExitRecord>(taskId, 'exit.json');
  }

  remove(taskId: string): Promise<void> {
    return removeTree(this.home(taskId));
  }

  async list(): Promise<readonly string[]> {
    try {
      return (await readdir(this.#directory)).toSorted();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  async #read<T>(taskId: string, name: string): Promise<T | undefined> {
    const text = await readOrUndefined(join(this.home(taskId), name));
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text) as T;
    } catch {
      // Torn by a power cut, after which the container is gone too.
      return undefined;
    }
  }
}
