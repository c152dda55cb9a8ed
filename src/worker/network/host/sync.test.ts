import { expect, test } from 'vitest';
import type { Kernel } from './kernel.ts';
import { makeRoomForNeighbours } from './sync.ts';

/** Settings by path; those of `locked` cannot be changed. */
function kernelWith(settings: Map<string, string>, locked = false): Kernel {
  return {
    changes: 0,
    read: () => Promise.reject(new Error('not asked for')),
    change: () => Promise.reject(new Error('not asked for')),
    setting: async (path) => settings.get(path),
    set: async (path, value) => {
      if (locked) throw new Error('EROFS: read-only file system');
      settings.set(path, value);
    },
  };
}

const path = (family: string, level: number) => `${family}/neigh/default/gc_thresh${level}`;

test('the table of neighbours is made larger, never smaller, where it can be', async () => {
  const settings = new Map([
    [path('ipv4', 1), '128'],
    [path('ipv4', 2), '512'],
    [path('ipv4', 3), '100000'],
  ]);
  await makeRoomForNeighbours(kernelWith(settings));
  expect(Object.fromEntries(settings)).toEqual({
    [path('ipv4', 1)]: '8192',
    [path('ipv4', 2)]: '49152',
    [path('ipv4', 3)]: '100000',
  });
  await makeRoomForNeighbours(kernelWith(new Map([[path('ipv4', 1), '128']]), true));
});
