/** Where a directory keeps what: itself, or the folders that a node's directory has. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

const segment = /^\d{16}\.wal$/;
const snapshot = /\.snap$/;

async function names(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

export async function logDirectory(directory: string): Promise<string | undefined> {
  for (const place of [directory, join(directory, 'log')]) {
    if ((await names(place)).some((name) => segment.test(name))) return place;
  }
  return undefined;
}

export async function snapshotFiles(directory: string): Promise<string[]> {
  const found = [];
  for (const place of [directory, join(directory, 'snapshots')]) {
    for (const name of await names(place)) if (snapshot.test(name)) found.push(join(place, name));
  }
  return found;
}
