/** Valid values of everything that is encoded, and ways to spoil their encodings. */
import fc from 'fast-check';
import type { Entry, Message } from '../../src/index.ts';

export const number = fc.oneof(fc.nat(200), fc.maxSafeNat());
export const id = fc.record({ term: number, index: number });
const bytes = fc.uint8Array({ maxLength: 64 });
const kindOfEntry = fc.constantFrom(0 as const, 1 as const);
export const entry: fc.Arbitrary<Entry> = fc.record({ term: number, index: number, kind: kindOfEntry, data: bytes });
const ids = fc.array(number, { maxLength: 5 });
export const conf = fc.record({
  voters: ids,
  outgoing: ids,
  learners: ids,
  learnersNext: ids,
  autoLeave: fc.boolean(),
});
export const meta = fc.record({
  term: number,
  index: number,
  conf,
  id: fc.string({ unit: 'grapheme', maxLength: 20 }),
});
const head = { from: number, to: number, term: number };
const kind = <T extends Message['type']>(type: T) => fc.constant(type);

const append: fc.Arbitrary<Message> = fc
  .record({
    ...head,
    type: kind('append'),
    prev: fc.record({ term: number, index: fc.nat(1e12) }),
    entries: fc.array(entry, { maxLength: 5 }),
    commit: number,
    epoch: number,
  })
  .map((m) => ({ ...m, entries: m.entries.map((e, at): Entry => ({ ...e, index: m.prev.index + 1 + at })) }));

export const message: fc.Arbitrary<Message> = fc.oneof(
  append,
  fc.record({ ...head, type: kind('append-ack'), epoch: number }),
  fc.record({ ...head, type: kind('append-ack'), epoch: number, match: number }),
  fc.record({ ...head, type: kind('append-ack'), epoch: number, reject: fc.record({ prev: number, hint: id }) }),
  fc.record({ ...head, type: kind('vote'), pre: fc.boolean(), transfer: fc.boolean(), last: id, committed: id }),
  fc.record({ ...head, type: kind('vote-ack'), pre: fc.boolean(), granted: fc.boolean(), committed: id }),
  fc.record({ ...head, type: kind('heartbeat'), commit: number, read: number }),
  fc.record({ ...head, type: kind('heartbeat-ack'), read: number }),
  fc.record({ ...head, type: kind('snapshot'), snapshot: meta, epoch: number }),
  fc.record({ ...head, type: kind('timeout-now') }),
  fc.record({ ...head, type: kind('read-query'), token: number }),
  fc.record({ ...head, type: kind('read-answer'), token: number, index: number }),
  fc.record({ ...head, type: kind('forward'), kind: kindOfEntry, payloads: fc.array(bytes, { maxLength: 4 }) }),
);

export interface Spoil {
  readonly how: 'flip' | 'cut' | 'inflate' | 'splice' | 'double' | 'overwrite';
  readonly at: number;
  readonly by: number;
  readonly with: Uint8Array;
}

export const spoils: fc.Arbitrary<readonly Spoil[]> = fc.array(
  fc.record({
    how: fc.constantFrom<Spoil['how'][]>('flip', 'cut', 'inflate', 'splice', 'double', 'overwrite'),
    at: fc.nat(1 << 20),
    by: fc.nat(255),
    with: fc.uint8Array({ maxLength: 16 }),
  }),
  { minLength: 1, maxLength: 3 },
);

/** A varint of 2^42, in place of what was a length with luck. */
const huge = new Uint8Array([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);

export function spoil(valid: Uint8Array, how: readonly Spoil[], other: Uint8Array = valid): Uint8Array {
  let bytes: Uint8Array = new Uint8Array(valid);
  for (const one of how) if (bytes.length > 0) bytes = spoilOnce(bytes, one, other);
  return bytes;
}

function spoilOnce(bytes: Uint8Array, { how, at: place, by, with: filling }: Spoil, other: Uint8Array): Uint8Array {
  const at = place % bytes.length;
  const front = bytes.subarray(0, at);
  switch (how) {
    case 'flip':
      return bytes.map((byte, position) => (position === at ? byte ^ (1 << (by & 7)) : byte));
    case 'cut':
      return bytes.slice(0, at);
    case 'inflate':
      return Buffer.concat([front, huge, bytes.subarray(at + 1)]);
    case 'splice':
      return Buffer.concat([front, other.subarray(other.length === 0 ? 0 : by % other.length)]);
    case 'double':
      return Buffer.concat([bytes, bytes.subarray(at)]);
    case 'overwrite':
      return bytes.map((byte, position) => filling[position - at] ?? byte);
  }
}

/** Roughly the bytes that a decoded value takes. */
export function weightOf(value: unknown): number {
  if (value instanceof Uint8Array) return 64 + value.length;
  if (typeof value === 'string') return 16 + value.length * 2;
  if (Array.isArray(value)) return value.reduce((sum: number, one) => sum + weightOf(one), 16);
  if (typeof value !== 'object' || value === null) return 8;
  return Object.values(value).reduce((sum: number, one) => sum + weightOf(one), 16);
}
