import { ClusterError } from '../lib/errors.ts';

export interface LogFrame {
  readonly stream: 'stdout' | 'stderr';
  readonly payload: Buffer;
}

/** A frame larger than this is a protocol error: lines are cut at 16 KiB by container engines. */
const frameBytesMax = 16 * 1024 * 1024;
const headerBytes = 8;

/** Splits Docker's multiplexed stream: 8 bytes of header (stream, length), then the payload. */
export async function* demultiplex(chunks: AsyncIterable<Buffer>): AsyncGenerator<LogFrame> {
  let pending: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= headerBytes) {
      const size = pending.readUInt32BE(4);
      if (size > frameBytesMax) throw new ClusterError('internal', `log stream: frame of ${size} bytes is too large`);
      if (pending.length < headerBytes + size) break;
      const kind = pending[0];
      const payload = pending.subarray(headerBytes, headerBytes + size);
      pending = pending.subarray(headerBytes + size);
      if (kind === 3)
        throw new ClusterError('internal', `error from daemon in stream: ${payload.toString('utf8').trim()}`);
      if (kind !== 1 && kind !== 2) throw new ClusterError('internal', `log stream: unknown stream number ${kind}`);
      yield { stream: kind === 1 ? 'stdout' : 'stderr', payload };
    }
  }
  if (pending.length > 0) throw new ClusterError('internal', 'log stream: ended in the middle of a frame');
}

/** JSON values, one per line. */
export async function* jsonLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<unknown> {
  const decoder = new TextDecoder();
  let pending = '';
  for await (const chunk of chunks) {
    pending += decoder.decode(chunk, { stream: true });
    const lines = pending.split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') yield JSON.parse(line);
  }
  if (pending.trim() !== '') yield JSON.parse(pending);
}
