/** Sockets that do nothing but keep a port of this host from others. */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { ClusterError } from '../../../lib/errors.ts';
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
 * The same list with every number that was left open filled in, as Docker's engine does: none of `taken`. They are held until all are
 * chosen, so no two are the same; who wants one takes it afterwards as any other, and hears when another program was faster.
 */
export async function withNumbers(
  ports: readonly HostPort[],
  taken: readonly HostPort[] = [],
): Promise<readonly HostPort[]> {
  const held: HeldPort[] = [];
  const isTaken = (protocol: HostPort['protocol'], port: number) =>
    taken.some((other) => other.protocol === protocol && other.port === port);
  /** On all addresses, also when it is for one of them: what is free everywhere is free there. */
  const choose = async (protocol: HostPort['protocol']): Promise<number> => {
    for (let tries = 0; tries <= taken.length; tries++) {
      const chosen = await holdPort(protocol, 0, '0.0.0.0');
      held.push(chosen);
      if (!isTaken(protocol, chosen.port)) return chosen.port;
    }
    throw new ClusterError('exhausted', `this host has no ${protocol} port left to choose`);
  };
  try {
    const filled: HostPort[] = [];
    for (const wanted of ports) {
      filled.push(wanted.port > 0 ? wanted : { ...wanted, port: await choose(wanted.protocol) });
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
