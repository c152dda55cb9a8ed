/**
 * One task's log. The container's shim appends to two raw files, whoever of us is alive; this reads them, stamps each line
 * with the time and keeps it in a bounded set of rotated files. How far the raw files are read is part of every stored
 * line, so an agent that was killed goes on exactly where it stopped. Read parts of the raw files are given back to the disk.
 */
import { spawn } from 'node:child_process';
import { closeSync, type FSWatcher, openSync, renameSync, watch } from 'node:fs';
import { access, type FileHandle, mkdir, open, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../../lib/clock.ts';
import { messageOf } from '../../../lib/errors.ts';
import type { Log } from '../../../lib/log.ts';
import { Loop } from '../../../lib/loop.ts';
import { isMissing } from '../../storage/files.ts';
import { cutLines, formatLine, formatTime, isHeader, parseLine, type StreamName } from './line.ts';

export interface TaskLogOptions {
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly fileBytesMax: number;
  /** Counts the file that is being written. */
  readonly filesMax: number;
}

interface Source {
  readonly stream: StreamName;
  readonly path: string;
  offset: number;
  /** Up to here the raw file's blocks were given back. */
  punched: number;
}

const chunkBytes = 64 * 1024;
const punchBytes = 4 * 1024 * 1024;
const blockBytes = 4096;
const rawNames = { stdout: 'stdout', stderr: 'stderr' } as const satisfies Record<StreamName, string>;

export class TaskLog {
  readonly stdoutPath: string;
  readonly stderrPath: string;
  readonly #options: TaskLogOptions;
  readonly #sources: readonly Source[];
  readonly #loop: Loop;
  readonly #listeners = new Set<() => void>();
  #watcher: FSWatcher | undefined;
  #file: FileHandle | undefined;
  #sizeBytes = 0;
  /** How often the files were rotated since this object was made; readers find their place by it. */
  #generation = 0;
  #version = 0;
  #opened: Promise<void> | undefined;
  #pumping: Promise<void> = Promise.resolve();
  #ended = false;
  #closed = false;
  #lastMs = 0;
  #counter = 0;

  constructor(options: TaskLogOptions) {
    this.#options = options;
    this.stdoutPath = join(options.directory, rawNames.stdout);
    this.stderrPath = join(options.directory, rawNames.stderr);
    this.#sources = [
      { stream: 'stdout', path: this.stdoutPath, offset: 0, punched: 0 },
      { stream: 'stderr', path: this.stderrPath, offset: 0, punched: 0 },
    ];
    this.#loop = new Loop(
      options.clock,
      () => this.#pump(false),
      (error) => options.log.warn('reading a container log', { error: messageOf(error) }),
    );
  }

  get ended(): boolean {
    return this.#ended;
  }

  get generation(): number {
    return this.#generation;
  }

  get filesMax(): number {
    return this.#options.filesMax;
  }

  /** Makes the raw files, finds the place to go on, and follows them. Idempotent. */
  open(): Promise<void> {
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  /** The container has ended: takes what is left, a last line without newline too. Idempotent. */
  async finish(): Promise<void> {
    await this.open();
    this.#unwatch();
    await this.#pump(true);
    this.#ended = true;
    this.#wake();
  }

  /** Stops reading; the files stay and another object can go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unwatch();
    await this.#loop.stop();
    await this.#pumping.catch(() => {});
    await this.#file?.close();
    this.#file = undefined;
    this.#ended = true;
    this.#wake();
  }

  /** Path of the stored file `back` rotations ago. */
  storedPath(back: number): string {
    return join(this.#options.directory, back === 0 ? 'lines.json' : `lines.json.${back}`);
  }

  /** Counts lines, rotations and the end. */
  get version(): number {
    return this.#version;
  }

  /** Resolves once `version` is not `seen` any more. */
  changedSince(seen: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (this.#version !== seen) return resolve();
      const done = () => {
        this.#listeners.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      if (signal.aborted) return resolve();
      this.#listeners.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  async #open(): Promise<void> {
    const { directory } = this.#options;
    const isNew = (await mkdir(directory, { recursive: true, mode: 0o700 })) !== undefined;
    await Promise.all(this.#sources.map(async ({ path }) => (await open(path, 'a', 0o600)).close()));
    if (!isNew) await this.#recover();
    this.#watcher = watch(directory, (_, name) => {
      if (name === null || isRaw(name)) this.#loop.trigger();
    });
    this.#watcher.on('error', (error) => {
      this.#options.log.warn('watching a container log', { error: messageOf(error) });
    });
    if (!isNew) this.#loop.trigger();
  }

  /** Cuts off a torn last line and takes the offsets from the newest lines of each stream. */
  async #recover(): Promise<void> {
    const path = this.storedPath(0);
    const data = await readStored(path);
    const whole = data.lastIndexOf(0x0a) + 1;
    if (whole < data.length) await truncate(path, whole);
    this.#sizeBytes = whole;
    const missing = new Set(this.#sources);
    // A kill inside a rotation leaves the newest file empty.
    const newest = whole > 0 ? data.subarray(0, whole) : await readStored(this.storedPath(1));
    const lines = newest.toString('utf8').split('\n');
    for (let at = lines.length - 1; at >= 0 && missing.size > 0; at--) {
      const line = parseLine(lines[at] ?? '');
      if (line === undefined) continue;
      for (const source of missing) {
        if (isHeader(line)) source.offset = line.offsets[source.stream];
        else if (line.stream === source.stream) source.offset = line.end;
        else continue;
        missing.delete(source);
      }
    }
    for (const source of this.#sources) source.punched = source.offset - (source.offset % blockBytes);
    if (whole === 0 && newest.length > 0) await this.#begin();
  }

  #pump(final: boolean): Promise<void> {
    const turn = this.#pumping.catch(() => {}).then(() => this.#pumpAll(final));
    this.#pumping = turn;
    return turn;
  }

  async #pumpAll(final: boolean): Promise<void> {
    if (this.#closed) return;
    for (const source of this.#sources) await this.#pumpOne(source, final);
  }

  async #pumpOne(source: Source, final: boolean): Promise<void> {
    const file = await open(source.path, 'r');
    try {
      const buffer = Buffer.alloc(chunkBytes);
      for (;;) {
        const { bytesRead } = await file.read(buffer, 0, chunkBytes, source.offset);
        const { lines, used } = cutLines(buffer.subarray(0, bytesRead), final && bytesRead < chunkBytes);
        if (used === 0) break;
        await this.#store(source, lines);
      }
    } finally {
      await file.close();
    }
    if (source.offset - source.punched >= punchBytes) await this.#punch(source);
  }

  async #store(source: Source, lines: readonly Buffer[]): Promise<void> {
    let text = '';
    let end = source.offset;
    for (const line of lines) {
      end += line.length;
      text += formatLine({ log: line.toString('utf8'), stream: source.stream, time: this.#stamp(), end });
    }
    if (this.#sizeBytes >= this.#options.fileBytesMax) await this.#rotate();
    const data = Buffer.from(text);
    // Many containers never say a word.
    this.#file ??= await open(this.storedPath(0), 'a', 0o640);
    await this.#file.appendFile(data);
    this.#sizeBytes += data.length;
    source.offset = end;
    this.#wake();
  }

  async #rotate(): Promise<void> {
    await this.#file?.close();
    this.#shift();
    await this.#begin();
    this.#wake();
  }

  /** A file that is not the first says how far the raw files are read. */
  async #begin(): Promise<void> {
    const [stdout, stderr] = this.#sources.map((source) => source.offset);
    const header = Buffer.from(`${JSON.stringify({ offsets: { stdout, stderr } })}\n`);
    this.#file = await open(this.storedPath(0), 'a', 0o640);
    await this.#file.appendFile(header);
    this.#sizeBytes = header.length;
  }

  /** In one turn of the event loop: a reader never sees names and generation disagree. */
  #shift(): void {
    for (let back = this.#options.filesMax - 2; back >= 0; back--) {
      try {
        renameSync(this.storedPath(back), this.storedPath(back + 1));
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    closeSync(openSync(this.storedPath(0), 'w', 0o640));
    this.#generation += 1;
  }

  /** Gives back the disk blocks of what was read; the file's length stays, so offsets go on to mean the same. */
  async #punch(source: Source): Promise<void> {
    const end = source.offset - (source.offset % blockBytes);
    const args = ['-p', '-o', `${source.punched}`, '-l', `${end - source.punched}`, source.path];
    const code = await new Promise<number | null>((resolve) => {
      const child = spawn('fallocate', args, { stdio: 'ignore' });
      child.once('error', () => resolve(-1));
      child.once('close', resolve);
    });
    if (code !== 0) this.#options.log.warn('the file system cannot free parts of a log that was read', { code });
    source.punched = end;
  }

  #stamp(): string {
    const now = this.#options.clock.now();
    this.#counter = now <= this.#lastMs ? this.#counter + 1 : 0;
    this.#lastMs = Math.max(now, this.#lastMs);
    return formatTime(this.#lastMs, this.#counter);
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #wake(): void {
    this.#version += 1;
    for (const listener of [...this.#listeners]) listener();
  }
}

/** One of the two that the shim writes; the others in the folder are ours. */
function isRaw(name: string): boolean {
  return name === rawNames.stdout || name === rawNames.stderr;
}

async function readStored(path: string): Promise<Buffer> {
  return readFile(path).catch((error: unknown) => {
    if (isMissing(error)) return Buffer.alloc(0);
    throw error;
  });
}

/** Whether a log was ever kept there. */
export async function hasLog(directory: string): Promise<boolean> {
  try {
    await access(join(directory, rawNames.stdout));
    return true;
  } catch {
    return false;
  }
}
