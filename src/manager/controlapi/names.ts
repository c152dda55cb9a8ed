/** Names of objects: Docker's rules and words. */
import { ClusterError } from '../../lib/errors.ts';
import { fraction, type Random } from '../../lib/random.ts';
import { invalid } from './context.ts';

const dnsName = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9])*$/;
const fileName = /^[a-zA-Z0-9](?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/;

/** Services and networks. */
export function checkName(name: string): void {
  if (name === '') throw invalid('meta: name must be provided');
  if (name.length > 63) throw invalid('name must be 63 characters or fewer');
  if (!dnsName.test(name)) throw invalid('name must be valid as a DNS name component');
}

/** Secrets and configs. */
export function checkFileName(name: string): void {
  if (name.length === 0 || name.length > 64 || !fileName.test(name)) {
    throw invalid(
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
    );
  }
}

export function nameTaken(table: string, name: string): ClusterError {
  return new ClusterError('already_exists', `name conflicts with an existing object: ${table} ${name} already exists`);
}

const adjectives =
  'brave calm clever eager fair fond gentle happy keen kind lively merry mild neat proud quick quiet sharp sunny witty'.split(
    ' ',
  );
const surnames =
  'babbage cerf curie dijkstra euler floyd gauss hamming hopper kay knuth lamport liskov lovelace noether perlman ritchie shannon turing wirth'.split(
    ' ',
  );

/** A name for a service that was given none. */
export function inventName(random: Random, isTaken: (name: string) => boolean): string {
  for (let suffix = 0; ; suffix++) {
    const name = `${pick(random, adjectives)}_${pick(random, surnames)}${suffix < 3 ? '' : suffix}`;
    if (!isTaken(name)) return name;
  }
}

function pick(random: Random, words: readonly string[]): string {
  return words[Math.floor(fraction(random) * words.length)] ?? '';
}
