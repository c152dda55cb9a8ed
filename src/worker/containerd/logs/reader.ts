/** Reads a task's stored lines from the oldest file on, and goes on as they are written when following. */
import { closeSync, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import type { LogLine, LogQuery } from '../../../model/assignment.ts';
import { isMissing } from '../../storage/files.ts';
import { isHeader, parseLine } from './line.ts';
import type { TaskLog } from './task-log.ts';

const chunkBytes = 128 * 1024;
const readAt = promisify(read);

export async function* readLog(
  taskId: string,
  log: TaskLog,
  query: LogQuery,
  signal: AbortSignal,
): AsyncIterable<LogLine> {
  const cursor = new Cursor(log);
  try {
    cursor.start();
    for await (const line of history(taskId, cursor, query, signal)) yield line;
    while (query.follow && !signal.aborted) {
      const ended = log.ended;
      const seen = log.version;
      for await (const text of cursor.rest()) {
        if (signal.aborted) return;
        const line = matching(taskId, text, query);
        if (line !== undefined) yield line;
      }
      if (ended) return;
      await log.changedSince(seen, signal);
    }
  } finally {
    cursor.close();
  }
}

async function* history(taskId: string, cursor: Cursor, query: LogQuery, signal: AbortSignal): AsyncIterable<LogLine> {
  const last: LogLine[] = [];
  for await (const text of cursor.rest()) {
    if (signal.aborted) return;
    const line = query.tail === 0 ? undefined : matching(taskId, text, query);
    if (line === undefined) continue;
    if (query.tail < 0) {
      yield line;
    } else {
      last.push(line);
      if (last.length > query.tail) last.shift();
    }
  }
  yield* last;
}

function matching(taskId: string, text: string, query: LogQuery): LogLine | undefined {
  const line = parseLine(text);
  if (line === undefined || isHeader(line) || !query[line.stream]) return undefined;
  const at = Date.parse(line.time);
  if (at < query.since || (query.until > 0 && at >= query.until)) return undefined;
  return { taskId, stream: line.stream, time: line.time, text: line.log };
}

/** A place in the rotated files. It keeps its file open, so a rotation does not take it away. */
class Cursor {
  readonly #log: TaskLog;
  #file: number | undefined;
  #generation = 0;
  #position = 0;
  #partial = Buffer.alloc(0);

  constructor(log: TaskLog) {
    this.#log = log;
  }

  start(): void {
    this.#openFrom(this.#log.generation - (this.#log.filesMax - 1));
  }

  /** Everything up to the end of the newest file. */
  async *rest(): AsyncIterable<string> {
    for (;;) {
      const newest = this.#log.generation;
      yield* this.#restOfFile();
      if (this.#generation >= newest) return;
      this.#openFrom(this.#generation + 1);
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  async *#restOfFile(): AsyncIterable<string> {
    const buffer = Buffer.alloc(chunkBytes);
    // The first line makes the file.
    this.#file ??= this.#tryOpen(this.#generation);
    for (;;) {
      if (this.#file === undefined) return;
      const { bytesRead } = await readAt(this.#file, buffer, 0, chunkBytes, this.#position);
      if (bytesRead === 0) return;
      this.#position += bytesRead;
      const data = Buffer.concat([this.#partial, buffer.subarray(0, bytesRead)]);
      const end = data.lastIndexOf(0x0a) + 1;
      this.#partial = Buffer.from(data.subarray(end));
      for (const text of data.subarray(0, end).toString('utf8').split('\n')) if (text !== '') yield text;
    }
  }

  /** Opens the file of `generation`, or the oldest one left after it. */
  #openFrom(generation: number): void {
    this.close();
    this.#position = 0;
    this.#partial = Buffer.alloc(0);
    for (let wanted = generation; wanted <= this.#log.generation && this.#file === undefined; wanted++) {
      this.#generation = wanted;
      this.#file = this.#tryOpen(wanted);
    }
  }

  #tryOpen(generation: number): number | undefined {
    const back = this.#log.generation - generation;
    if (back >= this.#log.filesMax) return undefined;
    try {
      return openSync(this.#log.storedPath(back), 'r');
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }
}
