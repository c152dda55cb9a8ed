/** Sockets that do nothing but keep a port of this host from others. */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { HostPort } from '../../../model/ports.ts';

export type Release = () => Promise<void>;

export interface HeldPort {
  readonly port: number;
  readonly release: Release;
}

/** `port` 0: one that the kernel chooses, of its ephemeral range. Errors: the system's (EADDRINUSE, EADDRNOTAVAIL). */
export function holdPort(protocol: string, port: number, host: string): Promise<HeldPort> {
  return protocol === 'udp' ? bindUdp(port, host) : listenTcp(port, host);
}

/**
 * The same list with every number that was left open filled in, as Docker's engine does. They are held until all are chosen, so no two
 * are the same; who wants one takes it afterwards as any other, and hears when another program was faster.
 */
export async function withNumbers(ports: readonly HostPort[]): Promise<readonly HostPort[]> {
  const held: HeldPort[] = [];
  try {
    const filled: HostPort[] = [];
    for (const wanted of ports) {
      // On all addresses, also when it is for one of them: what is free everywhere is free there.
      const chosen = wanted.port > 0 ? undefined : await holdPort(wanted.protocol, 0, '0.0.0.0');
      if (chosen !== undefined) held.push(chosen);
      filled.push(chosen === undefined ? wanted : { ...wanted, port: chosen.port });
    }
    return filled;
  } finally {
    await Promise.all(held.map(({ release }) => release()));
  }
}

function listenTcp(port: number, host: string): Promise<HeldPort> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen({ port, host, backlog: 1, exclusive: true }, () => {
      server.unref();
      const address = server.address();
      const chosen = address !== null && typeof address === 'object' ? address.port : port;
      resolve({ port: chosen, release: () => new Promise((done) => server.close(() => done())) });
    });
  });
}

function bindUdp(port: number, address: string): Promise<HeldPort> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.bind({ port, address, exclusive: true }, () => {
      socket.unref();
      const { port: chosen } = socket.address();
      resolve({ port: chosen, release: () => new Promise((done) => socket.close(() => done())) });
    });
  });
}
