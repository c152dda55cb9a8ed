import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CodecError,
  decodeBatch,
  decodeConfState,
  decodeEntry,
  decodeHardState,
  decodeMessage,
  decodeSnapshotMeta,
  encodeBatch,
  encodeConfState,
  encodeEntry,
  encodeHardState,
  encodeMessage,
  encodeSnapshotMeta,
} from '../src/index.ts';
import { conf, entry, id, message, meta, number } from './fuzz/arbitrary.ts';

const parameters = { seed: 7, numRuns: 300 };

describe('the codec', () => {
  test('gives back every message it encoded', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), (batch) => {
        expect(decodeBatch(encodeBatch(batch))).toEqual(batch);
        for (const one of batch) expect(decodeMessage(encodeMessage(one))).toEqual(one);
      }),
      parameters,
    );
  });

  test('gives back entries, states, configurations and snapshot references', () => {
    fc.assert(
      fc.property(entry, id, number, conf, meta, (one, { term, index }, vote, state, snapshot) => {
        const hardState = { term, vote, commit: index };
        expect(decodeEntry(encodeEntry(one))).toEqual(one);
        expect(decodeHardState(encodeHardState(hardState))).toEqual(hardState);
        expect(decodeConfState(encodeConfState(state))).toEqual(state);
        expect(decodeSnapshotMeta(encodeSnapshotMeta(snapshot))).toEqual(snapshot);
      }),
      parameters,
    );
  });

  test('meets arbitrary and damaged bytes with a result or a CodecError, nothing else', () => {
    const survives = (input: Uint8Array) => {
      try {
        decodeBatch(input);
      } catch (error) {
        expect(error).toBeInstanceOf(CodecError);
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), survives), { seed: 7, numRuns: 3000 });
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 3 }), fc.nat(), fc.nat(255), (batch, at, byte) => {
        const encoded = encodeBatch(batch);
        encoded[at % encoded.length] = byte;
        survives(encoded);
        survives(encoded.subarray(0, at % encoded.length));
      }),
      { seed: 7, numRuns: 2000 },
    );
  });

  test('skips fields and kinds of messages it does not know', () => {
    const known = encodeMessage({ type: 'heartbeat', from: 1, to: 2, term: 3, commit: 4, read: 0 });
    // Field 900 of each wire type, then the known fields.
    const unknown = [
      0xa0, 0x38, 0x05, 0xa2, 0x38, 0x01, 0xff, 0xa1, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 0xa5, 0x38, 1, 2, 3, 4,
    ];
    const decoded = decodeMessage(new Uint8Array([...unknown, ...known]));
    expect(decoded).toEqual({ type: 'heartbeat', from: 1, to: 2, term: 3, commit: 4, read: 0 });
    expect(decodeMessage(new Uint8Array(unknown))).toBeUndefined();
  });

  test('agrees with the protobuf wire format', () => {
    // As protoc prints: Message{from:1 to:300 term:2 heartbeat:{commit:150}}.
    const encoded = encodeMessage({ type: 'heartbeat', from: 1, to: 300, term: 2, commit: 150, read: 0 });
    expect(Buffer.from(encoded).toString('hex')).toBe('080110ac02180272030896' + '01');
  });

  test('refuses a length beyond the input without allocating for it', () => {
    expect(() => decodeBatch(new Uint8Array([0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]))).toThrow(CodecError);
  });
});
