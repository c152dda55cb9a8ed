/** Snapshot payloads are checked from end to end, whatever the way: the sender's bytes are the receiver's bytes. */
import { crc32c } from '../wal/crc32c.ts';
import { SnapshotMismatch } from '../wal/errors.ts';

/** Position and CRC-32C of a payload so far; the CRC is unknown behind bytes that were never seen. */
export class PayloadSum {
  bytes: number;
  crc: number | undefined;

  constructor(bytes = 0, crc: number | undefined = bytes === 0 ? 0 : undefined) {
    this.bytes = bytes;
    this.crc = crc;
  }

  add(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (this.crc !== undefined) this.crc = crc32c(chunk, this.crc);
  }

  /** Throws unless this is the sum that the sender came to. */
  mustBe(total: { readonly bytes: number; readonly crc: number }): void {
    if (this.bytes === total.bytes && (this.crc === undefined || this.crc === total.crc)) return;
    throw new SnapshotMismatch(
      `Cannot receive snapshot: ${String(this.bytes)} bytes with checksum ${String(this.crc)} are not the ` +
        `${String(total.bytes)} with ${String(total.crc)} that were sent`,
    );
  }
}

/** The payload behind its first `offset` bytes; `sum` counts all of it. */
export async function* behind(
  chunks: AsyncIterable<Uint8Array>,
  offset: number,
  sum: PayloadSum,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of chunks) {
    const skip = Math.min(chunk.length, Math.max(0, offset - sum.bytes));
    sum.add(chunk);
    if (skip < chunk.length) yield chunk.subarray(skip);
  }
  if (sum.bytes < offset) throw new SnapshotMismatch(`Cannot send snapshot: it has no byte ${String(offset)}`);
}
