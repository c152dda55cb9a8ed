/** Streams between the manager's process and the agents' process: the documents of `src/rpc/services.ts`, as bytes of JSON. */
import { realClock } from '../../src/lib/real.ts';
import type { Duplex } from '../../src/lib/stream.ts';

/** `open` and `close` are the agents' and either side's; `data` is one message. */
export type Parcel =
  | { readonly kind: 'open'; readonly stream: number; readonly nodeId: string }
  | { readonly kind: 'data'; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly kind: 'close'; readonly stream: number };

/** What the manager tells the agents' process besides. */
export type Order =
  | { readonly kind: 'start'; readonly nodes: number }
  | { readonly kind: 'silence'; readonly node: number }
  | { readonly kind: 'parcels'; readonly parcels: readonly Parcel[] };

type Post = (parcel: Parcel) => void;

export class Link<Out, In> implements Duplex<Out, In> {
  readonly #stream: number;
  readonly #post: Post;
  #handle: (message: In) => void = () => {};
  #onClose: (error: Error | undefined) => void = () => {};
  #isOpen = true;

  constructor(stream: number, post: Post) {
    this.#stream = stream;
    this.#post = post;
  }

  send(message: Out): boolean {
    if (this.#isOpen) this.#post({ kind: 'data', stream: this.#stream, bytes: Buffer.from(JSON.stringify(message)) });
    return this.#isOpen;
  }

  onMessage(handle: (message: In) => void): void {
    this.#handle = handle;
  }

  onClose(handle: (error: Error | undefined) => void): void {
    this.#onClose = handle;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#post({ kind: 'close', stream: this.#stream });
    this.closed();
  }

  arrived(bytes: Uint8Array): void {
    this.#handle(JSON.parse(Buffer.from(bytes).toString()) as In);
  }

  closed(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#onClose(undefined);
  }
}

/** What is posted in one turn travels together, as on a busy connection. */
export class Outbox {
  readonly #send: (parcels: readonly Parcel[]) => void;
  #parcels: Parcel[] = [];

  constructor(send: (parcels: readonly Parcel[]) => void) {
    this.#send = send;
  }

  post(parcel: Parcel): void {
    if (this.#parcels.length === 0) realClock.defer(() => this.#flush());
    this.#parcels.push(parcel);
  }

  #flush(): void {
    const parcels = this.#parcels;
    this.#parcels = [];
    this.#send(parcels);
  }
}
