import { ClusterError } from '../lib/errors.ts';
import type { PortConfig } from '../model/spec.ts';
import { splitCsv } from './values.ts';

const protocols = ['tcp', 'udp', 'sctp'];

/** A port with everything said, as the Docker CLI sends it. */
export type FullPort = Required<Omit<PortConfig, 'Name' | 'PublishedPort'>> & Pick<PortConfig, 'PublishedPort'>;

/** `--publish`: the long form when it has `key=value` fields, else the short one. */
export function parsePublish(text: string): FullPort[] {
  return text.includes('=') ? [parseLongPort(text)] : parseShortPort(text).ports;
}

function parseLongPort(text: string): FullPort {
  let target = 0;
  let published = 0;
  let protocol = 'tcp';
  let mode = 'ingress';
  for (const field of splitCsv(text)) {
    const [key = '', value] = splitOnce(field.toLowerCase(), '=');
    if (value === undefined || value === '') throw new ClusterError('invalid', `invalid field: ${field}`);
    if (key === 'protocol') protocol = checkProtocol(value);
    else if (key === 'mode') mode = checkMode(value);
    else if (key === 'target') target = portNumber(value, 'target');
    else if (key === 'published') published = portNumber(value, 'published');
    else throw new ClusterError('invalid', `invalid field key ${key}`);
  }
  if (target === 0) throw new ClusterError('invalid', "missing mandatory field 'target'");
  return port({ target, published, protocol, mode });
}

function checkProtocol(value: string): string {
  if (!protocols.includes(value)) throw new ClusterError('invalid', `invalid protocol value '${value}'`);
  return value;
}

function checkMode(value: string): string {
  if (value === 'ingress' || value === 'host') return value;
  throw new ClusterError('invalid', `invalid publish mode value (${value}): must be either 'ingress' or 'host'`);
}

function portNumber(value: string, field: string): number {
  const parsed = /^\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!(parsed <= 65_535))
    throw new ClusterError('invalid', `invalid ${field} port (${value}): value must be a port number`);
  return parsed;
}

function port(parts: { target: number; published: number; protocol: string; mode: string }): FullPort {
  return {
    Protocol: parts.protocol,
    TargetPort: parts.target,
    ...(parts.published === 0 ? {} : { PublishedPort: parts.published }),
    PublishMode: parts.mode,
  };
}

/** `[ip:][published[-last]:]target[-last][/protocol]`; `hostIp` tells that an address was given, which services cannot use. */
export function parseShortPort(
  text: string,
  options: { readonly allowIp?: boolean } = {},
): { ports: FullPort[]; hostIp: string } {
  const [address = '', protocolText = 'tcp'] = splitOnce(text, '/');
  const protocol = checkProtocol(protocolText.toLowerCase());
  const parts = /^(?:(\[[^\]]*\]|[^:]*):)?(?:([^:]*):)?([^:]+)$/.exec(address);
  if (parts === null)
    throw new ClusterError('invalid', `invalid publish opts format (should be name=value but got '${text}')`);
  const [hostIp, publishedText] = parts[2] === undefined ? ['', parts[1] ?? ''] : [parts[1] ?? '', parts[2]];
  if (hostIp !== '' && options.allowIp !== true) throw new ClusterError('invalid', 'hostip is not supported');
  const target = portRange(parts[3] ?? '', text);
  const published = publishedText === '' ? undefined : portRange(publishedText, text);
  const count = target.last - target.first;
  if (published !== undefined && published.last - published.first !== count && count > 0) {
    throw new ClusterError('invalid', `invalid ranges specified for container and host Ports: ${text}`);
  }
  const ports: FullPort[] = [];
  for (let offset = 0; offset <= count; offset++) {
    ports.push(
      port({
        target: target.first + offset,
        published: published === undefined ? 0 : published.first + offset,
        protocol,
        mode: 'ingress',
      }),
    );
  }
  return { ports, hostIp };
}

function portRange(text: string, whole: string): { first: number; last: number } {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match === null || first < 1 || last > 65_535 || last < first) {
    throw new ClusterError('invalid', `invalid containerPort or hostPort: ${whole}`);
  }
  return { first, last };
}

export function splitOnce(text: string, separator: string): [string] | [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}
