import { ClusterError } from '../lib/errors.ts';

/** Where a daemon's API listens. */
export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly base: string };

export const defaultHost = 'unix:///run/tscluster/tscluster.sock';

/** Reads `unix:///path`, `tcp://host:port[/base]`, `http://host:port[/base]` or a bare absolute path. */
export function parseAddress(text: string): Address {
  if (text.startsWith('/')) return { kind: 'unix', path: text };
  if (text.startsWith('unix://')) {
    const path = text.slice('unix://'.length);
    if (path === '') throw new ClusterError('invalid', `unable to parse host "${text}": the socket path is missing`);
    return { kind: 'unix', path };
  }
  const match = /^(?:tcp|http):\/\/(\[[0-9a-fA-F:]+\]|[^/:]+)(?::(\d+))?(\/.*)?$/.exec(text);
  const port = Number(match?.[2] ?? 2375);
  if (match?.[1] === undefined || port < 1 || port > 65_535) {
    throw new ClusterError('invalid', `unable to parse host "${text}": use unix:///path/to/socket or tcp://host:port`);
  }
  const base = (match[3] ?? '').replace(/\/+$/, '');
  return { kind: 'tcp', host: match[1].replace(/^\[|\]$/g, ''), port, base };
}

export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return `unix://${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `tcp://${host}:${address.port}${address.base}`;
}
