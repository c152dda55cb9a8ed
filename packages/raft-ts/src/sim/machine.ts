/** The state machine of the simulation: a few registers, and a fingerprint of them that is cheap to keep up to date. */
import type { Entry, SnapshotMeta } from '../core/types.ts';
import type { StateMachine } from '../ports.ts';
import type { Model } from './linearizability/index.ts';
import { hashBytes, mix } from './log-view.ts';

export interface Write {
  readonly kind: 'write' | 'append' | 'cas';
  /** Unique in a run. */
  readonly id: number;
  readonly key: string;
  readonly value: string;
  readonly expected?: string;
  readonly filler?: string;
}
export type Request = Write | { readonly kind: 'read'; readonly key: string };

const utf8 = new TextEncoder();
const text = new TextDecoder();

export function encodeWrite(write: Write): Uint8Array {
  return utf8.encode(JSON.stringify(write));
}

/** What one register does; the machine and the judge of histories use the same words, not the same state. */
export function act(value: string, request: Request): { readonly value: string; readonly output: string } {
  switch (request.kind) {
    case 'read':
      return { value, output: value };
    case 'write':
      return { value: request.value, output: 'ok' };
    case 'append': {
      const longer = `${value} ${request.value}`;
      return { value: longer, output: longer };
    }
    case 'cas':
      return value === request.expected ? { value: request.value, output: 'ok' } : { value, output: 'no' };
    default:
      throw new RangeError(`unknown request: ${JSON.stringify(request satisfies never)}`);
  }
}

export const registers: Model<string, Request, string> = {
  init: '',
  key: ({ key }) => key,
  hash: (state) => state,
  readOnly: ({ kind }) => kind === 'read',
  step: (state, input, output) => {
    const done = act(state, input);
    return { ok: output === undefined || output === done.output, state: done.value };
  },
};

export interface MachineWatch {
  applied(entry: Entry, id: number): void;
  state(index: number, content: number): void;
  restored(meta: SnapshotMeta, content: number): void;
}

function part(key: string, value: string): number {
  return value === '' ? 0 : mix(hashBytes(utf8.encode(key)), hashBytes(utf8.encode(value)));
}

export class Registers implements StateMachine<string> {
  readonly #watch: MachineWatch;
  #values = new Map<string, string>();
  #content = 0;

  constructor(watch: MachineWatch) {
    this.#watch = watch;
  }

  get content(): number {
    return this.#content;
  }

  read(key: string): string {
    return this.#values.get(key) ?? '';
  }

  apply(entries: readonly Entry[]): readonly string[] {
    return entries.map((entry) => {
      const write = JSON.parse(text.decode(entry.data)) as Write;
      this.#watch.applied(entry, write.id);
      const before = this.read(write.key);
      const { value, output } = act(before, write);
      this.#content = (this.#content ^ part(write.key, before) ^ part(write.key, value)) >>> 0;
      this.#values.set(write.key, value);
      this.#watch.state(entry.index, this.#content);
      return output;
    });
  }

  /** Captured now, read later. */
  snapshot(): AsyncIterable<Uint8Array> {
    return slices(utf8.encode(JSON.stringify([...this.#values])));
  }

  async restore(meta: SnapshotMeta, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of chunks) {
      parts.push(chunk);
      size += chunk.length;
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const chunk of parts) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    this.#values = new Map(JSON.parse(text.decode(bytes)) as [string, string][]);
    this.#content = 0;
    for (const [key, value] of this.#values) this.#content = (this.#content ^ part(key, value)) >>> 0;
    this.#watch.restored(meta, this.#content);
  }
}

async function* slices(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 256) yield bytes.subarray(at, at + 256);
}
