/** The few fields of etcd's `KV` service that the bench needs, by hand; both subjects speak it. */

export const putPath = '/etcdserverpb.KV/Put';
export const rangePath = '/etcdserverpb.KV/Range';
/** Ours only: counters as JSON. */
export const statusPath = '/bench.Node/Status';

export interface PutRequest {
  readonly key: string;
  readonly value: Uint8Array;
}

export interface RangeRequest {
  readonly key: string;
  /** True: what this node holds, without asking anybody. */
  readonly serializable: boolean;
}

export interface KeyValue {
  readonly key: string;
  /** Number of puts to the key. */
  readonly version: number;
  readonly value: Uint8Array;
}

export function encodePut({ key, value }: PutRequest): Buffer {
  return Buffer.concat([bytesField(1, Buffer.from(key)), bytesField(2, value)]);
}

export function decodePut(bytes: Uint8Array): PutRequest {
  let key = '';
  let value: Uint8Array = new Uint8Array();
  for (const [field, content] of fields(bytes)) {
    if (field === 1 && typeof content !== 'number') key = text(content);
    if (field === 2 && typeof content !== 'number') value = content;
  }
  return { key, value };
}

export function encodeRange({ key, serializable }: RangeRequest): Buffer {
  const name = bytesField(1, Buffer.from(key));
  return serializable ? Buffer.concat([name, varintField(7, 1)]) : name;
}

export function decodeRange(bytes: Uint8Array): RangeRequest {
  let key = '';
  let serializable = false;
  for (const [field, content] of fields(bytes)) {
    if (field === 1 && typeof content !== 'number') key = text(content);
    if (field === 7) serializable = content === 1;
  }
  return { key, serializable };
}

export function encodeRangeResponse(found: KeyValue | undefined): Buffer {
  if (found === undefined) return Buffer.alloc(0);
  const { key, version, value } = found;
  return bytesField(2, Buffer.concat([bytesField(1, Buffer.from(key)), varintField(4, version), bytesField(5, value)]));
}

export function decodeRangeResponse(bytes: Uint8Array): KeyValue | undefined {
  for (const [field, content] of fields(bytes)) {
    if (field === 2 && typeof content !== 'number') return decodeKeyValue(content);
  }
  return undefined;
}

/** A message as it stands in a gRPC request body: not compressed, four bytes of length. */
export function frame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function decodeKeyValue(bytes: Uint8Array): KeyValue {
  let key = '';
  let version = 0;
  let value: Uint8Array = new Uint8Array();
  for (const [field, content] of fields(bytes)) {
    if (typeof content === 'number') {
      if (field === 4) version = content;
    } else if (field === 1) key = text(content);
    else if (field === 5) value = content;
  }
  return { key, version, value };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  while (left > 127) {
    bytes.push((left % 128) | 128);
    left = Math.floor(left / 128);
  }
  return [...bytes, left];
}

function varintField(field: number, value: number): Buffer {
  return Buffer.from([field * 8, ...varint(value)]);
}

function bytesField(field: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([field * 8 + 2, ...varint(bytes.length)]), bytes]);
}

function* fields(bytes: Uint8Array): Generator<readonly [number, number | Uint8Array]> {
  let at = 0;
  const next = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeError('Cannot decode: the message ends early');
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = next();
    const value = next();
    if (tag % 8 === 0) yield [Math.floor(tag / 8), value];
    else if (tag % 8 === 2) {
      yield [Math.floor(tag / 8), bytes.subarray(at, at + value)];
      at += value;
    } else throw new RangeError(`Cannot decode: wire type ${String(tag % 8)}`);
  }
}
