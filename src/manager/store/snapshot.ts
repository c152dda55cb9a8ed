/**
 * The whole state as lines: a header, then per line one letter and JSON. `S` a shared value (numbered in order), `T` the
 * table that follows, `O` an object, `E` the end with the count. The capture is an array of references, taken at once;
 * the text is made slice by slice while it is read, so that a large snapshot never holds up the loop.
 */
import type { TableName } from '../../model/objects.ts';
import { tableNames } from '../../model/objects.ts';
import type { Document } from './codec.ts';
import { Interner, isTable, malformed, parseObject, resolveShared, SharedWriter } from './codec.ts';
import { deepFreeze } from './freeze.ts';
import type { Row } from './state.ts';
import { State } from './state.ts';

const formatVersion = 1;
const sliceBytes = 128 * 1024;
/** A single line: one object. Entries are bounded by 1.5 MiB, so nothing larger can have been stored. */
const lineCharsMax = 16 * 1024 * 1024;

export interface Capture {
  readonly version: number;
  readonly tables: readonly { readonly table: TableName; readonly rows: readonly Row[] }[];
}

export function capture(state: State): Capture {
  return { version: state.version, tables: tableNames.map((table) => ({ table, rows: [...state.list(table)] })) };
}

/** `extra` travels in the header: what the store's owner keeps beside it. */
export async function* serialise(captured: Capture, extra: Document = {}): AsyncGenerator<Uint8Array> {
  let slice = `${JSON.stringify({ v: formatVersion, version: captured.version, extra })}\n`;
  let count = 0;
  const shared = new SharedWriter((text) => {
    slice += `S${text}\n`;
  });
  for (const { table, rows } of captured.tables) {
    slice += `T${JSON.stringify(table)}\n`;
    for (const row of rows) {
      const text = JSON.stringify(shared.replace(table, row as unknown as Document));
      slice += `O${text}\n`;
      count += 1;
      if (slice.length >= sliceBytes) {
        yield Buffer.from(slice, 'utf8');
        slice = '';
      }
    }
  }
  yield Buffer.from(`${slice}E${JSON.stringify({ count })}\n`, 'utf8');
}

export interface Restored {
  readonly state: State;
  readonly extra: Document;
}

/** Reads a snapshot into a new state; throws when it is damaged, cut short or of a later format. */
export async function deserialise(chunks: AsyncIterable<Uint8Array>, interner: Interner): Promise<Restored> {
  const reader = new SnapshotReader(interner);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > lineCharsMax) throw malformed('a line without an end');
    for (const line of lines) reader.line(line);
  }
  if (rest !== '') throw malformed('a snapshot that was cut short');
  return reader.end();
}

class SnapshotReader {
  readonly #state = new State();
  readonly #shared: object[] = [];
  readonly #interner: Interner;
  #extra: Document | undefined;
  #table: TableName | undefined;
  #count = 0;
  #ended = false;

  constructor(interner: Interner) {
    this.#interner = interner;
  }

  line(line: string): void {
    if (this.#ended) throw malformed('data behind the end of a snapshot');
    if (this.#extra === undefined) return this.#header(line);
    const text = line.slice(1);
    switch (line[0]) {
      case 'S':
        this.#shared.push(this.#interner.intern(text));
        return;
      case 'T':
        return this.#startTable(JSON.parse(text));
      case 'O':
        return this.#object(parseObject(text));
      case 'E':
        this.#ended = true;
        if (parseObject(text)['count'] !== this.#count) throw malformed('a snapshot with missing objects');
        return;
      default:
        throw malformed(`a snapshot line of kind ${line.slice(0, 1)}`);
    }
  }

  end(): Restored {
    if (!this.#ended || this.#extra === undefined) throw malformed('a snapshot that was cut short');
    return { state: this.#state, extra: this.#extra };
  }

  #header(line: string): void {
    const header = parseObject(line);
    if (header['v'] !== formatVersion) {
      throw malformed(`snapshot format ${String(header['v'])} (this daemon reads ${formatVersion})`);
    }
    if (typeof header['version'] !== 'number') throw malformed('a snapshot without a version');
    this.#state.version = header['version'];
    this.#extra = (header['extra'] as Document | undefined) ?? {};
  }

  #startTable(table: unknown): void {
    if (!isTable(table)) throw malformed(`an unknown table ${String(table)}`);
    this.#table = table;
  }

  #object(document: Document): void {
    const table = this.#table;
    const { id, meta } = document;
    if (table === undefined || typeof id !== 'string' || typeof meta !== 'object')
      throw malformed('an object out of place');
    resolveShared(table, document, this.#shared);
    this.#state.put(table, deepFreeze(document) as unknown as Row);
    this.#count += 1;
  }
}
