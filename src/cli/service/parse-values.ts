/** Flag values with inner structure, besides mounts and ports. */
import { isIP } from 'node:net';
import { ClusterError } from '../../lib/errors.ts';
import type { FileTarget, GenericResource, NetworkAttachmentConfig, Ulimit } from '../../model/spec.ts';
import { splitOnce } from '../../stack/ports.ts';
import { splitCsv } from '../../stack/values.ts';

export interface FileReference {
  readonly source: string;
  readonly file: FileTarget;
}

/** `--secret` and `--config`: `source[,target=…][,uid=…][,gid=…][,mode=…]`. */
export function parseFileReference(text: string): FileReference {
  const fields = splitCsv(text);
  if (fields.length === 1 && !(fields[0] ?? '').includes('=')) return reference({ source: fields[0] ?? '' });
  const given: Record<string, string> = {};
  for (const field of fields) {
    const [key, value] = splitOnce(field, '=');
    if (value === undefined) throw new ClusterError('invalid', `invalid field '${field}' must be a key=value pair`);
    const name = key.toLowerCase() === 'src' ? 'source' : key.toLowerCase();
    if (!['source', 'target', 'uid', 'gid', 'mode'].includes(name)) {
      throw new ClusterError('invalid', `invalid field key: ${key.toLowerCase()}`);
    }
    given[name] = value;
  }
  return reference(given);
}

function reference(given: Readonly<Record<string, string>>): FileReference {
  const source = given['source'] ?? '';
  if (source === '') throw new ClusterError('invalid', 'source is required');
  const mode = given['mode'] ?? '0444';
  if (!/^[0-7]+$/.test(mode)) throw new ClusterError('invalid', `invalid mode specified: ${mode}`);
  return {
    source,
    file: {
      Name: given['target'] || source,
      UID: given['uid'] ?? '0',
      GID: given['gid'] ?? '0',
      Mode: Number.parseInt(mode, 8),
    },
  };
}

/** `--network name` or `name=…,alias=…,driver-opt=k=v`. */
export function parseNetwork(text: string): NetworkAttachmentConfig {
  if (!/^(name|alias|driver-opt|ip|ip6|mac-address|link-local-ip|gw-priority)=/i.test(text)) return { Target: text };
  let target = '';
  const aliases: string[] = [];
  const driverOpts: Record<string, string> = {};
  for (const field of splitCsv(text)) {
    const [key, value] = splitOnce(field, '=');
    if (value === undefined || value === '') throw new ClusterError('invalid', `invalid field: ${field}`);
    if (key.toLowerCase() === 'name') target = value;
    else if (key.toLowerCase() === 'alias') aliases.push(value);
    else if (key.toLowerCase() === 'driver-opt') {
      const [option, optionValue] = splitOnce(value, '=');
      if (optionValue === undefined)
        throw new ClusterError('invalid', 'invalid key value pair format in driver options');
      driverOpts[option] = optionValue;
    } else throw new ClusterError('invalid', `invalid field key ${key}`);
  }
  if (target === '') throw new ClusterError('invalid', 'network name/id is not specified');
  return {
    Target: target,
    ...(aliases.length > 0 ? { Aliases: aliases } : {}),
    ...(Object.keys(driverOpts).length > 0 ? { DriverOpts: driverOpts } : {}),
  };
}

/** `--ulimit name=soft[:hard]`. */
export function parseUlimit(text: string): Ulimit {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (match === null) throw new ClusterError('invalid', `invalid ulimit argument: ${text}`);
  const soft = Number(match[2]);
  const hard = match[3] === undefined ? soft : Number(match[3]);
  if (hard !== -1 && (soft === -1 || soft > hard)) {
    throw new ClusterError('invalid', `ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return { Name: match[1] ?? '', Hard: hard, Soft: soft };
}

/** `--generic-resource kind=3`. */
export function parseGenericResource(text: string): GenericResource {
  const [kind, value] = splitOnce(text, '=');
  if (value === undefined || kind === '')
    throw new ClusterError('invalid', `invalid generic-resource request: ${text}`);
  if (!/^\d+$/.test(value)) {
    throw new ClusterError(
      'invalid',
      `invalid generic-resource request \`${text}\`, Named Generic Resources is not supported for service create or update`,
    );
  }
  return { DiscreteResourceSpec: { Kind: kind, Value: Number(value) } };
}

/** `--placement-pref spread=node.labels.x`. */
export function parsePreference(text: string): string {
  const [strategy, descriptor] = splitOnce(text, '=');
  if (descriptor === undefined)
    throw new ClusterError('invalid', 'placement preference must be of the format "<strategy>=<arg>"');
  if (strategy !== 'spread')
    throw new ClusterError('invalid', `unsupported placement preference ${strategy} (only spread is supported)`);
  return descriptor;
}

/** `--host name:ip`, turned into the form of /etc/hosts. */
export function parseHost(text: string): string {
  const [name, address] = splitOnce(text.includes(':') ? text : text.replace('=', ':'), ':');
  if (address === undefined || name === '') throw new ClusterError('invalid', `bad format for add-host: "${text}"`);
  const ip = address.replace(/^\[(.*)\]$/, '$1');
  if (isIP(ip) === 0) throw new ClusterError('invalid', `invalid IP address in add-host: "${address}"`);
  return `${ip} ${name}`;
}

export function parseDnsServer(text: string): string {
  if (isIP(text.trim()) === 0) throw new ClusterError('invalid', `IP address is not correctly formatted: ${text}`);
  return text.trim();
}

export function parseCredentialSpec(text: string): Record<string, string> {
  const match = /^(config|file|registry):\/\/(.*)$/.exec(text);
  if (match === null) {
    throw new ClusterError(
      'invalid',
      'invalid credential spec: value must be prefixed with "config://", "file://", or "registry://"',
    );
  }
  const key = { config: 'Config', file: 'File', registry: 'Registry' }[match[1] ?? ''] ?? 'Config';
  return { [key]: match[2] ?? '' };
}
