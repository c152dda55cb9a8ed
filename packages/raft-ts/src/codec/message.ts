/** Encoding of messages between nodes; `raft.proto` beside this file is the schema. */
import type {
  Append,
  AppendAck,
  Entry,
  EntryId,
  Forward,
  Heartbeat,
  InstallSnapshot,
  Message,
  ReadAnswer,
  SnapshotMeta,
  Vote,
  VoteAck,
} from '../core/types.ts';
import { readEntry, readEntryId, readSnapshotMeta, writeEntry, writeEntryId, writeSnapshotMeta } from './state.ts';
import { CodecError, Reader, Writer } from './wire.ts';

type Kind = Message['type'];
type Head = Pick<Message, 'from' | 'to' | 'term'>;

const fieldOf: Readonly<Record<Kind, number>> = {
  append: 10,
  'append-ack': 11,
  vote: 12,
  'vote-ack': 13,
  heartbeat: 14,
  'heartbeat-ack': 15,
  snapshot: 16,
  'timeout-now': 17,
  'read-query': 18,
  'read-answer': 19,
  forward: 20,
};

const zeroId: EntryId = { term: 0, index: 0 };

export function writeMessage(w: Writer, message: Message): void {
  w.message(fieldOf[message.type], () => writeBody(w, message));
  w.uint(3, message.term);
  w.uint(2, message.to);
  w.uint(1, message.from);
}

function writeBody(w: Writer, m: Message): void {
  switch (m.type) {
    case 'append':
      return writeAppend(w, m);
    case 'append-ack':
      return writeAppendAck(w, m);
    case 'vote':
      w.message(4, () => writeEntryId(w, m.committed));
      w.message(3, () => writeEntryId(w, m.last));
      w.bool(2, m.transfer);
      return w.bool(1, m.pre);
    case 'vote-ack':
      w.message(3, () => writeEntryId(w, m.committed));
      w.bool(2, m.granted);
      return w.bool(1, m.pre);
    case 'heartbeat':
      w.uint(2, m.read);
      return w.uint(1, m.commit);
    case 'heartbeat-ack':
      return w.uint(1, m.read);
    case 'snapshot':
      w.uint(2, m.epoch);
      return w.message(1, () => writeSnapshotMeta(w, m.snapshot));
    case 'timeout-now':
      return;
    case 'read-query':
      return w.uint(1, m.token);
    case 'read-answer':
      w.uint(2, m.index);
      return w.uint(1, m.token);
    case 'forward':
      return writeForward(w, m);
  }
}

function writeAppend(w: Writer, m: Append): void {
  w.uint(4, m.epoch);
  w.uint(3, m.commit);
  for (let i = m.entries.length - 1; i >= 0; i--) {
    const entry = m.entries[i];
    if (entry !== undefined) w.message(2, () => writeEntry(w, entry));
  }
  w.message(1, () => writeEntryId(w, m.prev));
}

function writeAppendAck(w: Writer, m: AppendAck): void {
  const { match, reject } = m;
  if (reject !== undefined) {
    w.message(3, () => {
      w.message(2, () => writeEntryId(w, reject.hint));
      w.uint(1, reject.prev);
    });
  }
  if (match !== undefined) w.presentUint(2, match);
  w.uint(1, m.epoch);
}

function writeForward(w: Writer, m: Forward): void {
  for (let i = m.payloads.length - 1; i >= 0; i--) {
    const data = m.payloads[i];
    if (data !== undefined) w.message(2, () => writeEntry(w, { term: 0, index: 0, kind: m.kind, data }));
  }
  w.uint(1, m.kind);
}

function readForward(head: Head, r: Reader): Forward {
  let kind: Forward['kind'] = 0;
  const payloads: Uint8Array[] = [];
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) kind = r.uint(field) === 1 ? 1 : 0;
    else if (field.number === 2) payloads.push(readEntry(r.message(field)).data);
    else r.skip(field);
  }
  return { type: 'forward', ...head, kind, payloads };
}

type BodyReader = (head: Head, r: Reader) => Message;

const bodies: ReadonlyMap<number, BodyReader> = new Map<number, BodyReader>([
  [fieldOf.append, readAppend],
  [fieldOf['append-ack'], readAppendAck],
  [fieldOf.vote, readVote],
  [fieldOf['vote-ack'], readVoteAck],
  [fieldOf.heartbeat, readHeartbeat],
  [fieldOf['heartbeat-ack'], (head, r) => ({ type: 'heartbeat-ack', ...head, read: readNumbers(r, 1)[0] ?? 0 })],
  [fieldOf.snapshot, readInstallSnapshot],
  [
    fieldOf['timeout-now'],
    (head, r) => {
      readNumbers(r, 0);
      return { type: 'timeout-now', ...head };
    },
  ],
  [fieldOf['read-query'], (head, r) => ({ type: 'read-query', ...head, token: readNumbers(r, 1)[0] ?? 0 })],
  [fieldOf['read-answer'], readReadAnswer],
  [fieldOf.forward, readForward],
]);

/** `undefined` for a kind of message that this version does not know. */
export function readMessage(r: Reader): Message | undefined {
  const head = { from: 0, to: 0, term: 0 };
  let read: BodyReader | undefined;
  let body: Reader | undefined;
  while (!r.done) {
    const field = r.field();
    const known = bodies.get(field.number);
    if (field.number === 1) head.from = r.uint(field);
    else if (field.number === 2) head.to = r.uint(field);
    else if (field.number === 3) head.term = r.uint(field);
    else if (known !== undefined) {
      read = known;
      body = r.message(field);
    } else r.skip(field);
  }
  return read === undefined || body === undefined ? undefined : read(head, body);
}

