/**
 * The keys of encryption at rest. The data key (DEK) seals log and snapshots; it lies in `dek.json`, itself sealed by the
 * key-encryption key (KEK). Without autolock the KEK is kept in `kek` beside it, readable by root only: that protects
 * copies of the log and snapshots, not a stolen disk. With autolock the KEK would come from the operator instead; the
 * file says which, and may hold several data keys while one replaces another.
 */
import { chmod, mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { ClusterError } from '../../lib/errors.ts';
import type { Random } from '../../lib/random.ts';
import type { DataKey } from './sealer.ts';
import { createSealer } from './sealer.ts';

const keyLength = 32;
const formatVersion = 1;

/** `keys` newest first: the first one seals. `sealed` is base64. */
interface KeyFile {
  readonly version: number;
  readonly kek: 'file' | 'operator';
  readonly keys: readonly { readonly id: number; readonly sealed: string }[];
}

/** Reads the key-encryption key beside the data key, or makes one. */
export async function loadKek(directory: string, random: Random): Promise<Uint8Array> {
  const path = join(directory, 'kek');
  const text = await readIfThere(path);
  if (text === undefined) {
    const kek = random.bytes(keyLength);
    await writePrivately(directory, path, `${Buffer.from(kek).toString('base64')}\n`);
    return kek;
  }
  const kek = Buffer.from(text.trim(), 'base64');
  if (kek.length !== keyLength) throw new ClusterError('internal', `the key in ${path} is damaged`);
  return kek;
}

/** Reads this manager's data keys, or makes the first. Throws `permission_denied` when `kek` is not the key that sealed them. */
export async function loadDataKeys(
  directory: string,
  kek: Uint8Array,
  random: Random,
): Promise<[DataKey, ...DataKey[]]> {
  const path = join(directory, 'dek.json');
  const text = await readIfThere(path);
  const sealer = createSealer([{ id: 0, key: kek }], random);
  if (text === undefined) {
    const first: DataKey = { id: 1, key: random.bytes(keyLength) };
    const file: KeyFile = {
      version: formatVersion,
      kek: 'file',
      keys: [{ id: first.id, sealed: Buffer.from(sealer.seal(first.key)).toString('base64') }],
    };
    await writePrivately(directory, path, `${JSON.stringify(file)}\n`);
    return [first];
  }
  const [first, ...rest] = parseKeyFile(text, path).keys.map(({ id, sealed }) => ({
    id,
    key: unseal(sealed, sealer.open),
  }));
  if (first === undefined) throw new ClusterError('internal', `${path} holds no key`);
  return [first, ...rest];
}

function unseal(sealed: string, open: (bytes: Uint8Array) => Uint8Array): Uint8Array {
  try {
    return new Uint8Array(open(Buffer.from(sealed, 'base64')));
  } catch (cause) {
    throw new ClusterError('permission_denied', 'invalid key: the data of this manager was sealed with another one', {
      cause,
    });
  }
}

function parseKeyFile(text: string, path: string): KeyFile {
  let file: Partial<KeyFile> | null;
  try {
    file = JSON.parse(text) as Partial<KeyFile> | null;
  } catch (cause) {
    throw new ClusterError('internal', `${path} is damaged`, { cause });
  }
  if (file?.version !== formatVersion || !Array.isArray(file.keys))
    throw new ClusterError('internal', `${path} is damaged or of a later version`);
  if (file.kek !== 'file') throw new ClusterError('unimplemented', 'a locked manager is not supported yet');
  return file as KeyFile;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whole or not at all, and durable before anything is sealed with it. */
async function writePrivately(directory: string, path: string, text: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const aside = `${path}.new`;
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(aside, 0o600);
  await rename(aside, path);
  const folder = await open(directory, 'r');
  await folder.sync().finally(() => folder.close());
}
