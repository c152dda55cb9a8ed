/**
 * DNS messages (RFC 1035, EDNS of RFC 6891) as far as this server needs them. Queries are decoded by dns-packet once their shape is
 * known to be harmless; answers are written here, because they repeat the question byte by byte and point to its name, which
 * makes the answer with 60 addresses fit into one packet.
 */
import { decode } from 'dns-packet';
import { parseAddress } from '../../../model/ip.ts';

export const rcode = {
  ok: 0,
  format: 1,
  failure: 2,
  unknownName: 3,
  unsupported: 4,
  refused: 5,
  badVersion: 16,
} as const;
export type Rcode = (typeof rcode)[keyof typeof rcode];

export const recordType = { a: 1, ptr: 12, aaaa: 28, any: 255 } as const;
const classInternet = 1;
const optType = 41;

const headerBytes = 12;
/** Without EDNS, and the most that we send over UDP whatever the asker says (avoids fragments; DNS flag day 2020). */
const plainBytes = 512;
export const udpBytesMax = 1232;
/** Of a query: real ones have less than 600. */
export const queryBytesMax = 4_096;
export const messageBytesMax = 65_535;

const flag = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionWanted: 0x0100, recursion: 0x0080 };
const checkingDisabled = 0x0010;

export interface Query {
  readonly id: number;
  readonly flags: number;
  /** As asked, without the dot at the end. */
  readonly name: string;
  readonly type: number;
  readonly isInternet: boolean;
  /** The question as it came. */
  readonly question: Buffer;
  readonly edns?: { readonly version: number; readonly wantsDnssec: boolean };
  /** What the asker takes over UDP. */
  readonly udpBytes: number;
}

/** `drop`: not worth an answer. Otherwise the code to refuse with. */
export type Unreadable = { readonly refuse: Rcode | 'drop' };

export function readQuery(packet: Buffer): Query | Unreadable {
  if (packet.length < headerBytes || (packet.readUInt16BE(2) & flag.response) !== 0) return { refuse: 'drop' };
  const flags = packet.readUInt16BE(2);
  if (((flags >> 11) & 0xf) !== 0) return { refuse: rcode.unsupported };
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => packet.readUInt16BE(at));
  const isPlain = questions === 1 && answers === 0 && authorities === 0 && (additionals ?? 0) <= 2;
  if (!isPlain || packet.length > queryBytesMax) return { refuse: rcode.format };
  try {
    return decoded(packet, flags);
  } catch {
    // dns-packet throws whatever it trips over.
    return { refuse: rcode.format };
  }
}

function decoded(packet: Buffer, flags: number): Query | Unreadable {
  const end = questionEnd(packet);
  if (end === undefined) return { refuse: rcode.format };
  const { questions, additionals } = decode(packet);
  const options = (additionals ?? []).filter((record) => record.type === 'OPT');
  const [opt] = options;
  if (options.length > 1) return { refuse: rcode.format };
  const base: Query = {
    id: packet.readUInt16BE(0),
    flags,
    name: questions?.[0]?.name ?? '',
    type: packet.readUInt16BE(end - 4),
    isInternet: packet.readUInt16BE(end - 2) === classInternet,
    question: packet.subarray(headerBytes, end),
    udpBytes: plainBytes,
  };
  if (opt === undefined || opt.type !== 'OPT') return base;
  const udpBytes = Math.min(Math.max(opt.udpPayloadSize, plainBytes), udpBytesMax);
  return { ...base, udpBytes, edns: { version: opt.ednsVersion, wantsDnssec: opt.flag_do } };
}

/** Where the only question ends. A question's name has nothing before it that it could point to. */
function questionEnd(packet: Buffer): number | undefined {
  let at = headerBytes;
  for (let length = packet[at]; length !== 0; length = packet[at]) {
    if (length === undefined || length > 63) return undefined;
    at += length + 1;
  }
  const end = at + 5;
  return end <= packet.length && at - headerBytes < 255 ? end : undefined;
}

export interface Reply {
  readonly rcode: Rcode;
  readonly records?: readonly Rdata[];
  readonly ttlSeconds?: number;
  readonly authoritative?: boolean;
}

export interface Rdata {
  readonly type: number;
  readonly data: Buffer;
}

