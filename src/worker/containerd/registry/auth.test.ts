import { describe, expect, test } from 'vitest';
import { basicHeader, parseChallenges, parseToken, tokenUrl } from './auth.ts';

describe('authentication challenges', () => {
  test('a bearer challenge with commas inside its values is one challenge', () => {
    const header = 'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"';
    expect(parseChallenges(header)).toEqual([
      {
        scheme: 'bearer',
        parameters: { realm: 'https://auth.example/token', service: 'reg', scope: 'repository:a/b:pull,push' },
      },
    ]);
  });

  test('several challenges in one header are told apart', () => {
    expect(parseChallenges('Basic realm="x \\"y\\"", Bearer realm=https://a/t')).toEqual([
      { scheme: 'basic', parameters: { realm: 'x "y"' } },
      { scheme: 'bearer', parameters: { realm: 'https://a/t' } },
    ]);
  });

  test.each(['', ',', '"', '===', 'Bearer realm="unclosed'])('%j does no harm', (header) => {
    const bearer = parseChallenges(header).find((challenge) => challenge.scheme === 'bearer');
    expect(bearer?.parameters ?? {}).toEqual({});
  });

  test('the token request repeats every scope and names service and account', () => {
    const challenge = { scheme: 'bearer', parameters: { realm: 'https://a/t?x=1', service: 's', scope: 'one two' } };
    expect(tokenUrl(challenge, 'fallback', 'alice')?.href).toBe(
      'https://a/t?x=1&service=s&scope=one&scope=two&account=alice',
    );
    expect(tokenUrl({ scheme: 'bearer', parameters: { realm: 'https://a/t' } }, 'fallback', undefined)?.href).toBe(
      'https://a/t?scope=fallback',
    );
    expect(tokenUrl({ scheme: 'bearer', parameters: {} }, 'x', undefined)).toBeUndefined();
  });

  test('both names of a token are read; without a lifetime it lives a minute', () => {
    expect(parseToken('{"token":"t"}')).toEqual({ value: 't', lifetimeMs: 60_000 });
    expect(parseToken('{"access_token":"t","expires_in":300}')).toEqual({ value: 't', lifetimeMs: 300_000 });
    for (const bad of ['', 'null', '[]', '{"token":""}', '{"token":5}']) expect(parseToken(bad)).toBeUndefined();
  });

  test('no user name means no Basic header', () => {
    expect(basicHeader({ password: 'x' })).toBeUndefined();
    expect(basicHeader({ username: 'a', password: 'b' })).toBe('Basic YTpi');
  });
});
