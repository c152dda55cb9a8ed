/**
 * Listening sockets that hold published ports. DNAT would win over a local program's socket without a word; binding first
 * makes the clash an error instead. Nothing is ever read from these sockets: packets are rewritten before they get here.
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { ClusterError } from '../../lib/errors.ts';
import type { HostPort } from './plan.ts';

type Release = () => Promise<void>;

export class PortReservations {
  readonly #held = new Map<string, { readonly owner: string; readonly release: Release }>();

  /** All of a task's ports or none. Errors: `failed_precondition`, naming the port. */
  async reserve(owner: string, ports: readonly HostPort[]): Promise<void> {
    const taken: string[] = [];
    try {
      for (const { port, protocol } of ports) {
        const key = `${protocol}/${port}`;
        const holder = this.#held.get(key);
        if (holder?.owner === owner) continue;
        if (holder !== undefined) throw portTaken(port, protocol, `task ${holder.owner}`);
        this.#held.set(key, { owner, release: protocol === 'udp' ? await bindUdp(port) : await listenTcp(port) });
        taken.push(key);
      }
    } catch (error) {
      for (const key of taken) await this.#free(key);
      throw error;
    }
  }

  async release(owner: string): Promise<void> {
    for (const [key, held] of [...this.#held]) if (held.owner === owner) await this.#free(key);
  }

  async releaseAll(): Promise<void> {
    for (const key of [...this.#held.keys()]) await this.#free(key);
  }

  async #free(key: string): Promise<void> {
    const held = this.#held.get(key);
    this.#held.delete(key);
    await held?.release();
  }
}

function listenTcp(port: number): Promise<Release> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (cause) => reject(portTaken(port, 'tcp', cause.message)));
    server.listen({ port, host: '0.0.0.0' }, () => {
      server.unref();
      resolve(() => new Promise((done) => server.close(() => done())));
    });
  });
}

function bindUdp(port: number): Promise<Release> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', (cause) => reject(portTaken(port, 'udp', cause.message)));
    socket.bind(port, '0.0.0.0', () => {
      socket.unref();
      resolve(() => new Promise((done) => socket.close(() => done())));
    });
  });
}

function portTaken(port: number, protocol: string, why: string): ClusterError {
  return new ClusterError(
    'failed_precondition',
    `Bind for 0.0.0.0:${port}/${protocol} failed: port is already allocated (${why})`,
  );
}
