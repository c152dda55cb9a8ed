import { expect, test } from 'vitest';
import { connectionText } from './http.ts';

test('a connection error is told in one line that says what is wrong', () => {
  const openssl =
    'write EPROTO 800C:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../deps/x.c:350:\n';
  expect(connectionText(new Error(openssl))).toBe('http: server gave HTTP response to HTTPS client');
  expect(connectionText(new Error('connect ECONNREFUSED 192.0.2.1:443\nmore'))).toBe(
    'connect ECONNREFUSED 192.0.2.1:443',
  );
  expect(connectionText(Object.assign(new Error(''), { code: 'ECONNRESET' }))).toBe('ECONNRESET');
});
