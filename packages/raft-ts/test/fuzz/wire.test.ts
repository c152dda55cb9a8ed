/** Hostile bytes where encoded values are expected. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Writer } from '../../src/codec/wire.ts';
import type { Message } from '../../src/index.ts';
import {
  CodecError,
  decodeBatch,
  decodeConfChange,
  decodeConfState,
  decodeEntry,
  decodeHardState,
  decodeMessage,
  decodeSnapshotMeta,
  encodeBatch,
  encodeConfChange,
  encodeConfState,
  encodeEntry,
  encodeHardState,
  encodeMessage,
  encodeSnapshotMeta,
  RaftFault,
} from '../../src/index.ts';
import { decodeChunk, decodeCredit, encodeCredit } from '../../src/transport/grpc/frames.ts';
import { decodeRecordBody, encodeRecordBody, encodeSealedBody, type StoredBatch } from '../../src/wal/batch.ts';
import { conf, entry, message, meta, number, spoil, spoils, weightOf } from './arbitrary.ts';

type Decode = (bytes: Uint8Array) => unknown;

/** An empty nested message of two bytes becomes an object of a few fields: growth is linear, and by this at most. */
const weightPerByte = 100;

function survives(decode: Decode, bytes: Uint8Array): void {
  const before = new Uint8Array(bytes);
  try {
    const weight = weightOf(decode(bytes));
    if (weight > 1000 + bytes.length * weightPerByte) expect.fail(`${String(weight)} from ${String(bytes.length)}`);
  } catch (error) {
    if (!(error instanceof CodecError || error instanceof RaftFault)) throw error;
  }
  if (Buffer.compare(before, bytes) !== 0) expect.fail('the input was changed');
}

const state = fc.record({ term: number, vote: number, commit: number });
const batch: fc.Arbitrary<StoredBatch> = fc.oneof(
  fc.record({ entries: fc.array(entry, { maxLength: 4 }) }),
  fc.record({ entries: fc.array(entry, { maxLength: 2 }), hardState: state, snapshot: meta }),
);
const op = fc.record({ op: fc.constantFrom('voter' as const, 'learner', 'remove', 'update'), id: number });
const change = fc.record({
  transition: fc.constantFrom('auto' as const, 'joint-implicit', 'joint-explicit'),
  ops: fc.array(op, { maxLength: 4 }),
  context: fc.uint8Array({ maxLength: 20 }),
});
const snapshotMessage = fc.record({
  type: fc.constant('snapshot' as const),
  from: number,
  to: number,
  term: number,
  snapshot: meta,
  epoch: number,
});

function chunkOf(chunk: { readonly head: Message; readonly data: Uint8Array; readonly last: boolean }): Uint8Array {
  const w = new Writer();
  w.bool(3, chunk.last);
  w.bytes(2, chunk.data);
  w.bytes(1, encodeMessage(chunk.head));
  return w.finish();
}

const formats: readonly (readonly [string, Decode, fc.Arbitrary<Uint8Array>])[] = [
  ['batch of messages', decodeBatch, fc.array(message, { maxLength: 4 }).map(encodeBatch)],
  ['message', decodeMessage, message.map(encodeMessage)],
  ['entry', decodeEntry, entry.map(encodeEntry)],
  ['hard state', decodeHardState, state.map(encodeHardState)],
  ['configuration', decodeConfState, conf.map(encodeConfState)],
  ['snapshot meta', decodeSnapshotMeta, meta.map(encodeSnapshotMeta)],
  ['configuration change', decodeConfChange, change.map(encodeConfChange)],
  ['log record', decodeRecordBody, fc.array(batch, { maxLength: 3 }).map(encodeRecordBody)],
  [
    'sealed log record',
    decodeRecordBody,
    fc
      .tuple(fc.uint8Array({ maxLength: 40 }), fc.array(batch, { maxLength: 3 }))
      .map((all) => encodeSealedBody(...all)),
  ],
  [
    'snapshot chunk',
    decodeChunk,
    fc.record({ head: snapshotMessage, data: fc.uint8Array({ maxLength: 40 }), last: fc.boolean() }).map(chunkOf),
  ],
  ['credit', decodeCredit, number.map(encodeCredit)],
];

describe.each(formats)('the decoder of a %s', (_name, decode, valid) => {
  test('meets arbitrary bytes with a value or a typed error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => survives(decode, bytes)),
      { seed: 1, numRuns: 1000 },
    );
  });

  test('meets spoiled encodings with a value or a typed error', () => {
    fc.assert(
      fc.property(valid, valid, spoils, (bytes, other, how) => survives(decode, spoil(bytes, how, other))),
      { seed: 2, numRuns: 1500 },
    );
  });

  test('takes valid encodings', () => {
    fc.assert(
      fc.property(valid, (bytes) => {
        expect(() => decode(bytes)).not.toThrow();
      }),
      { seed: 3, numRuns: 100 },
    );
  });
});

test('bytes made to cost most are decoded in proportion to their number', () => {
  const many = 100_000;
  const repeat = (...unit: number[]) =>
    Uint8Array.from({ length: unit.length * many }, (_, at) => unit[at % unit.length] ?? 0);
  for (const bytes of [
    repeat(0x0a, 0),
    repeat(0x0a, 3, 0x8a, 1, 0),
    repeat(0x0a, 2, 0x52, 0),
    repeat(0xa2, 1, 0),
    repeat(0x1a, 0),
  ]) {
    for (const [, decode] of formats) survives(decode, bytes);
  }
  // One append with ever more empty entries: they are not consecutive.
  const entries = repeat(0x12, 0);
  const size = [0x80 | (entries.length & 0x7f), 0x80 | ((entries.length >> 7) & 0x7f), entries.length >> 14];
  survives(decodeMessage, Buffer.concat([Buffer.from([0x52, ...size]), entries]));
});
