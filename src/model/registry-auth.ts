/**
 * Registry credentials of services, in the form in which Docker's clients send them (header `X-Registry-Auth`: base64 of a JSON
 * document). They are no part of a spec: nobody reads them back, and new ones alone replace no task. Pure.
 */
import { ClusterError } from '../lib/errors.ts';
import { parseImageReference } from './image-reference.ts';
import type { Service } from './objects.ts';

export interface RegistryCredentials {
  readonly username?: string;
  readonly password?: string;
  /** A refresh token, as `docker login` stores for some registries. */
  readonly identityToken?: string;
  /** A ready bearer token. */
  readonly registryToken?: string;
}

/** Identity tokens of cloud registries have a few thousand characters. */
const headerLengthMax = 12 * 1024;

/** Undefined when it holds none: clients send `{}` then. Never quotes what it was given. */
export function parseRegistryAuth(header: string): RegistryCredentials | undefined {
  if (header === '') return undefined;
  if (header.length > headerLengthMax) throw malformed('too long');
  const given = readJson(header);
  const text = (key: string): string => {
    const value = Object.entries(given).find(([name]) => name.toLowerCase() === key)?.[1];
    return typeof value === 'string' ? value : '';
  };
  const [user = '', ...rest] = Buffer.from(text('auth'), 'base64').toString('utf8').split(':');
  const found = {
    username: text('username') || user,
    password: text('password') || rest.join(':'),
    identityToken: text('identitytoken'),
    registryToken: text('registrytoken'),
  };
  const filled = Object.entries(found).filter(([, value]) => value !== '');
  return filled.length === 0 ? undefined : Object.fromEntries(filled);
}

function readJson(header: string): object {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(header, 'base64').toString('utf8'));
  } catch {
    throw malformed('no base64 of JSON');
  }
  if (typeof value !== 'object' || value === null) throw malformed('no JSON object');
  return value;
}

function malformed(why: string): ClusterError {
  return new ClusterError('invalid', `invalid X-Registry-Auth header: ${why}`);
}

type Holder = Pick<Service, 'spec' | 'previousSpec' | 'registryAuth' | 'previousRegistryAuth'>;

/**
 * What the service has for the registry of `image`. Credentials were given for the registry of the image they came with, and are
 * sent to no other: another image of the same registry needs them as well, the image that is rolled back from or to may not.
 */
export function registryAuthFor(service: Holder, image: string): string | undefined {
  const registry = registryOf(image);
  if (registry === registryOf(service.spec.TaskTemplate.ContainerSpec.Image)) return service.registryAuth;
  const previous = service.previousSpec?.TaskTemplate.ContainerSpec.Image;
  return previous !== undefined && registry === registryOf(previous) ? service.previousRegistryAuth : undefined;
}

function registryOf(image: string): string {
  try {
    return parseImageReference(image).registry;
  } catch {
    return '';
  }
}
