import { describe, expect, test } from 'vitest';
import { resolveUser } from './user.ts';

const files = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\nbroken line\n1234:x:7:7::/:/bin/sh\n',
  group: 'root:x:0:\nalice:x:1001:\naudio:x:29:bob,alice\nvideo:x:44:alice\n',
};

describe('the user of a process', () => {
  test.each([
    ['', { uid: 0, gid: 0, additionalGids: [0], home: '/root' }],
    ['alice', { uid: 1000, gid: 1001, additionalGids: [1001, 29, 44], home: '/home/alice' }],
    ['1000', { uid: 1000, gid: 1001, additionalGids: [1001, 29, 44], home: '/home/alice' }],
    ['alice:video', { uid: 1000, gid: 44, additionalGids: [44], home: '/home/alice' }],
    ['5000', { uid: 5000, gid: 0, additionalGids: [0], home: '/' }],
    ['5000:6000', { uid: 5000, gid: 6000, additionalGids: [6000], home: '/' }],
    // A number is always an id, also when a user is called so.
    ['1234', { uid: 1234, gid: 0, additionalGids: [0], home: '/' }],
  ])('%j is resolved by passwd and group', (spec, expected) => {
    expect(resolveUser(spec, files)).toEqual(expected);
  });

  test('extra groups are added once, by name or number', () => {
    expect(resolveUser('alice', files, ['audio', '77']).additionalGids).toEqual([1001, 29, 44, 77]);
  });

  test('unknown names and ids out of range are refused', () => {
    expect(() => resolveUser('bob', files)).toThrow('unable to find user bob: no matching entries in passwd file');
    expect(() => resolveUser('alice:none', files)).toThrow(
      'unable to find group none: no matching entries in group file',
    );
    expect(() => resolveUser('4294967296', files)).toThrow('uids and gids must be in range 0-2147483647');
  });
});
