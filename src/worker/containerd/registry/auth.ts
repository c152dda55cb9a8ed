/** Registry authentication: reading challenges and making Authorization headers. Pure; the token request is in `registry.ts`. */
import type { RegistryCredentials } from '../../../model/registry-auth.ts';

export type RegistryAuth = RegistryCredentials;

export interface Challenge {
  /** Lower case: `basic`, `bearer`. */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Reads `WWW-Authenticate`, which may hold several challenges: `Bearer realm="…",service="…", Basic realm="…"`. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const token = /\s*,?\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/y;
  for (;;) {
    const match = token.exec(header);
    if (match === null || match[1] === undefined) return challenges;
    if (match[2] === undefined) {
      challenges.push({ scheme: match[1].toLowerCase(), parameters: {} });
    } else {
      const value = match[3] === undefined ? (match[4] ?? '') : match[3].replace(/\\(.)/g, '$1');
      const last = challenges.at(-1);
      if (last !== undefined) last.parameters[match[1].toLowerCase()] = value;
    }
  }
}

export function basicHeader(auth: RegistryAuth): string | undefined {
  if (auth.username === undefined || auth.username === '') return undefined;
  return `Basic ${Buffer.from(`${auth.username}:${auth.password ?? ''}`).toString('base64')}`;
}

/** The URL of a token request; `scope` is used when the challenge names none. */
export function tokenUrl(challenge: Challenge, scope: string, username: string | undefined): URL | undefined {
  const realm = challenge.parameters['realm'];
  if (realm === undefined || !URL.canParse(realm)) return undefined;
  const url = new URL(realm);
  const service = challenge.parameters['service'];
  if (service !== undefined) url.searchParams.set('service', service);
  const scopes = (challenge.parameters['scope'] ?? scope).split(' ').filter((part) => part !== '');
  for (const part of scopes) url.searchParams.append('scope', part);
  if (username !== undefined && username !== '') url.searchParams.set('account', username);
  return url;
}

export interface Token {
  readonly value: string;
  readonly lifetimeMs: number;
}

const defaultLifetimeSeconds = 60;

/** Reads a token server's answer; undefined when it holds no token. */
export function parseToken(body: string): Token | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof answer !== 'object' || answer === null) return undefined;
  const fields = answer as Record<string, unknown>;
  const value = fields['token'] ?? fields['access_token'];
  if (typeof value !== 'string' || value === '') return undefined;
  const seconds = fields['expires_in'];
  const lifetime = typeof seconds === 'number' && seconds > 0 ? seconds : defaultLifetimeSeconds;
  return { value, lifetimeMs: lifetime * 1000 };
}
