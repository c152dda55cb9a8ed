import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { VirtualClock } from '../../../lib/testing/virtual-clock.ts';
import { HostResolvers, resolversOf } from './resolvers.ts';

test('resolvers are addresses after the word, whatever else is there', () => {
  const text =
    '# nameserver 192.0.2.9\nsearch lan\n  nameserver\t192.0.2.1 # one\nnameserver fe80::1%eth0\nnameserver x\nnameserver\n';
  expect(resolversOf(text)).toEqual(['192.0.2.1', 'fe80::1%eth0']);
});

test('a changed file is read again after a second at most; a file that is gone has none', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'resolvers-'));
  const path = join(dir, 'resolv.conf');
  const clock = new VirtualClock();
  const resolvers = new HostResolvers(path, clock);
  expect(resolvers.get()).toEqual([]);
  writeFileSync(path, 'nameserver 192.0.2.1\n');
  await clock.advance(1_000);
  expect(resolvers.get()).toEqual(['192.0.2.1']);
  writeFileSync(`${path}.new`, 'nameserver 192.0.2.2\n');
  renameSync(`${path}.new`, path);
  expect(resolvers.get()).toEqual(['192.0.2.1']);
  await clock.advance(1_000);
  expect(resolvers.get()).toEqual(['192.0.2.2']);
  rmSync(dir, { recursive: true });
  await clock.advance(1_000);
  expect(resolvers.get()).toEqual([]);
});
