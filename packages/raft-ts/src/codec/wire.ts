/**
 * The protobuf wire format, as much of it as raft-ts uses: varints up to 2^53−1 and length-delimited fields.
 *
 * The writer fills its buffer from the end, so that the length of a nested message is known when its head is written.
 * Fields are therefore written in descending order and come out in ascending order.
 * The reader never allocates more than the input holds, skips fields it does not know, and throws CodecError on
 * anything malformed.
 */

/** The bytes are not what the schema says. The sender is faulty; the reader is not. */
export class CodecError extends Error {
  override readonly name = 'CodecError';
}

export const WireType = { Varint: 0, Fixed64: 1, Bytes: 2, Fixed32: 5 } as const;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true });
const twoTo32 = 2 ** 32;

export class Writer {
  #buffer: Uint8Array<ArrayBuffer>;
  #start: number;

  constructor(sizeHint = 256) {
    this.#buffer = new Uint8Array(sizeHint);
    this.#start = sizeHint;
  }

  get size(): number {
    return this.#buffer.length - this.#start;
  }

  /** The written bytes; the writer must not be used afterwards. */
  finish(): Uint8Array {
    return this.#buffer.subarray(this.#start);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#start -= bytes.length;
    this.#buffer.set(bytes, this.#start);
  }

  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new CodecError(`Cannot encode number: ${String(value)}`);
    const size = varintSize(value);
    this.#reserve(size);
    this.#start -= size;
    let at = this.#start;
    let rest = value;
    for (; rest >= twoTo32; rest = Math.floor(rest / 128)) this.#buffer[at++] = (rest % 128) | 0x80;
    let low = rest >>> 0;
    for (; low > 127; low >>>= 7) this.#buffer[at++] = (low & 0x7f) | 0x80;
    this.#buffer[at] = low;
  }

  /** Omitted when zero, as proto3 does. */
  uint(field: number, value: number): void {
    if (value !== 0) this.presentUint(field, value);
  }

  /** Written even when zero: a field with presence. */
  presentUint(field: number, value: number): void {
    this.varint(value);
    this.varint(field * 8 + WireType.Varint);
  }

  bool(field: number, value: boolean): void {
    if (value) this.presentUint(field, 1);
  }

  bytes(field: number, value: Uint8Array): void {
    if (value.length === 0) return;
    this.raw(value);
    this.varint(value.length);
    this.varint(field * 8 + WireType.Bytes);
  }

  string(field: number, value: string): void {
    this.bytes(field, utf8Encoder.encode(value));
  }

  /** Always written, even when the nested message is empty. */
  message(field: number, write: () => void): void {
    const before = this.size;
    write();
    this.varint(this.size - before);
    this.varint(field * 8 + WireType.Bytes);
  }

  packed(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    this.message(field, () => {
      for (let i = values.length - 1; i >= 0; i--) this.varint(values[i] ?? 0);
    });
  }

  #reserve(count: number): void {
    if (count <= this.#start) return;
    const used = this.size;
    const grown = new Uint8Array(Math.max(this.#buffer.length * 2, used + count + 64));
    grown.set(this.#buffer.subarray(this.#start), grown.length - used);
    this.#start = grown.length - used;
    this.#buffer = grown;
  }
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

export interface Field {
  readonly number: number;
  readonly type: number;
}

export class Reader {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count++) {
      const byte = this.#at < this.#end ? this.#bytes[this.#at++] : undefined;
      if (byte === undefined) throw new CodecError('Cannot read number: input ends inside it');
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new CodecError('Cannot read number: above 2^53-1');
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new CodecError('Cannot read number: longer than ten bytes');
  }

  field(): Field {
    const tag = this.varint();
    const number = Math.floor(tag / 8);
    if (number === 0 || number > 0x1fff_ffff) throw new CodecError(`Cannot read field: number ${String(number)}`);
    return { number, type: tag % 8 };
  }

  uint(field: Field): number {
    expectType(field, WireType.Varint);
    return this.varint();
  }

  bool(field: Field): boolean {
    return this.uint(field) !== 0;
  }

  /** A view of the input, not a copy. */
  bytes(field: Field): Uint8Array {
    expectType(field, WireType.Bytes);
    const length = this.#length();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  string(field: Field): string {
    try {
      return utf8Decoder.decode(this.bytes(field));
    } catch (cause) {
      if (cause instanceof CodecError) throw cause;
      throw new CodecError('Cannot read text: not UTF-8', { cause });
    }
  }

  message(field: Field): Reader {
    expectType(field, WireType.Bytes);
    const length = this.#length();
    this.#at += length;
    return new Reader(this.#bytes, this.#at - length, this.#at);
  }

  /** Appends to `into`; takes packed and single values alike, as protobuf readers must. */
  numbers(field: Field, into: number[]): void {
    if (field.type === WireType.Varint) {
      into.push(this.varint());
      return;
    }
    const packed = this.message(field);
    while (!packed.done) into.push(packed.varint());
  }

  skip(field: Field): void {
    if (field.type === WireType.Varint) this.varint();
    else if (field.type === WireType.Fixed64) this.#advance(8);
    else if (field.type === WireType.Fixed32) this.#advance(4);
    else if (field.type === WireType.Bytes) this.#advance(this.#length());
    else throw new CodecError(`Cannot skip field: wire type ${String(field.type)}`);
  }

  #advance(count: number): void {
    if (count > this.#end - this.#at) throw new CodecError('Cannot skip field: input ends inside it');
    this.#at += count;
  }

  #length(): number {
    const length = this.varint();
    if (length > this.#end - this.#at) throw new CodecError('Cannot read field: input ends inside it');
    return length;
  }
}

function expectType(field: Field, type: number): void {
  if (field.type === type) return;
  throw new CodecError(`Cannot read field ${String(field.number)}: wire type ${String(field.type)}`);
}
