import type { FastifyReply } from 'fastify';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Headers } from './respond.ts';

/**
 * Sends chunks as they come; the head goes out at once, so that a client sees the stream open. `make` gets a signal that
 * aborts when the client leaves. Back-pressure: the next chunk is taken when the socket wants more.
 */
export async function streamReply(
  reply: FastifyReply,
  headers: Headers,
  options: {
    readonly make: (signal: AbortSignal) => AsyncIterable<Buffer>;
    /** A last chunk that tells what went wrong after the head was sent. */
    readonly failure: (message: string) => Buffer;
  },
): Promise<void> {
  const leaving = new AbortController();
  reply.hijack();
  const { raw } = reply;
  const onClose = () => leaving.abort(new ClusterError('cancelled', 'the client has left'));
  raw.once('close', onClose);
  raw.writeHead(200, headers);
  raw.flushHeaders();
  try {
    for await (const chunk of options.make(leaving.signal)) {
      if (leaving.signal.aborted) break;
      if (!raw.write(chunk)) await drained(raw, leaving.signal);
    }
  } catch (error) {
    if (!leaving.signal.aborted) raw.write(options.failure(messageOf(error)));
  }
  raw.removeListener('close', onClose);
  leaving.abort();
  raw.end();
}

function drained(raw: FastifyReply['raw'], signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      raw.removeListener('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    raw.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
  });
}
