/** The hand-written codec against protobufjs, where that is installed, by the schema in raft.proto. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/index.ts';
import { decodeBatch, encodeBatch } from '../../src/index.ts';
import { message } from './arbitrary.ts';

interface Type {
  fromObject(value: object): object;
  encode(value: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
  toObject(value: object, options: object): { readonly messages: readonly object[] };
}
interface Root {
  /** Makes it know that in proto3 numbers are packed. */
  resolveAll(): Root;
  lookupType(name: string): Type;
}
interface Protobuf {
  parse(schema: string, options: object): { readonly root: Root };
}

function load(): Protobuf | undefined {
  try {
    return createRequire(import.meta.url)('protobufjs') as Protobuf;
  } catch {
    return undefined;
  }
}

const protobuf = load();
const schema = readFileSync(join(import.meta.dirname, '../../src/codec/raft.proto'), 'utf8');

const fields: Readonly<Record<Message['type'], string>> = {
  append: 'append',
  'append-ack': 'append_ack',
  vote: 'vote',
  'vote-ack': 'vote_ack',
  heartbeat: 'heartbeat',
  'heartbeat-ack': 'heartbeat_ack',
  snapshot: 'snapshot',
  'timeout-now': 'timeout_now',
  'read-query': 'read_query',
  'read-answer': 'read_answer',
  forward: 'forward',
};

/** As the schema has it. */
function asProto(m: Message): object {
  const { type, from, to, term, ...body } = m;
  const rest =
    type === 'forward' ? { kind: m.kind, entries: m.payloads.map((data) => ({ kind: m.kind, data })) } : body;
  return withoutDefaults({ from, to, term, [fields[type]]: withSnakeCase(rest) });
}

/** proto3 leaves defaults out; protobufjs would write them when they are set. Only `match` is optional and may be 0. */
function withoutDefaults<T extends object>(value: T): object {
  const kept = Object.entries(value).filter(([key, inner]) => {
    if (inner instanceof Uint8Array) return inner.length > 0;
    return key === 'match' || (inner !== 0 && inner !== false && inner !== '');
  });
  return Object.fromEntries(kept.map(([key, inner]) => [key, withoutDefault(inner)]));
}

function withoutDefault(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDefault);
  return value instanceof Uint8Array || typeof value !== 'object' || value === null ? value : withoutDefaults(value);
}

function withSnakeCase(value: unknown): unknown {
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withSnakeCase);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      return [key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), withSnakeCase(inner)];
    }),
  );
}

describe.skipIf(protobuf === undefined)('against protobufjs', () => {
  const batch = protobuf?.parse(schema, { keepCase: true }).root.resolveAll().lookupType('raft.v1.Batch') as Type;

  test('every batch of messages has the same bytes', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
        const theirs = batch.encode(batch.fromObject({ messages: messages.map(asProto) })).finish();
        expect(Buffer.from(encodeBatch(messages)).toString('hex')).toBe(Buffer.from(theirs).toString('hex'));
      }),
      { seed: 11, numRuns: 1000 },
    );
  });

  test('each reads what the other wrote', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
        const objects = messages.map(asProto);
        const theirs = batch.encode(batch.fromObject({ messages: objects })).finish();
        expect(decodeBatch(new Uint8Array(theirs))).toEqual(messages);
        const read = batch.toObject(batch.decode(encodeBatch(messages)), { longs: Number, arrays: true });
        const same = batch.toObject(batch.fromObject({ messages: objects }), { longs: Number, arrays: true });
        expect(read.messages).toEqual(same.messages);
      }),
      { seed: 12, numRuns: 500 },
    );
  });
});
