import { ClusterError } from '../lib/errors.ts';
import { parseAddress } from '../model/ip.ts';
import type { PortConfig } from '../model/spec.ts';
import { splitCsv } from './values.ts';

const protocols = ['tcp', 'udp', 'sctp'];

type Optional = 'PublishedPort' | 'HostIP' | 'Source';

/** A port with everything said that Docker's CLI says; `HostIP` and `Source`, which it does not know, only when given. */
export type FullPort = Required<Omit<PortConfig, 'Name' | Optional>> & Pick<PortConfig, Optional>;

const sources = ['preserve', 'masquerade', 'local'] as const;

/** `--publish`: the long form when it has `key=value` fields, else the short one. */
export function parsePublish(text: string): FullPort[] {
  return text.includes('=') ? [parseLongPort(text)] : parseShortPort(text);
}

const longFields: Readonly<Record<string, (value: string, parts: PortParts) => void>> = {
  protocol: (value, parts) => {
    parts.protocol = checkProtocol(value);
  },
  mode: (value, parts) => {
    parts.mode = checkMode(value);
  },
  target: (value, parts) => {
    parts.target = portNumber(value, 'target');
  },
  published: (value, parts) => {
    parts.published = portNumber(value, 'published');
  },
  host_ip: (value, parts) => {
    parts.hostIp = checkHostIp(value);
  },
  source: (value, parts) => {
    parts.source = checkSource(value);
  },
};

function parseLongPort(text: string): FullPort {
  const parts: PortParts = { target: 0, published: 0, protocol: 'tcp', mode: 'ingress' };
  for (const field of splitCsv(text)) {
    const [key = '', value] = splitOnce(field.toLowerCase(), '=');
    if (value === undefined || value === '') throw new ClusterError('invalid', `invalid field: ${field}`);
    const read = Object.hasOwn(longFields, key) ? longFields[key] : undefined;
    if (read === undefined) throw new ClusterError('invalid', `invalid field key ${key}`);
    read(value, parts);
  }
  if (parts.target === 0) throw new ClusterError('invalid', "missing mandatory field 'target'");
  return port(parts);
}

/** An address of a host, without brackets; empty for all of them. */
export function checkHostIp(text: string): string {
  const address = text.replace(/^\[(.*)\]$/, '$1');
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new ClusterError('invalid', `invalid host_ip (${text}): value must be an IP address`);
  return parsed.value === 0n ? '' : address;
}

export function checkSource(value: string): (typeof sources)[number] {
  const found = sources.find((source) => source === value);
  if (found !== undefined) return found;
  throw new ClusterError('invalid', `invalid source value (${value}): must be one of ${sources.join(', ')}`);
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

interface PortParts {
  target: number;
  published: number;
  protocol: string;
  mode: string;
  hostIp?: string;
  source?: (typeof sources)[number];
}

function port({ protocol, target, published, mode, hostIp = '', source }: PortParts): FullPort {
  return {
    Protocol: protocol,
    TargetPort: target,
    ...(published === 0 ? {} : { PublishedPort: published }),
    PublishMode: mode,
    ...(hostIp === '' ? {} : { HostIP: hostIp }),
    ...(source === undefined ? {} : { Source: source }),
  };
}

/** `[ip:][published[-last]:]target[-last][/protocol]`. */
export function parseShortPort(text: string): FullPort[] {
  const [address = '', protocolText = 'tcp'] = splitOnce(text, '/');
  const protocol = checkProtocol(protocolText.toLowerCase());
  const parts = /^(?:(\[[^\]]*\]|[^:]*):)?(?:([^:]*):)?([^:]+)$/.exec(address);
  if (parts === null)
    throw new ClusterError('invalid', `invalid publish opts format (should be name=value but got '${text}')`);
  const [hostIpText, publishedText] = parts[2] === undefined ? ['', parts[1] ?? ''] : [parts[1] ?? '', parts[2]];
  const hostIp = hostIpText === '' ? '' : checkHostIp(hostIpText);
  const target = portRange(parts[3] ?? '', text);
  const published = publishedText === '' ? undefined : portRange(publishedText, text);
  const count = target.last - target.first;
  if (published !== undefined && published.last - published.first !== count) {
    const message =
      count > 0
        ? `invalid ranges specified for container and host Ports: ${text}`
        : `invalid hostport binding (${publishedText}) for port (${target.first})`;
    throw new ClusterError('invalid', message);
  }
  const ports: FullPort[] = [];
  for (let offset = 0; offset <= count; offset++) {
    ports.push(
      port({
        target: target.first + offset,
        published: published === undefined ? 0 : published.first + offset,
        protocol,
        mode: 'ingress',
        hostIp,
      }),
    );
  }
  return ports;
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
