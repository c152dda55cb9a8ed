/** Docker's image reference rules (distribution reference grammar): one place for the worker, the API and the CLI. Pure. */
import { ClusterError } from '../lib/errors.ts';

export interface ImageReference {
  /** `docker.io`, `localhost:5000`, `ghcr.io`. */
  readonly registry: string;
  /** Path inside the registry: `library/nginx`, `team/app`. */
  readonly repository: string;
  /** `latest` when neither tag nor digest was given; undefined when only a digest was. */
  readonly tag: string | undefined;
  /** `sha256:…`. */
  readonly digest: string | undefined;
}

const defaultRegistry = 'docker.io';
const officialPrefix = 'library/';
const nameLengthMax = 255;

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const repositoryPattern = new RegExp(`^${component}(?:/${component})*$`);
const label = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const registryPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[(?:[a-fA-F0-9:]+)\\])(?::[0-9]+)?$`);
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const digestPattern = /^sha256:[a-f0-9]{64}$|^sha384:[a-f0-9]{96}$|^sha512:[a-f0-9]{128}$/;

/** Reads what a user writes: `nginx`, `nginx:1.27`, `host:5000/a/b@sha256:…`. Throws `invalid` in Docker's words. */
export function parseImageReference(text: string): ImageReference {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  if (digest !== undefined && !digestPattern.test(digest)) throw malformed();
  const colon = named.lastIndexOf(':');
  const tagged = colon > named.lastIndexOf('/');
  const tag = tagged ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !tagPattern.test(tag)) throw malformed();
  const { registry, repository } = splitName(tagged ? named.slice(0, colon) : named);
  return { registry, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest };
}

/** The full form, as stored: `docker.io/library/nginx:latest`. */
export function canonicalName(reference: ImageReference): string {
  return `${reference.registry}/${reference.repository}${suffix(reference)}`;
}

/** The short form, as shown: `nginx:latest`, `localhost:5000/app@sha256:…`. */
export function familiarName(reference: ImageReference): string {
  return `${familiarRepository(reference)}${suffix(reference)}`;
}

/** The short form without tag and digest. */
export function familiarRepository(reference: ImageReference): string {
  if (reference.registry !== defaultRegistry) return `${reference.registry}/${reference.repository}`;
  const official = reference.repository.startsWith(officialPrefix);
  return official ? reference.repository.slice(officialPrefix.length) : reference.repository;
}

/** The same image pinned to `digest`; the tag stays, as Docker shows `nginx:latest@sha256:…`. */
export function withDigest(reference: ImageReference, digest: string): ImageReference {
  if (!digestPattern.test(digest)) throw malformed();
  return { ...reference, digest };
}

function suffix(reference: ImageReference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  return reference.digest === undefined ? tag : `${tag}@${reference.digest}`;
}

function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const head = slash < 0 ? '' : name.slice(0, slash);
  const hasRegistry = /[.:]/.test(head) || head === 'localhost' || head !== head.toLowerCase();
  const given = hasRegistry ? head : defaultRegistry;
  const registry = given === 'index.docker.io' ? defaultRegistry : given;
  const rest = hasRegistry ? name.slice(slash + 1) : name;
  if (/[A-Z]/.test(rest)) {
    throw new ClusterError('invalid', 'invalid reference format: repository name must be lowercase');
  }
  if (/^[a-f0-9]{64}$/.test(name)) {
    const text = `invalid repository name (${name}), cannot specify 64-byte hexadecimal strings`;
    throw new ClusterError('invalid', text);
  }
  const repository = registry === defaultRegistry && !rest.includes('/') ? `${officialPrefix}${rest}` : rest;
  if (!registryPattern.test(registry) || !repositoryPattern.test(repository)) throw malformed();
  if (registry.length + 1 + repository.length > nameLengthMax) {
    throw new ClusterError('invalid', `repository name must not be more than ${nameLengthMax} characters`);
  }
  return { registry, repository };
}

function malformed(): ClusterError {
  return new ClusterError('invalid', 'invalid reference format');
}
