import { describe, expect, test } from 'vitest';
import { parseRegistryAuth, registryAuthFor } from './registry-auth.ts';
import type { ServiceSpec } from './spec.ts';

const header = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const spec = (Image: string): ServiceSpec => ({
  Name: 'web',
  Labels: {},
  Mode: {},
  TaskTemplate: { ContainerSpec: { Image } },
});

describe('parseRegistryAuth', () => {
  test.each([
    [
      { username: 'me', password: 'a:b?', serveraddress: 'x' },
      { username: 'me', password: 'a:b?' },
    ],
    [
      { Username: 'me', PASSWORD: 'p' },
      { username: 'me', password: 'p' },
    ],
    [{ auth: Buffer.from('me:a:b').toString('base64') }, { username: 'me', password: 'a:b' }],
    [
      { identitytoken: 't', username: '<token>' },
      { identityToken: 't', username: '<token>' },
    ],
    [{ registrytoken: 't' }, { registryToken: 't' }],
    [{ username: 7, password: null }, undefined],
    [{}, undefined],
  ])('reads %j', (given, expected) => {
    expect(parseRegistryAuth(header(given))).toEqual(expected);
    expect(parseRegistryAuth(Buffer.from(JSON.stringify(given)).toString('base64'))).toEqual(expected);
  });

  test('nothing is none', () => expect(parseRegistryAuth('')).toBeUndefined());

  test.each(['hunter2', header('hunter2'), header(null), header({ password: 'hunter2'.repeat(2000) })])(
    'what it can not read is refused and not quoted (%#)',
    (text) => {
      expect(() => parseRegistryAuth(text)).toThrow(/^invalid X-Registry-Auth header: [a-zA-Z0-9 ]{1,25}$/);
    },
  );
});

describe('registryAuthFor', () => {
  const service = {
    spec: spec('a.example/app:2'),
    previousSpec: spec('b.example/app:1'),
    registryAuth: 'for-a',
    previousRegistryAuth: 'for-b',
  };

  test.each([
    ['a.example/app:2', 'for-a'],
    ['a.example/other', 'for-a'],
    ['b.example/app:1', 'for-b'],
    ['app:1', undefined],
    ['c.example/app', undefined],
    ['Not An Image', undefined],
  ])('%s gets %s: no registry is shown the credentials of another', (image, expected) => {
    expect(registryAuthFor(service, image)).toBe(expected);
  });

  test('what was given last counts where both specs are of one registry', () => {
    const rotated = { ...service, previousSpec: spec('a.example/app:1') };
    expect(registryAuthFor(rotated, 'a.example/app:1')).toBe('for-a');
  });

  test('the official registry is one, however it is written', () => {
    expect(registryAuthFor({ spec: spec('me/app'), registryAuth: 'hub' }, 'docker.io/me/other')).toBe('hub');
  });
});
