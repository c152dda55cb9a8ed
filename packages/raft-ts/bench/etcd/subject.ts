/** A cluster of three nodes that answers etcd's `Put` and `Range`: what the bench knows of either side. */
import { Client, credentials } from '@grpc/grpc-js';
import type { KeyValue } from './protocol.ts';
import { decodeRangeResponse, encodePut, encodeRange, putPath, rangePath } from './protocol.ts';

export interface Counters {
  /** Waits for the disk, on the leader. */
  readonly syncs: number;
  /** Time on processors, of the leader's process. */
  readonly cpuMs: number;
  /** For people. */
  readonly note: string;
}

export interface Subject {
  readonly name: 'ours' | 'etcd';
  /** With its version. */
  readonly title: string;
  readonly nodes: readonly NodeClient[];
  start(): Promise<void>;
  /** Starts one node that was killed. */
  startNode(at: number): void;
  /** `kill -9`. */
  killNode(at: number): Promise<void>;
  /** Place of the leader in `nodes`, if there is one now. */
  leader(): Promise<number | undefined>;
  counters(leader: number): Promise<Counters>;
}

const plain = (bytes: Buffer) => bytes;

/** Calls to one node. */
export class NodeClient {
  readonly url: string;
  #client: Client;
  readonly #address: string;

  constructor(port: number) {
    this.#address = `127.0.0.1:${String(port)}`;
    this.url = `http://${this.#address}`;
    this.#client = this.#connect();
  }

  #connect(): Client {
    // A node that was killed is back soon; the default waits up to two minutes before it looks again.
    const options = { 'grpc.initial_reconnect_backoff_ms': 100, 'grpc.max_reconnect_backoff_ms': 100 };
    return new Client(this.#address, credentials.createInsecure(), options);
  }

  /** Forgets the connection and what it knows of failures. */
  reconnect(): void {
    this.#client.close();
    this.#client = this.#connect();
  }

  call(path: string, request: Buffer, limitMs = 2000): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        plain,
        plain,
        request,
        { deadline: Date.now() + limitMs },
        (error, response) => {
          if (error === null && response !== undefined) resolve(response);
          else reject(error ?? new Error('no response'));
        },
      );
    });
  }

  async put(key: string, value: Uint8Array, limitMs?: number): Promise<void> {
    await this.call(putPath, encodePut({ key, value }), limitMs);
  }

  /** What this very node holds. */
  async get(key: string): Promise<KeyValue | undefined> {
    return decodeRangeResponse(await this.call(rangePath, encodeRange({ key, serializable: true })));
  }

  close(): void {
    this.#client.close();
  }
}
