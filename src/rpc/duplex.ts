/** A gRPC bidirectional stream as a {@link Duplex}: bounded on the way out, checked on the way in. */
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js';
import { ClusterError } from '../lib/errors.ts';
import type { Duplex } from '../lib/stream.ts';
import { fromServiceError, toStatus } from './status.ts';

/** Messages that may wait for a slow reader before the stream is given up. */
const queuedMax = 10_000;

interface Wiring<In> {
  readonly decode: (document: object) => In;
  readonly peer: string;
}

export function clientDuplex<Out extends object, In>(
  call: ClientDuplexStream<object, object>,
  wiring: Wiring<In>,
): Duplex<Out, In> {
  return new GrpcDuplex<Out, In>(call, wiring, (error) => {
    if (error === undefined) call.end();
    else call.cancel();
  });
}

export function serverDuplex<Out extends object, In>(
  call: ServerDuplexStream<object, object>,
  wiring: Wiring<In>,
): Duplex<Out, In> {
  return new GrpcDuplex<Out, In>(call, wiring, (error) => {
    if (error === undefined) call.end();
    else call.emit('error', toStatus(error));
  });
}

type Call = ClientDuplexStream<object, object> | ServerDuplexStream<object, object>;

class GrpcDuplex<Out extends object, In> implements Duplex<Out, In> {
  readonly #call: Call;
  readonly #end: (error: Error | undefined) => void;
  #closed = false;
  #queued = 0;
  #onClose: ((error: Error | undefined) => void) | undefined;
  #onMessage: ((message: In) => void) | undefined;
  #early: In[] = [];
  #endedWith: { error: Error | undefined } | undefined;

  constructor(call: Call, wiring: Wiring<In>, end: (error: Error | undefined) => void) {
    this.#call = call;
    this.#end = end;
    call.on('data', (document: object) => this.#receive(document, wiring.decode));
    call.on('error', (error: Error) => this.#finish(fromServiceError(error, wiring.peer)));
    call.on('end', () => {
      // The other end is done; a half-open stream is of no use to anyone here.
      if (!this.#closed) this.#end(undefined);
      this.#finish(undefined);
    });
    call.on('cancelled', () => this.#finish(new ClusterError('unavailable', `${wiring.peer} closed the stream`)));
  }

  send(message: Out): boolean {
    if (this.#closed) return false;
    if (this.#queued >= queuedMax) {
      this.close(new ClusterError('exhausted', 'stream closed: the reader is too slow'));
      return false;
    }
    this.#queued++;
    this.#call.write(message, () => void this.#queued--);
    return true;
  }

  onMessage(handle: (message: In) => void): void {
    this.#onMessage = handle;
    for (const message of this.#early.splice(0)) handle(message);
  }

  onClose(handle: (error: Error | undefined) => void): void {
    this.#onClose = handle;
    if (this.#endedWith !== undefined) handle(this.#endedWith.error);
  }

  close(error?: Error): void {
    if (this.#closed) return;
    this.#end(error);
    this.#finish(error);
  }

  #receive(document: object, decode: (document: object) => In): void {
    if (this.#closed) return;
    let message: In;
    try {
      message = decode(document);
    } catch (error) {
      this.close(error as Error);
      return;
    }
    if (this.#onMessage === undefined) this.#early.push(message);
    else this.#onMessage(message);
  }

  #finish(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endedWith = { error };
    this.#onClose?.(error);
  }
}
