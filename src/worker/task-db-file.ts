/**
 * The task database on disk: a journal of JSON lines, each with its own checksum, rewritten when most of it is history. A batch is
 * one line: a torn tail loses a whole batch or nothing. Writes that come together share one fsync.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ClusterError } from '../lib/errors.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { applyTaskDbChange, type StoredTask, type TaskDb, type TaskDbChange } from './task-db.ts';

export interface FileTaskDbOptions {
  readonly path: string;
  readonly log?: Log;
  /** The journal is rewritten when it is larger than this and than twice what it must hold. */
  readonly compactBytes?: number;
}

interface Waiting {
  readonly changes: readonly TaskDbChange[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const defaultCompactBytes = 1024 * 1024;
/** Batches that wait for the disk. */
const waitingMax = 10_000;
const checksumLength = 16;

/** `path` is a file; its folder is made if need be. */
export function createFileTaskDb(options: FileTaskDbOptions): TaskDb {
  return new FileTaskDb(options);
}

class FileTaskDb implements TaskDb {
  readonly #path: string;
  readonly #log: Log;
  readonly #compactBytes: number;
  readonly #tasks = new Map<string, StoredTask>();
  #file: FileHandle | undefined;
  #size = 0;
  /** What a rewritten journal would hold, when it was last rewritten. */
  #compactedSize = 0;
  /** The file may not hold what is in memory: the next write rewrites it. */
  #damaged = false;
  #waiting: Waiting[] = [];
  #writing: Promise<void> = Promise.resolve();
  #draining = false;
  #closed = false;

  constructor({ path, log = silentLog, compactBytes = defaultCompactBytes }: FileTaskDbOptions) {
    this.#path = path;
    this.#log = log;
    this.#compactBytes = compactBytes;
  }

  async load(): Promise<readonly StoredTask[]> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    await rm(temporary(this.#path), { force: true });
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw new ClusterError('internal', `reading the task database: ${error.message}`, { cause: error });
    });
    const lines = text.split('\n');
    const torn = lines.pop() !== '';
    let bad = 0;
    for (const line of lines) {
      const changes = parseLine(line);
      if (changes === undefined) bad += 1;
      else for (const change of changes) applyTaskDbChange(this.#tasks, change);
    }
    if (bad > 0) this.#log.warn('task database: damaged lines were left out', { count: bad });
    this.#size = Buffer.byteLength(text);
    this.#damaged = torn || bad > 0;
    return [...this.#tasks.values()];
  }

  write(changes: readonly TaskDbChange[]): Promise<void> {
    if (this.#closed) return Promise.reject(new ClusterError('failed_precondition', 'the task database is closed'));
    if (this.#waiting.length >= waitingMax)
      return Promise.reject(new ClusterError('exhausted', 'too many writes wait for the disk'));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes, resolve, reject });
      if (!this.#draining) this.#writing = this.#drain();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      // Memory first: after a failed write, the rewrite of the next one makes up for it.
      for (const { changes } of batch) for (const change of changes) applyTaskDbChange(this.#tasks, change);
      try {
        await this.#persist(batch);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        this.#damaged = true;
        for (const { reject } of batch) reject(error);
      }
    }
    this.#draining = false; // in the turn that saw nothing waiting: no write can slip in between
  }

  async #persist(batch: readonly Waiting[]): Promise<void> {
    const text = batch.map(({ changes }) => formatLine(changes)).join('');
    const size = this.#size + Buffer.byteLength(text);
    if (this.#damaged || (size > this.#compactBytes && size > 2 * this.#compactedSize)) return this.#rewrite();
    this.#file ??= await open(this.#path, 'a', 0o600);
    await this.#file.appendFile(text);
    await this.#file.datasync();
    if (this.#size === 0) await syncFolder(dirname(this.#path));
    this.#size = size;
  }

  async #rewrite(): Promise<void> {
    const text = [...this.#tasks.values()].map((entry) => formatLine([{ kind: 'put', entry }])).join('');
    const path = temporary(this.#path);
    const file = await open(path, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(path, this.#path);
    await syncFolder(dirname(this.#path));
    // The old handle writes to the file that was replaced.
    const old = this.#file;
    this.#file = undefined;
    await old?.close();
    this.#size = Buffer.byteLength(text);
    this.#compactedSize = this.#size;
    this.#damaged = false;
  }
}

function temporary(path: string): string {
  return `${path}.new`;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function formatLine(changes: readonly TaskDbChange[]): string {
  const text = JSON.stringify(changes);
  return `${checksum(text)} ${text}\n`;
}

function parseLine(line: string): readonly TaskDbChange[] | undefined {
  const text = line.slice(checksumLength + 1);
  if (line.slice(0, checksumLength) !== checksum(text)) return undefined;
  return JSON.parse(text) as readonly TaskDbChange[];
}

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, checksumLength);
}