/** Fields 1 … count as numbers; a field that did not come is 0. */
function readNumbers(r: Reader, count: number): number[] {
  const values = new Array<number>(count).fill(0);
  while (!r.done) {
    const field = r.field();
    if (field.number <= count) values[field.number - 1] = r.uint(field);
    else r.skip(field);
  }
  return values;
}

function readAppend(head: Head, r: Reader): Append {
  let prev = zeroId;
  const entries: Entry[] = [];
  let commit = 0;
  let epoch = 0;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) prev = readEntryId(r.message(field));
    else if (field.number === 2) entries.push(readEntry(r.message(field)));
    else if (field.number === 3) commit = r.uint(field);
    else if (field.number === 4) epoch = r.uint(field);
    else r.skip(field);
  }
  for (const [at, entry] of entries.entries()) {
    if (entry.index !== prev.index + 1 + at) throw new CodecError('Cannot read append: entries are not consecutive');
  }
  return { type: 'append', ...head, prev, entries, commit, epoch };
}

function readAppendAck(head: Head, r: Reader): AppendAck {
  let epoch = 0;
  let match: number | undefined;
  let reject: AppendAck['reject'];
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) epoch = r.uint(field);
    else if (field.number === 2) match = r.uint(field);
    else if (field.number === 3) reject = readReject(r.message(field));
    else r.skip(field);
  }
  const ack: AppendAck = { type: 'append-ack', ...head, epoch };
  if (match !== undefined && reject !== undefined)
    throw new CodecError('Cannot read append-ack: both match and reject');
  if (match !== undefined) return { ...ack, match };
  return reject === undefined ? ack : { ...ack, reject };
}

function readReject(r: Reader): { prev: number; hint: EntryId } {
  let prev = 0;
  let hint = zeroId;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) prev = r.uint(field);
    else if (field.number === 2) hint = readEntryId(r.message(field));
    else r.skip(field);
  }
  return { prev, hint };
}

function readVote(head: Head, r: Reader): Vote {
  let pre = false;
  let transfer = false;
  let last = zeroId;
  let committed = zeroId;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) pre = r.bool(field);
    else if (field.number === 2) transfer = r.bool(field);
    else if (field.number === 3) last = readEntryId(r.message(field));
    else if (field.number === 4) committed = readEntryId(r.message(field));
    else r.skip(field);
  }
  return { type: 'vote', ...head, pre, transfer, last, committed };
}

function readVoteAck(head: Head, r: Reader): VoteAck {
  let pre = false;
  let granted = false;
  let committed = zeroId;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) pre = r.bool(field);
    else if (field.number === 2) granted = r.bool(field);
    else if (field.number === 3) committed = readEntryId(r.message(field));
    else r.skip(field);
  }
  return { type: 'vote-ack', ...head, pre, granted, committed };
}

function readHeartbeat(head: Head, r: Reader): Heartbeat {
  const [commit = 0, read = 0] = readNumbers(r, 2);
  return { type: 'heartbeat', ...head, commit, read };
}

function readReadAnswer(head: Head, r: Reader): ReadAnswer {
  const [token = 0, index = 0] = readNumbers(r, 2);
  return { type: 'read-answer', ...head, token, index };
}

function readInstallSnapshot(head: Head, r: Reader): InstallSnapshot {
  let snapshot: SnapshotMeta | undefined;
  let epoch = 0;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) snapshot = readSnapshotMeta(r.message(field));
    else if (field.number === 2) epoch = r.uint(field);
    else r.skip(field);
  }
  if (snapshot === undefined) throw new CodecError('Cannot read snapshot message: no snapshot in it');
  return { type: 'snapshot', ...head, snapshot, epoch };
}

/** One message; see raft.proto. */
export function encodeMessage(message: Message): Uint8Array {
  const w = new Writer();
  writeMessage(w, message);
  return w.finish();
}

/** Undefined for a kind that this version does not know. Throws `CodecError` for what is no message. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  return readMessage(new Reader(bytes));
}

/** All messages of one batch travel in one frame. */
export function encodeBatch(messages: readonly Message[]): Uint8Array {
  const w = new Writer(sizeHintOf(messages));
  for (let i = messages.length - 1; i >= 0; i--) {
    const message = messages[i];
    if (message !== undefined) w.message(1, () => writeMessage(w, message));
  }
  return w.finish();
}

/** Messages of kinds that this version does not know are left out: a newer peer may send them. */
export function decodeBatch(bytes: Uint8Array): Message[] {
  const r = new Reader(bytes);
  const messages: Message[] = [];
  while (!r.done) {
    const field = r.field();
    if (field.number !== 1) {
      r.skip(field);
      continue;
    }
    const message = readMessage(r.message(field));
    if (message !== undefined) messages.push(message);
  }
  return messages;
}

/** Payload bytes plus a generous guess for the rest: decides lanes, frames and the first buffer of the writer. */
export function approximateSize(message: Message): number {
  let size = 64;
  if (message.type === 'forward') for (const data of message.payloads) size += data.length + 24;
  if (message.type !== 'append') return size;
  for (const entry of message.entries) size += entry.data.length + 24;
  return size;
}

function sizeHintOf(messages: readonly Message[]): number {
  let size = 16;
  for (const message of messages) size += approximateSize(message);
  return size;
}
