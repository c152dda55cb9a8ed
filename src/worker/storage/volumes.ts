/**
 * Local volumes: named ones live until someone removes them, anonymous ones as long as their task. A new volume starts with
 * what the image has at the mount's target, as Docker fills it, owner and mode included.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ClusterError } from '../../lib/errors.ts';
import { isMissing, readOrUndefined, removeTree, writeAtomically } from './files.ts';
import { resolveInRoot } from './rootfs.ts';

export interface VolumeRequest {
  readonly name: string;
  /** Set for an anonymous volume: the task it goes away with. */
  readonly taskId?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Where it will be mounted: the place in the image to copy from. */
  readonly target: string;
  readonly copy: boolean;
}

interface VolumeRecord {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taskId?: string;
}

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;

export class Volumes {
  readonly #directory: string;
  /** Two tasks that use a new volume at once: the second waits until the first has filled it. */
  readonly #making = new Map<string, Promise<string>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The volume's data directory, made and filled when it is new. `withImage` shows the image's files. */
  async ensure(
    request: VolumeRequest,
    withImage: (work: (root: string) => Promise<void>) => Promise<void>,
  ): Promise<string> {
    if (!namePattern.test(request.name)) {
      const text = `"${request.name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`;
      throw new ClusterError('invalid', text);
    }
    const running = this.#making.get(request.name);
    if (running !== undefined) return running;
    const made = this.#make(request, withImage).finally(() => this.#making.delete(request.name));
    this.#making.set(request.name, made);
    return made;
  }

  /** Removes the anonymous volumes of a task. */
  async removeOf(taskId: string): Promise<void> {
    for (const name of await this.#names()) {
      if (!name.startsWith(`${taskId}-`)) continue;
      const record = await this.#record(name);
      if (record === undefined || record.taskId === taskId) await removeTree(join(this.#directory, name));
    }
  }

  async #make(
    request: VolumeRequest,
    withImage: (work: (root: string) => Promise<void>) => Promise<void>,
  ): Promise<string> {
    const home = join(this.#directory, request.name);
    const data = join(home, '_data');
    // The record is written last: without it the volume was not finished and is filled again.
    if ((await this.#record(request.name)) !== undefined) return data;
    await mkdir(data, { recursive: true });
    if (request.copy) await withImage((root) => copyUp(root, request.target, data));
    const { name, labels, taskId } = request;
    const record: VolumeRecord = { name, labels, ...(taskId === undefined ? {} : { taskId }) };
    await writeAtomically(join(home, 'volume.json'), JSON.stringify(record), true);
    return data;
  }

  async #record(name: string): Promise<VolumeRecord | undefined> {
    const text = await readOrUndefined(join(this.#directory, name, 'volume.json'));
    return text === undefined ? undefined : (JSON.parse(text) as VolumeRecord);
  }

  async #names(): Promise<readonly string[]> {
    try {
      return (await readdir(this.#directory)).toSorted();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }
}

/** Copies the image's directory into the volume, with owners and modes; nothing there = the volume stays empty. */
async function copyUp(root: string, target: string, data: string): Promise<void> {
  const source = await resolveInRoot(root, target);
  if (source === undefined) return;
  const stats = await stat(source);
  if (!stats.isDirectory()) return;
  const child = spawn('cp', ['-a', '--', `${source}/.`, data], { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (text: Buffer) => {
    complaint = `${complaint}${text.toString()}`.slice(0, 500);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new ClusterError('internal', `filling the volume from the image: ${complaint.trim()}`);
  await chown(data, stats.uid, stats.gid);
  await chmod(data, stats.mode & 0o7777);
}
