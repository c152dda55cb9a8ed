/**
 * Join tokens, `SWMTKN-1-<digest>-<secret>`: the digest pins the root certificate (SHA-256 of its PEM, base 36, 50 characters),
 * the secret (16 random bytes, base 36, 25 characters) gives the right to join in one role.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { ClusterError } from '../lib/errors.ts';
import { base36 } from '../lib/ids.ts';
import type { Random } from '../lib/random.ts';
import type { NodeRole } from '../model/spec.ts';

export interface JoinToken {
  readonly caDigest: string;
  readonly secret: string;
}

export function newJoinToken(caPem: string, random: Random): string {
  return `SWMTKN-1-${caDigest(caPem)}-${base36(random.bytes(16), 25)}`;
}

/** SHA-256 of the PEM as a number in base 36, padded to 50 characters. */
export function caDigest(caPem: string): string {
  return base36(createHash('sha256').update(caPem).digest(), 50);
}

/** Errors: `invalid`, with what is wrong about the text. */
export function parseJoinToken(text: string): JoinToken {
  const match = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/.exec(text.trim());
  const [, digest, secret] = match ?? [];
  if (digest === undefined || secret === undefined) {
    throw new ClusterError(
      'invalid',
      'invalid join token: expected SWMTKN-1-<50 characters>-<25 characters>; was it copied whole?',
    );
  }
  return { caDigest: digest, secret };
}

/** The role a token gives, or undefined. Compares in constant time. */
export function roleOfToken(
  token: string,
  tokens: { readonly worker: string; readonly manager: string },
): NodeRole | undefined {
  if (equal(token, tokens.manager)) return 'manager';
  if (equal(token, tokens.worker)) return 'worker';
  return undefined;
}

function equal(left: string, right: string): boolean {
  const [a, b] = [createHash('sha256').update(left).digest(), createHash('sha256').update(right).digest()];
  return timingSafeEqual(a, b);
}
