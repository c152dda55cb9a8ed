/** Facts about this machine. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { promisify } from 'node:util';
import { ClusterError } from '../lib/errors.ts';
import type { HostNetwork } from '../model/address-plan.ts';
import { parseBlock } from '../model/ip.ts';
import { ingressLink, linkPrefix } from '../worker/network/host/names.ts';

export const version: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

/** A link that this node, or an earlier daemon, made itself. */
function isOwnLink(name: string): boolean {
  return name === ingressLink || (name.startsWith(linkPrefix) && /^[0-9a-f]{8}$/.test(name.slice(linkPrefix.length)));
}

/** The IPv4 addresses of this host that others may reach, by interface; `cidr` with the length of the network. */
export function hostAddresses(): readonly { readonly name: string; readonly address: string; readonly cidr: string }[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter((one) => one.family === 'IPv4' && !one.internal && !isOwnLink(name))
      .map((one) => ({ name, address: one.address, cidr: one.cidr ?? `${one.address}/32` })),
  );
}

/** Beyond this (a router with the routes of the Internet) nobody asks for them. */
const routesBytesMax = 1024 ** 2;
const routesTimeoutMs = 5000;
/** Two halves of the world, or a few parts of it, are how some VPNs write a default route; no private network is as wide. */
const partOfWorldMin = 8;

/** The networks that this host has IPv4 routes to. Fails where `ip` does. */
export async function hostRoutes(): Promise<readonly HostNetwork[]> {
  const { stdout } = await promisify(execFile)('ip', ['-4', '-j', 'route', 'show', 'table', 'main'], {
    maxBuffer: routesBytesMax,
    timeout: routesTimeoutMs,
  });
  return routesOf(stdout, isOwnLink);
}

/** From what `ip -j route` says. */
export function routesOf(output: string, isOwn: (link: string) => boolean): readonly HostNetwork[] {
  return listOf(output).flatMap((route): readonly HostNetwork[] => {
    const { type = 'unicast', dst, dev, nexthops } = Object(route) as Readonly<Record<string, unknown>>;
    const name = dev ?? (Object(Array.isArray(nexthops) ? nexthops[0] : undefined) as { readonly dev?: unknown }).dev;
    if (type !== 'unicast' || typeof dst !== 'string' || typeof name !== 'string' || isOwn(name)) return [];
    const cidr = dst.includes('/') ? dst : `${dst}/32`;
    const block = parseBlock(cidr);
    return block === undefined || block.family !== 4 || block.prefix < partOfWorldMin ? [] : [{ name, cidr }];
  });
}

function listOf(output: string): readonly unknown[] {
  try {
    const list: unknown = JSON.parse(output);
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

/**
 * `advertise` as `ip:port`: an address, an interface's name, or the only address of this host. Docker's words where it is not clear.
 * Errors: `invalid`.
 */
export function advertiseAddress(advertise: string, listen: string): string {
  const port = portOf(advertise) ?? portOf(listen) ?? 2377;
  const host = hostOf(advertise) || specific(hostOf(listen));
  if (isIP(host) !== 0) return join(host, port);
  const addresses = hostAddresses();
  if (host !== '') {
    const found = addresses.find((one) => one.name === host);
    if (found === undefined)
      throw new ClusterError(
        'invalid',
        `advertise address must be a non-zero IP address or network interface: ${advertise}`,
      );
    return join(found.address, port);
  }
  const [only, ...others] = addresses;
  if (only === undefined)
    throw new ClusterError('invalid', 'could not choose an IP address to advertise since this system has none');
  if (others.length > 0) {
    const list = addresses.map((one) => `${one.address} on interface ${one.name}`).join(' and ');
    throw new ClusterError(
      'invalid',
      `could not choose an IP address to advertise since this system has multiple addresses (${list})`,
    );
  }
  return join(only.address, port);
}

/** `host`, `:port`, `host:port` or empty, completed to what gRPC binds to. */
export function listenAddress(listen: string): string {
  return join(hostOf(listen) || '0.0.0.0', portOf(listen) ?? 2377);
}

/** A remote `host` or `host:port`, with the default port. Errors: `invalid`. */
export function remoteAddress(remote: string): string {
  const host = hostOf(remote);
  if (host === '' || /[\s/]/.test(remote))
    throw new ClusterError('invalid', `invalid remote address ${JSON.stringify(remote)}: expected HOST:PORT`);
  return join(host, portOf(remote) ?? 2377);
}

/** Errors: `failed_precondition` when nobody can listen on `addr`. */
export function assertFree(addr: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (cause) =>
      reject(new ClusterError('failed_precondition', `Cannot listen on ${addr}: ${cause.message}`, { cause })),
    );
    server.listen({ host: hostOf(addr), port: portOf(addr) ?? 0 }, () => server.close(() => resolve()));
  });
}

function hostOf(addr: string): string {
  return addr.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

function portOf(addr: string): number | undefined {
  const match = /:(\d+)$/.exec(addr);
  return match === null || isIP(addr) === 6 ? undefined : Number(match[1]);
}

function specific(host: string): string {
  return host === '0.0.0.0' || host === '::' ? '' : host;
}

function join(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
