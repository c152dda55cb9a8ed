import { describe, expect, test } from 'vitest';
import { canonicalName, familiarName, familiarRepository, parseImageReference, withDigest } from './image-reference.ts';

const digest = `sha256:${'ab'.repeat(32)}`;

describe('image references', () => {
  test.each([
    ['nginx', 'docker.io/library/nginx:latest', 'nginx:latest'],
    ['nginx:1.27', 'docker.io/library/nginx:1.27', 'nginx:1.27'],
    ['team/app', 'docker.io/team/app:latest', 'team/app:latest'],
    ['docker.io/nginx', 'docker.io/library/nginx:latest', 'nginx:latest'],
    ['index.docker.io/library/nginx', 'docker.io/library/nginx:latest', 'nginx:latest'],
    ['localhost/app', 'localhost/app:latest', 'localhost/app:latest'],
    ['localhost:5000/a/b:v1', 'localhost:5000/a/b:v1', 'localhost:5000/a/b:v1'],
    ['ghcr.io/a/b_c--d', 'ghcr.io/a/b_c--d:latest', 'ghcr.io/a/b_c--d:latest'],
    ['[::1]:5000/app', '[::1]:5000/app:latest', '[::1]:5000/app:latest'],
    [`nginx@${digest}`, `docker.io/library/nginx@${digest}`, `nginx@${digest}`],
    [`nginx:1@${digest}`, `docker.io/library/nginx:1@${digest}`, `nginx:1@${digest}`],
  ])('%s is %s, shown as %s', (text, canonical, familiar) => {
    const reference = parseImageReference(text);
    expect(canonicalName(reference)).toBe(canonical);
    expect(familiarName(reference)).toBe(familiar);
    expect(parseImageReference(familiar)).toEqual(reference);
  });

  test.each([
    '',
    ':',
    'nginx:',
    'nginx@',
    'a//b',
    '-a',
    'a-',
    'nginx:-x',
    'nginx@sha256:12',
    'a b',
    'host:5000/',
    'a/../b',
  ])('%j is refused as malformed', (text) => {
    expect(() => parseImageReference(text)).toThrow('invalid reference format');
  });

  test('upper case, bare image ids and long names are refused with their reason', () => {
    expect(() => parseImageReference('NGINX')).toThrow('repository name must be lowercase');
    expect(() => parseImageReference('ab'.repeat(32))).toThrow('cannot specify 64-byte hexadecimal strings');
    expect(() => parseImageReference(`a${'/b'.repeat(130)}`)).toThrow('must not be more than 255 characters');
  });

  test('a pinned reference keeps its tag', () => {
    const pinned = withDigest(parseImageReference('nginx:1'), digest);
    expect(familiarName(pinned)).toBe(`nginx:1@${digest}`);
    expect(familiarRepository(pinned)).toBe('nginx');
  });
});