/** Within `bytesMax`; records that do not fit are left out, and the asker is told to come again over TCP. */
export function writeReply(query: Query, reply: Reply, bytesMax: number): Buffer {
  const { records = [], ttlSeconds = 0 } = reply;
  const optBytes = query.edns === undefined ? 0 : 11;
  const room = bytesMax - headerBytes - query.question.length - optBytes;
  const count = fitting(records, room);
  const parts = [query.question, ...records.slice(0, count).map((record) => recordBytes(record, ttlSeconds))];
  if (query.edns !== undefined) parts.push(optBytesOf(reply.rcode, query.edns.wantsDnssec));
  const truncated = count < records.length ? flag.truncated : 0;
  const authoritative = reply.authoritative === true ? flag.authoritative : 0;
  const header = headerOf(query.id, query.flags, truncated | authoritative | (reply.rcode & 0xf));
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(count, 6);
  header.writeUInt16BE(query.edns === undefined ? 0 : 1, 10);
  return Buffer.concat([header, ...parts]);
}

/** To a query that could not be read: its header alone. */
export function writeRefusal(packet: Buffer, code: Rcode): Buffer {
  return headerOf(packet.readUInt16BE(0), packet.readUInt16BE(2), code);
}

export function addressData(address: string): Rdata | undefined {
  const parsed = parseAddress(address);
  if (parsed === undefined) return undefined;
  const digits = parsed.family === 4 ? 8 : 32;
  const data = Buffer.from(parsed.value.toString(16).padStart(digits, '0'), 'hex');
  return { type: parsed.family === 4 ? recordType.a : recordType.aaaa, data };
}

/** Undefined for what does not fit into a DNS name. */
export function pointerData(name: string): Rdata | undefined {
  const labels = name.split('.').map((label) => Buffer.from(label));
  if (labels.some(({ length }) => length === 0 || length > 63)) return undefined;
  const data = Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)]);
  return data.length > 255 ? undefined : { type: recordType.ptr, data };
}

/** Whether this is the answer to that question, asked with that id. */
export function answers(packet: Buffer, id: number, question: Buffer): boolean {
  if (packet.length < headerBytes + question.length || packet.readUInt16BE(0) !== id) return false;
  if ((packet.readUInt16BE(2) & flag.response) === 0 || packet.readUInt16BE(4) !== 1) return false;
  const echoed = packet.subarray(headerBytes, headerBytes + question.length);
  return (
    echoed.equals(question) || echoed.toString('latin1').toLowerCase() === question.toString('latin1').toLowerCase()
  );
}

export function isTruncated(packet: Buffer): boolean {
  return (packet.readUInt16BE(2) & flag.truncated) !== 0;
}

export function rcodeOf(packet: Buffer): number {
  return packet.readUInt16BE(2) & 0xf;
}

export function withId(packet: Buffer, id: number): Buffer {
  const copy = Buffer.from(packet);
  copy.writeUInt16BE(id, 0);
  return copy;
}

/** Over TCP each message is preceded by its length. */
export function withLength(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length, 0);
  return Buffer.concat([length, message]);
}

function headerOf(id: number, queryFlags: number, flags: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  const kept = queryFlags & (0x7800 | flag.recursionWanted | checkingDisabled);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flag.response | flag.recursion | kept | flags, 2);
  return header;
}

function fitting(records: readonly Rdata[], room: number): number {
  let left = room;
  const at = records.findIndex(({ data }) => {
    left -= 12 + data.length;
    return left < 0;
  });
  return at < 0 ? records.length : at;
}

function recordBytes({ type, data }: Rdata, ttlSeconds: number): Buffer {
  const head = Buffer.alloc(12);
  // The question's name, which begins right behind the header.
  head.writeUInt16BE(0xc000 | headerBytes, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(classInternet, 4);
  head.writeUInt32BE(ttlSeconds, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function optBytesOf(code: Rcode, wantsDnssec: boolean): Buffer {
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(optType, 1);
  opt.writeUInt16BE(udpBytesMax, 3);
  opt.writeUInt8(code >> 4, 5);
  opt.writeUInt16BE(wantsDnssec ? 0x8000 : 0, 7);
  return opt;
}
